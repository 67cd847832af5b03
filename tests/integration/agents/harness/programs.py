"""Small real programs for every runtime, each made by that runtime's own converter."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from farm.packaging import package
from farm.recipes import presets
from farm.recipes import runtimes as farm_builders
from farm.recipes.program import EXAMPLES, PARITY, PROGRAM, Program

FILES = {
    "pytorch": "model.pt2",
    "aotinductor": "model.aoti.pt2",
    "torchscript": "model.ts",
    "pytorch-mobile": "model.ptl",
    "executorch": "model.pte",
    "onnxruntime": "model.onnx",
    "litert": "model.tflite",
    "openvino": "model.xml",
    "ncnn": "model.ncnn.param",
    "mnn": "model.mnn",
}
BESIDE = {  # further files of an artifact
    "openvino": ("model.bin",),
    "ncnn": ("model.ncnn.bin", "signature.json"),
    "mnn": ("signature.json",),
}
RUNTIMES = tuple(FILES)
# What is measured with every runtime, `make test` measures with these, `make test-recipes` with the others.
_EVERY_DAY = ("pytorch", "torchscript", "executorch", "onnxruntime", "litert")


def each(runtimes: Iterable[str] = RUNTIMES) -> list[Any]:
    """Parameters of a test that is made for each of them."""
    return [name if name in _EVERY_DAY else pytest.param(name, marks=pytest.mark.conversions) for name in runtimes]


Tensors = tuple[torch.Tensor, ...]


class Classifier(torch.nn.Module):
    """float32[1, 3, 32, 32] to float32[1, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(),
            torch.nn.Linear(128, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class Tagger(torch.nn.Module):
    """int64 ids, a float mask and ten more inputs (their names sort differently from their positions) to nested
    outputs of three dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 8)
        self.linear = torch.nn.Linear(8, 8)

    def forward(
        self, ids, mask, a, b, c, d, e, f, g, h, i, j
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        scores = self.linear(self.embedding(ids)) * mask.unsqueeze(-1)
        weighted = a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j
        return scores, (ids + 1, scores.sum(-1) > 0), weighted


class Overflowing(torch.nn.Module):
    """NaN where the input is 0, as a model that was quantized or normalized badly gives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x


def classifier_inputs() -> Tensors:
    return (torch.randn(1, 3, 32, 32),)


def tagger_inputs() -> Tensors:
    return (torch.randint(0, 50, (1, 4)), torch.ones(1, 4), *(torch.randn(2) for _ in range(10)))


@dataclass(frozen=True)
class Model:
    """A live model and the folder of what is made from it. Files are made when they are first asked for."""

    module: torch.nn.Module
    folder: Path
    inputs: Callable[[], Tensors]

    def write_tensors(self) -> None:
        """``example.npz``, ``parity.npz`` and ``reference.npz`` in the farm's naming."""
        torch.manual_seed(1)
        samples = [self.inputs() for _ in range(3)]
        with torch.no_grad():
            answers = [pytree.tree_leaves(self.module(*sample)) for sample in samples]
        save(self.folder / "example.npz", samples[:1])
        save(self.folder / "parity.npz", samples)
        save(self.folder / "reference.npz", answers)

    def files(self, runtime: str) -> dict[str, Path]:
        """All of the artifact's, by name."""
        first = self.file(runtime)
        return {name: first.with_name(name) for name in (first.name, *BESIDE.get(runtime, ()))}

    def file(self, runtime: str) -> Path:
        path = self.folder / runtime / FILES[runtime]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            torch.manual_seed(1)
            BUILDERS[runtime](self.module, self.inputs(), path)
        return path


def save(path: Path, samples: list[Tensors]) -> None:
    arrays = {f"{n}.{i}": tensor.numpy() for n, sample in enumerate(samples) for i, tensor in enumerate(sample)}
    np.savez(path, **arrays)


def build_pytorch(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    torch.export.save(torch.export.export(module, inputs, strict=False), path)


def build_aotinductor(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    from farm.recipes.runtimes.aotinductor import compile_package

    compile_package(torch.export.export(module, inputs, strict=False), path)


def build_torchscript(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    with torch.no_grad():
        torch.jit.freeze(torch.jit.trace(module, inputs)).save(path)


def build_pytorch_mobile(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(module, inputs))
    torch._C._jit_pass_optimize_frozen_graph(frozen.graph, True)
    frozen._save_for_lite_interpreter(str(path))


def build_executorch(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(module, inputs, strict=False)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def build_onnxruntime(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    torch.onnx.export(module, inputs, path, dynamo=True, external_data=False, verbose=False)


def build_litert(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    import litert_torch

    litert_torch.convert(module, inputs).export(str(path))


def build_openvino(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
    import openvino

    model = openvino.convert_model(torch.export.export(module, inputs, strict=False))
    model.reshape({position: list(tensor.shape) for position, tensor in enumerate(inputs)})
    openvino.save_model(model, str(path), compress_to_fp16=False)


def by_the_farm(runtime: str) -> Callable[[torch.nn.Module, Tensors, Path], None]:
    """By the farm's own builder: what it writes beside the converter's files is half of these artifacts."""

    def build(module: torch.nn.Module, inputs: Tensors, path: Path) -> None:
        staged = path.with_name("staged")
        staged.mkdir()
        with package(module, inputs) as made:
            for name, blob in (
                (PROGRAM, made.spec.program),
                (EXAMPLES, made.spec.example_inputs),
                (PARITY, made.spec.parity_inputs),
            ):
                shutil.copyfile(made.files[blob.sha256], staged / name)
            farm_builders.BUILDERS[runtime].build(Program(made.spec, staged), presets.preset(runtime), path.parent)

    return build


BUILDERS: dict[str, Callable[[torch.nn.Module, Tensors, Path], None]] = {
    "pytorch": build_pytorch,
    "aotinductor": build_aotinductor,
    "torchscript": build_torchscript,
    "pytorch-mobile": build_pytorch_mobile,
    "executorch": build_executorch,
    "onnxruntime": build_onnxruntime,
    "litert": build_litert,
    "openvino": build_openvino,
    "ncnn": by_the_farm("ncnn"),
    "mnn": by_the_farm("mnn"),
}
