"""What builds say of the size of a program: counted by hand for a net small enough for that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from farm.packaging import package
from tests.integration.recipes.workshop import SHAPE, Workshop, images

pytestmark = pytest.mark.real_models


class Tied(torch.nn.Module):
    """A convolution (2 x 3 x 3 x 3 weights, 2 biases) to 16 x 16 pixels, and two linear layers of one weight matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 3, stride=2, padding=1)
        self.first = torch.nn.Linear(16, 16, bias=False)
        self.second = torch.nn.Linear(16, 16, bias=False)
        self.second.weight = self.first.weight

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.conv(image).relu()))


PARAMETERS = 2 * 27 + 2 + 16 * 16
MULTIPLY_ACCUMULATES = 2 * 27 * 16 * 16 + 2 * (2 * 16) * 16 * 16


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(3)
    return Tied().eval()


def test_of_an_exported_program(workshop: Workshop, net: torch.nn.Module) -> None:
    report = workshop.build(workshop.put(package(net, (images(1)[0],))), "pytorch").report
    assert report.parameters == PARAMETERS
    assert report.flops == 2 * MULTIPLY_ACCUMULATES
    assert report.notes == ()


class Attending(torch.nn.Module):
    """Attention of 2 heads over 8 tokens of 32 numbers, between two products."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = torch.nn.Linear(32, 32, bias=False), torch.nn.Linear(32, 64, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        heads = self.before(tokens).view(1, 8, 2, 16).transpose(1, 2)
        attended = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return self.after(attended.transpose(1, 2).reshape(1, 8, 32))


@pytest.mark.parametrize("recipe", ["pytorch", "pytorch-int8-dynamic", "pytorch-int8-weight-only"])
def test_attention_and_products_of_integers_count_too(workshop: Workshop, recipe: str) -> None:
    torch.manual_seed(3)
    report = workshop.build(workshop.put(package(Attending().eval(), (torch.randn(1, 8, 32),))), recipe).report
    assert report.flops == 2 * (8 * 32 * 32 + 2 * 2 * 8 * 8 * 16 + 8 * 32 * 64)


def test_of_a_frozen_torchscript_program(workshop: Workshop, net: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "frozen.ts"
    torch.jit.freeze(torch.jit.trace(net, torch.ones(SHAPE))).save(str(path))
    report = workshop.build(workshop.put(package(path, (images(1)[0],))), "torchscript").report
    assert report.parameters == PARAMETERS
    assert report.flops == 2 * MULTIPLY_ACCUMULATES


def test_of_an_onnx_upload_it_is_absent_with_a_note(workshop: Workshop, net: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    torch.onnx.export(net, (torch.ones(SHAPE),), str(path), dynamo=True, external_data=False, verbose=False)
    report = workshop.build(workshop.put(package(path, (images(1)[0],))), "onnxruntime").report
    assert report.parameters is report.flops is None
    assert "no PyTorch program" in report.notes[0]
