import random

import pytest

from farm.errors import RecipeSpecError
from farm.recipes import presets
from farm.tuning.space import space
from farm.types import Fuse, Prune

INFOS = [info.model_copy(update={"usable": True}) for info in presets.infos()]
RUNTIMES = frozenset({"onnxruntime", "executorch"})


class Dice:
    """Chooses at random, and remembers it as Optuna does."""

    def __init__(self, seed):
        self.config, self._rng = {}, random.Random(seed)  # noqa: S311

    def suggest_categorical(self, name, choices):
        self.config[name] = self._rng.choice(list(choices))
        return self.config[name]


def test_every_configuration_is_a_recipe_that_can_be_made():
    searched = space(INFOS, RUNTIMES, [(Prune(amount=0.5, structured=True),), (Fuse(),)], [1, 2])
    seen = set()
    for seed in range(300):
        dice = Dice(seed)
        searched.choose(dice)
        recipe = searched.recipe(dice.config)
        assert presets.parse(recipe).digest == recipe.digest
        assert recipe.runtime in RUNTIMES
        seen.add((recipe.digest, dice.config["threads"]))
    assert len(seen) > searched.size / 2
    assert {transform.kind for _, transform in _first_transforms(searched)} >= {"prune", "fuse"}


def _first_transforms(searched):
    return [(label, steps[0]) for label, steps in searched.before.items() if steps]


def test_what_comes_first_loosens_the_limits_of_parity():
    searched = space(INFOS, RUNTIMES, [(Prune(amount=0.5),)], [1])
    config = {"engine": "onnxruntime", "before": "prune50", "threads": 1}
    engine = next(engine for engine in searched.engines if engine.startswith("onnxruntime"))
    recipe = searched.recipe(config | {"engine": engine, f"precision of {engine}": "as it is"})
    assert recipe.parity.min_cosine < presets.preset("onnxruntime").parity.min_cosine


def test_nothing_to_search_says_so():
    with pytest.raises(RecipeSpecError, match="no recipe to search"):
        space(INFOS, frozenset({"caffe2"}), [], [1])
