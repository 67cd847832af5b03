"""ExecuTorch's backends: what each takes of a program, and what it makes of models that are not only convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from farm.errors import RecipeError, RecipeSpecError
from farm.packaging import package
from farm.recipes import presets
from farm.types import Recipe
from farm.types.transforms import cast, quantize
from tests.integration.recipes import engines
from tests.integration.recipes.workshop import images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


class Reader(torch.nn.Module):
    """What a text model has: indices, positions made of them, a layer norm, attention, a mask of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = torch.nn.Embedding(50, 32), torch.nn.Embedding(16, 32)
        self.layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1]) + 3
        states = self.layer(self.words(ids) + self.places(places))
        weights = mask[:, :, None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)


def sentences(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 50, (1, 8)), (np.arange(8) < rng.integers(3, 9))[None].astype(np.int64))] * count


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_linear_layers_of_a_text_model_are_quantized_dynamically(workshop, tmp_path: Path, dtype: str) -> None:
    torch.manual_seed(3)
    reader, (sample,) = Reader().eval(), sentences(1)
    spec = workshop.put(package(reader, sample))
    recipe = Recipe("executorch", transforms=[quantize(dtype)])
    outcome, path = workshop.build_here(spec, recipe, tmp_path)
    assert "4 linear layers quantized, all else in floating point." in outcome.notes
    with torch.inference_mode():
        expected = reader(*map(torch.from_numpy, sample)).numpy()
    found = engines.executorch(path)(*sample)
    cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine >= recipe.parity.min_cosine
    assert not np.allclose(found, expected, rtol=1e-6)  # it is quantized


def test_dynamic_quantization_needs_linear_layers(workshop, tmp_path: Path) -> None:
    spec = workshop.put(package(small_net().stem, (images(1)[0],)))
    with pytest.raises(RecipeError, match="no linear layers"):
        workshop.build_here(spec, "executorch-xnnpack-int8-dynamic", tmp_path)


def test_operators_are_counted_by_backend(workshop, tmp_path: Path) -> None:
    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.relu(x).mean((2, 3))

    spec = workshop.put(package(Mean(), (images(1)[0],)))
    outcome, _ = workshop.build_here(spec, "executorch-xnnpack", tmp_path)
    assert outcome.notes == ("Not delegated to xnnpack, so run by slow portable kernels: 1 x aten.mean.out.",)
    assert outcome.delegation is not None
    assert outcome.delegation.operators == {"XnnpackBackend": 1, "portable": 1}
    assert outcome.delegation.left_over == {"aten.mean.out": 1}


@pytest.mark.parametrize(
    ("backend", "name"), [("portable", "portable"), ("vulkan", "VulkanBackend"), ("coreml", "CoreMLBackend")]
)
def test_a_backend_takes_the_whole_of_a_small_net(workshop, spec, tmp_path: Path, backend: str, name: str) -> None:
    outcome, path = workshop.build_here(spec, f"executorch-{backend}", tmp_path)
    assert outcome.delegation is not None
    assert set(outcome.delegation.operators) == {name}
    assert outcome.delegation.operators[name] >= 7
    assert name == "portable" or name.encode() in path.read_bytes()
    assert not any("Not delegated" in note for note in outcome.notes)


@pytest.mark.parametrize("backend", ["xnnpack", "coreml"])
def test_half_precision_halves_the_weights(workshop, tmp_path: Path, backend: str) -> None:
    torch.manual_seed(1)
    spec = workshop.put(package(torch.nn.Linear(256, 256).eval(), (torch.randn(1, 256),)))
    sizes = []
    for name, transforms in (("whole", []), ("half", [cast()])):
        (tmp_path / name).mkdir()
        recipe = Recipe("executorch", name=name, transforms=transforms, options={"backend": backend})
        outcome, path = workshop.build_here(spec, recipe, tmp_path / name)
        assert outcome.delegation is not None
        assert any(name.lower().startswith(backend) for name in outcome.delegation.operators)
        sizes.append(path.stat().st_size)
    assert sizes[0] - sizes[1] == pytest.approx(256 * 256 * 2, rel=0.05)


def test_portable_kernels_answer_what_pytorch_answers(workshop, spec, tmp_path: Path) -> None:
    _, path = workshop.build_here(spec, "executorch-portable", tmp_path)
    image = images(1, seed=2)[0]
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(engines.executorch(path)(image), expected, atol=1e-5)


def test_weights_whose_names_are_numbers_keep_their_batch_norm(workshop, tmp_path: Path) -> None:
    """A model that is a ``torch.nn.Sequential``: ExecuTorch's fusion does not find weights named as its own are."""
    torch.manual_seed(4)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()).eval()
    net[1].running_mean.uniform_()
    image = images(1, seed=2)[0]
    _, path = workshop.build_here(workshop.put(package(net, (image,))), "executorch-xnnpack", tmp_path)
    with torch.inference_mode():
        expected = net(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(engines.executorch(path)(image), expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["portable", "vulkan", "coreml", "qnn"])
def test_backends_without_a_quantizer_say_who_has_one(backend: str) -> None:
    with pytest.raises(RecipeSpecError, match="xnnpack and openvino can"):
        presets.parse(Recipe("executorch", transforms=[quantize(static=True)], options={"backend": backend}))
