"""Batches through whole builds: artifacts that take a fixed number of samples, or any up to a largest."""

import numpy as np
import pytest
import torch

from farm.errors import RecipeSpecError
from farm.packaging import package
from farm.recipes import presets
from farm.types import Batch, Cast, DynamicBatch, Quantize, Recipe
from tests.integration.recipes import engines
from tests.integration.recipes.workshop import images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


@pytest.fixture(scope="module")
def batchable(workshop):
    made = package(small_net(), (images(1)[0],), calibration_inputs=images(8), dynamic_batch=True, name="batchable")
    return workshop.put(made)


def answers(count: int) -> np.ndarray:
    with torch.inference_mode():
        return small_net()(torch.from_numpy(np.concatenate(images(count, seed=2)))).numpy()


@pytest.mark.parametrize("runtime", ["pytorch", "torchscript"])
def test_an_artifact_for_four_samples_takes_four(workshop, batchable, runtime, tmp_path):
    assert batchable.dynamic_batch
    artifact = workshop.build(batchable, Recipe(runtime, transforms=(Batch(size=4),)))
    four = np.concatenate(images(4, seed=2))
    (found,) = engines.outputs(runtime, workshop.fetch(artifact, tmp_path), [four])
    np.testing.assert_allclose(found, answers(4), atol=1e-4)


def test_static_int8_is_calibrated_with_batches(workshop, batchable, tmp_path):
    artifact = workshop.build(batchable, Recipe("onnxruntime", transforms=(Batch(size=3), Quantize())))
    assert "Calibrated with 3 calibration inputs." in artifact.report.notes  # 8 samples in batches of 3
    three = np.concatenate(images(3, seed=2))
    (found,) = engines.outputs("onnxruntime", workshop.fetch(artifact, tmp_path), [three])
    assert found.shape == (3, 10)


@pytest.mark.parametrize("runtime", ["onnxruntime", "executorch"])
def test_an_artifact_for_any_batch_takes_one_and_several(workshop, batchable, runtime, tmp_path):
    artifact = workshop.build(batchable, Recipe(runtime, transforms=(DynamicBatch(max_size=8),)))
    path = workshop.fetch(artifact, tmp_path)
    for count in (1, 5, 8):
        (found,) = engines.outputs(runtime, path, [np.concatenate(images(count, seed=2))])
        np.testing.assert_allclose(found, answers(count), atol=1e-4)


def test_other_recipes_get_the_example_s_shape_alone(workshop, batchable, tmp_path):
    path = workshop.fetch(workshop.build(batchable, "pytorch"), tmp_path)
    placeholders = [node for node in torch.export.load(path).graph.nodes if node.op == "placeholder"]
    assert tuple(placeholders[-1].meta["val"].shape) == (1, 3, 32, 32)


def test_a_model_of_one_size_is_refused_with_what_to_do(workshop, spec):
    with pytest.raises(RecipeSpecError, match="dynamic_batch=True"):
        workshop.build(spec, Recipe("pytorch", transforms=(Batch(size=4),)))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (Recipe("pytorch", transforms=(Cast(), Batch(size=4))), "batch4 comes after fp16"),
        (Recipe("pytorch", transforms=(DynamicBatch(), Batch(size=4))), "batch4 comes after dynamic-batch"),
        (Recipe("torchscript", transforms=(DynamicBatch(),)), "a trace keeps the sizes"),
        (Recipe("litert", transforms=(DynamicBatch(),)), "sizes are symbols"),
    ],
)
def test_what_makes_no_batch_is_refused_before_it_is_built(recipe, says):
    with pytest.raises(RecipeSpecError, match=says):
        presets.parse(recipe)
