"""Uploaded models that become one: every recipe builds one artifact of them, which answers as they do in turn."""

import numpy as np
import pytest
import torch

import farm
from farm.errors import ModelError
from farm.packaging import package
from farm.planning.fusion import fuse
from farm.recipes import presets, samples
from farm.recipes.program import Program
from farm.types import ModelSpec
from tests.integration.recipes import engines
from tests.integration.recipes.workshop import SHAPE, images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]

LIMIT_BYTES = 1 << 24


class Stretch(torch.nn.Module):
    """What a camera's picture goes through before a model sees it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(image, scale_factor=2.0, mode="nearest") * 0.5 + 0.1


class Sum(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return left + right, left - right


def small_images(count: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(image[:, :, ::2, ::2]) for image in images(count, seed=2)]


@pytest.fixture(scope="module")
def stretch(workshop) -> ModelSpec:
    parity = small_images(4)
    return workshop.put(package(Stretch(), (parity[0],), name="stretch", parity_inputs=parity))


@pytest.fixture(scope="module")
def pair(workshop, stretch, spec) -> ModelSpec:
    return fuse([stretch, spec], "sequence", "pair", workshop.store, LIMIT_BYTES)


def in_turn(image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return small_net()(Stretch()(torch.from_numpy(image))).numpy()


def answers(program: Program) -> list[list[np.ndarray]]:
    module = program.module()
    with torch.inference_mode():
        return [[np.asarray(leaf) for leaf in module(*program.tensors(sample))] for sample in program.parity]


@pytest.mark.parametrize("name", ["pytorch", "onnxruntime", "litert"])
def test_one_artifact_answers_as_two_models_in_turn(workshop, pair, name, tmp_path):
    artifact = workshop.fetch(workshop.build(pair, name), tmp_path)
    found = engines.outputs(presets.preset(name).runtime, artifact, small_images(4))
    for answer, image in zip(found, small_images(4), strict=True):
        np.testing.assert_allclose(answer, in_turn(image), atol=1e-5)


def test_the_farm_computes_its_reference_outputs(workshop, pair, tmp_path):
    assert pair.reference_outputs is None
    rows = samples.read(workshop.fetch(workshop.build(pair, "reference"), tmp_path), "reference outputs")
    for (row,), image in zip(rows, small_images(4), strict=True):
        np.testing.assert_allclose(row, in_turn(image), atol=1e-6)


def test_side_by_side_each_has_its_own_inputs(workshop, stretch, tmp_path):
    one, two = (torch.full((2, 3), value) for value in (1.0, 2.0))
    sums = workshop.put(package(Sum(), (one, two), name="sum", parity_inputs=[(one, two), (two, two), (two, one)]))
    both = fuse([stretch, sums], "parallel", None, workshop.store, LIMIT_BYTES)
    assert [str(spec) for spec in both.inputs] == [
        "stretch.image: float32[1, 3, 16, 16]",
        "sum.left: float32[2, 3]",
        "sum.right: float32[2, 3]",
    ]
    assert fuse([stretch, sums], "parallel", None, workshop.store, LIMIT_BYTES).id == both.id
    rows = answers(workshop.program(both, tmp_path))
    assert len(rows) == 3  # as many as the part with the fewest parity inputs
    np.testing.assert_allclose(rows[1][0], Stretch()(torch.from_numpy(small_images(4)[1])), atol=1e-6)
    np.testing.assert_array_equal(rows[1][1:], [np.full((2, 3), 4.0), np.zeros((2, 3))])


def test_side_by_side_on_the_same_inputs(workshop, spec, tmp_path):
    twice = fuse([spec, spec], "parallel-shared", "twice", workshop.store, LIMIT_BYTES)
    assert twice.inputs == spec.inputs
    nested = fuse([twice, spec], "parallel-shared", "thrice", workshop.store, LIMIT_BYTES)
    rows = answers(workshop.program(nested, tmp_path))
    assert [len(row) for row in rows] == [3] * 8
    np.testing.assert_allclose(rows[3][0], rows[3][2], atol=1e-6)


def test_what_does_not_fit_is_named_when_it_is_submitted(workshop, stretch, spec):
    with pytest.raises(ModelError) as caught:
        fuse([spec, stretch], "sequence", None, workshop.store, LIMIT_BYTES)
    assert caught.value.message == (
        "stretch cannot follow small-net: it takes (image: float32[1, 3, 16, 16]),"
        " and small-net gives (float32[1, 10])."
    )
    with pytest.raises(ModelError, match="cannot share their inputs"):
        fuse([stretch, spec], "parallel-shared", None, workshop.store, LIMIT_BYTES)


def test_what_the_upload_did_not_say_is_named_by_the_build(workshop, spec, tmp_path):
    path = tmp_path / "wide.pt2"
    torch.export.save(torch.export.export(Stretch(), (torch.zeros(SHAPE),), strict=False), path)
    silent = workshop.put(package(path, (np.zeros(SHAPE, np.float32),), name="wide"))
    assert silent.reference_outputs is None
    wrong = fuse([silent, spec], "sequence", None, workshop.store, LIMIT_BYTES)
    with pytest.raises(ModelError) as caught:
        workshop.program(wrong, tmp_path / "wrong").exported()
    assert "small-net cannot follow wide: it takes (float32[1, 3, 32, 32])" in caught.value.message
    assert "is given (float32[1, 3, 64, 64])" in caught.value.message


def test_modules_in_hand_become_one_module():
    image = torch.from_numpy(small_images(1)[0])
    chain = farm.fused([Stretch(), small_net()])
    torch.testing.assert_close(chain(image), torch.from_numpy(in_turn(image.numpy())))
    both = farm.fused([Stretch(), Sum()], "parallel")
    assert [tuple(value.shape) for value in both(image, image, image)] == [(1, 3, 32, 32), *[(1, 3, 16, 16)] * 2]
    with pytest.raises(ModelError, match="1 input_counts were given for 2 modules"):
        farm.fused([Stretch(), Sum()], "parallel", input_counts=[3])
