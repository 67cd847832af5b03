from hypothesis import given
from hypothesis import strategies as st

import farm
from farm.recipes import keys, presets
from farm.recipes.transforms import distill, prune
from farm.types import Recipe
from farm.types.recipes import FAMILIES

VERSIONS = {"torch": "2.13.0", "onnx": "1.0"}
MODEL = "a" * 64


def test_key_depends_on_model_recipe_and_tools():
    recipe, other = presets.preset("onnxruntime"), presets.preset("onnxruntime-int8")
    built = {
        keys.build_key(MODEL, recipe, VERSIONS),
        keys.build_key("b" * 64, recipe, VERSIONS),
        keys.build_key(MODEL, other, VERSIONS),
        keys.build_key(MODEL, recipe, VERSIONS | {"onnx": "1.1"}),
        keys.build_key(MODEL, presets.preset("litert"), VERSIONS),
    }
    assert len(built) == 5


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.text("abc", min_size=1, max_size=9))
def test_key_ignores_order_of_tools_and_the_name_of_the_recipe(versions, name):
    recipe = presets.preset("onnxruntime")
    turned = dict(reversed(list(versions.items())))
    renamed = recipe.model_copy(update={"name": name, "parity": FAMILIES["int8"]})
    assert keys.build_key(MODEL, recipe, versions) == keys.build_key(MODEL, renamed, turned)


STUDENT = farm.prune(0.5), farm.distill(steps=5)


def test_recipes_share_a_student_whatever_they_do_with_it():
    (key,) = keys.student_keys(MODEL, Recipe("onnxruntime", transforms=STUDENT))
    others = (
        Recipe("litert", transforms=STUDENT),
        Recipe("onnxruntime", transforms=[*STUDENT, farm.quantize()]),
        Recipe("onnxruntime", transforms=STUDENT, options={"provider": "coreml"}),
    )
    assert {keys.student_keys(MODEL, recipe) for recipe in others} == {(key,)}


def test_students_of_other_models_transforms_settings_tools_and_code_are_others(monkeypatch):
    def key(model=MODEL, transforms=STUDENT):
        return keys.student_keys(model, Recipe("onnxruntime", transforms=transforms))

    found = {
        key(),
        key("b" * 64),
        key(transforms=[farm.prune(0.4), STUDENT[1]]),
        key(transforms=[STUDENT[0], farm.distill(steps=6)]),
        key(transforms=[farm.fuse(), *STUDENT]),
    }
    monkeypatch.setattr(prune, "VERSION", prune.VERSION + 1)
    found.add(key())
    monkeypatch.setattr(distill, "TOOLS", ("torch",))
    found.add(key())
    assert len(found) == 7


def test_every_distillation_of_a_recipe_has_a_student_of_its_own():
    twice = (*STUDENT, farm.prune(0.7), farm.distill(steps=5))
    first, second = keys.student_keys(MODEL, Recipe("onnxruntime", transforms=twice))
    assert (first,) == keys.student_keys(MODEL, Recipe("onnxruntime", transforms=STUDENT))
    assert second != first
    assert keys.student_keys(MODEL, presets.preset("onnxruntime")) == ()
