"""A store in a folder, models to put there, and builds from it, as a build task would run them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from farm.packaging import Package
from farm.recipes import keys, presets
from farm.recipes.build import run_build, stage_model
from farm.recipes.program import Program
from farm.recipes.runtimes import BUILDERS
from farm.recipes.worker import OUTPUT, Order, Outcome, build
from farm.store.artifacts import ArtifactStore
from farm.types import Artifact, BuildRequest, ModelSpec, Recipe

SHAPE = (1, 3, 32, 32)


class SmallNet(torch.nn.Module):
    """What small vision models are made of: convolutions with batch norm and ReLU6, depthwise ones, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.stem = self._block(3, 16, stride=2)
        self.depthwise = self._block(16, 16, groups=16)
        self.head = torch.nn.Linear(16, 10)

    @staticmethod
    def _block(inputs: int, outputs: int, *, stride: int = 1, groups: int = 1) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False),
            torch.nn.BatchNorm2d(outputs),
            torch.nn.ReLU6(),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        features = features + self.depthwise(features)
        return self.head(torch.flatten(self.pool(features), 1))


def small_net() -> SmallNet:
    torch.manual_seed(7)
    return SmallNet().eval()


def images(count: int, *, seed: int = 0) -> list[np.ndarray]:
    """Smooth images: noise alone would average out to the same output."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(count, 1, 3, 4, 4)) * rng.uniform(0.3, 2, size=(count, 1, 3, 1, 1))
    return [np.kron(image, np.ones((1, 1, 8, 8))).astype(np.float32) for image in coarse]


class Workshop:
    def __init__(self, folder: Path) -> None:
        self.store_url = folder.as_uri()
        self.store = ArtifactStore(self.store_url)

    def checkpoints(self, spec: ModelSpec, recipe: Recipe) -> list[Path]:
        """Where builds of it keep how far their trainings are."""
        folder = Path(self.store._root) / "checkpoints"
        return [folder / key for key in keys.student_keys(spec.id, recipe)]

    def put(self, package: Package) -> ModelSpec:
        with package:
            for path in package.files.values():
                self.store.put_file(path)
            return package.spec

    def request(
        self, spec: ModelSpec, recipe: str | Recipe, *, timeout_seconds: float = 250.0, memory_bytes: int = 8 * 2**30
    ) -> BuildRequest:
        recipe = presets.REFERENCE if recipe == "reference" else presets.parse(recipe)
        versions = keys.tool_versions(recipe)
        return BuildRequest(
            key=keys.build_key(spec.id, recipe, versions, spec.format),
            model=spec,
            recipe=recipe,
            tool_versions=versions,
            store_url=self.store_url,
            timeout_seconds=timeout_seconds,
            memory_bytes=memory_bytes,
        )

    def build(self, spec: ModelSpec, recipe: str | Recipe, **limits: float) -> Artifact:
        return run_build(self.request(spec, recipe, **limits))

    def build_here(self, spec: ModelSpec, recipe: str | Recipe, folder: Path) -> tuple[Outcome, Path]:
        """The same work in this process, not confined: seconds less for a builder whose tools are loaded already.

        Returns what the child would report, and the file that stands for the artifact."""
        recipe = presets.parse(recipe)
        stage_model(spec, self.store, folder)
        outcome = build(Order(model=spec, recipe=recipe, memory_bytes=8 * 2**30, parent=os.getpid()), folder)
        return outcome, folder / OUTPUT / BUILDERS[recipe.runtime].FILES[0]

    def program(self, spec: ModelSpec, folder: Path) -> Program:
        """As the child of a build has it, in this process."""
        folder.mkdir(exist_ok=True)
        stage_model(spec, self.store, folder)
        return Program(spec, folder)

    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """The file that stands for the artifact, with its others beside it."""
        for blob in artifact.files:
            self.store.fetch(blob, folder / blob.name)
        return folder / artifact.files[0].name
