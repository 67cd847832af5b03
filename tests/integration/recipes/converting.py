"""Builders called in this process: what they make and why they refuse, without the seconds that confining costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from farm.packaging import package
from farm.recipes import specification
from farm.recipes.program import CALIBRATION, EXAMPLES, PARITY, PROGRAM, Program
from farm.recipes.runtimes import BUILDERS, Built
from farm.types import Recipe


class Encoder(torch.nn.Module):
    """What small language models are made of: an embedding, one layer of a transformer, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 64)
        self.layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, activation="gelu")
        self.head = torch.nn.Linear(64, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embedding(ids)).mean(1))


def encoder() -> Encoder:
    torch.manual_seed(7)
    return Encoder().eval()


def sentences(count: int, *, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 100, (count, 1, 16)))


class Convolution(torch.nn.Module):
    """A layer with weights, and none that is linear."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layer = torch.nn.Conv2d(3, 8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image)


class Weightless(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.max_pool2d(image, 2) * 2


def unpacked(model: torch.nn.Module | Path, inputs: list[np.ndarray], folder: Path) -> Program:
    """As a build finds it; the inputs are for all purposes, the first one is the example."""
    with package(model, (inputs[0],), name="model", parity_inputs=inputs, calibration_inputs=inputs) as packed:
        spec = packed.spec
        for blob, name in (
            (spec.program, PROGRAM),
            (spec.example_inputs, EXAMPLES),
            (spec.parity_inputs, PARITY),
            (spec.calibration_inputs, CALIBRATION),
        ):
            shutil.copyfile(packed.files[blob.sha256], folder / name)
    return Program(spec, folder)


def convert(program: Program, recipe: Recipe, folder: Path) -> Built:
    """Files of the artifact into ``folder``, for a recipe whose transforms are the runtime's own."""
    recipe = specification.complete(recipe)
    folder.mkdir(exist_ok=True)
    return BUILDERS[recipe.runtime].build(program, recipe, folder)
