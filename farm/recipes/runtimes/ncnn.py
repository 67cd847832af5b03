"""ncnn, converted by pnnx from a traced TorchScript program.

pnnx "succeeds" also with operators that ncnn lacks, so what it made is loaded and run once. It writes Python as well,
which is read as text (it alone says which axis ncnn treats as the batch) and never run.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from farm.errors import InternalError, RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import reference, signature, torchscript
from farm.recipes.runtimes.built import Built, Values
from farm.recipes.samples import Array, Sample
from farm.types import Cast, ModelFormat, Recipe, TensorSpec

FILES = ("model.ncnn.param", "model.ncnn.bin", signature.FILE)
VERSION = 1
TOOLS = ("torch", "pnnx", "ncnn")
EXTRA = "ncnn"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("fp16",)
REFUSES: dict[str, str] = {
    "quantize": "the wheels of ncnn and pnnx hold no quantizer (ncnn2table and ncnn2int8 have to be compiled)",
    "bf16": "pnnx stores float16 or float32",
    "channels-last": "ncnn chooses the layout itself",
}
OPTIONS: dict[str, Values] = {}
PRESETS = (
    (Recipe("ncnn"), "ncnn, fp32."),
    (Recipe("ncnn", name="ncnn-fp16", transforms=(Cast(),)), "ncnn, weights in fp16."),
)

_HALF = "Weights are stored in float16; devices without float16 arithmetic (x86 CPUs) compute in float32."
_OTHER = "Choose another runtime for this model."
_TYPES = {"float32": "f32", "float16": "f16", "float64": "f64", "int32": "i32", "int64": "i64", "int8": "i8"}
_NO_BATCH = 233  # ncnn's own number for it
_CODE = re.compile(r"(?:ncnn\.Mat\((in\d+)\.numpy\(\), |(out\d+)\.numpy\()batch_index=(\d+)\)")


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    half = any(isinstance(transform, Cast) for transform in recipe.transforms)
    script = folder / "model.pt"
    torchscript.frozen(program).save(str(script))
    _run_pnnx(script, program.spec.inputs, half=half)
    batch = {match[1] or match[2]: int(match[3]) for match in _CODE.finditer(_text(folder / "model_ncnn.py"))}
    settings = {"precision": "float16" if half else "float32", "batch_axes": batch}
    answer = _answer(program)
    _try(folder, program, batch, answer)
    signature.write(
        folder,
        inputs=signature.named(program.spec.inputs, [f"in{position}" for position in range(len(program.spec.inputs))]),
        outputs=signature.named(signature.outputs_of(answer), [f"out{position}" for position in range(len(answer))]),
        settings=settings,
    )
    narrow = [spec.name for spec in program.spec.inputs if spec.dtype == "int64"]
    return Built(
        (*([_HALF] if half else []), *([f"ncnn takes int64 inputs as int32: {', '.join(narrow)}."] if narrow else []))
    )


def _run_pnnx(script: Path, inputs: Sequence[TensorSpec], *, half: bool) -> None:
    if strange := [str(spec) for spec in inputs if spec.dtype not in _TYPES]:
        raise RecipeError(f"pnnx does not know the type of the inputs {', '.join(strange)}.", remedy=_OTHER)
    found = find_spec("pnnx")
    if found is None or found.origin is None:
        raise InternalError("pnnx has gone since the build was planned.", remedy="Report this bug.")
    shapes = ",".join(f"[{','.join(map(str, spec.shape))}]{_TYPES[spec.dtype]}" for spec in inputs)
    command = [str(Path(found.origin).with_name("pnnx")), script.name, f"inputshape={shapes}", f"fp16={int(half)}"]
    done = subprocess.run(command, cwd=script.parent, check=False)  # what it says goes to the build's log
    if done.returncode != 0 or not (script.parent / FILES[0]).exists():
        raise RecipeError(f"pnnx does not convert the program (exit code {done.returncode}).", remedy=_OTHER)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise RecipeError(f"pnnx left no {path.name}.", remedy=_OTHER) from error


def _answer(program: Program) -> Sample:
    import torch

    script = program.spec.format == ModelFormat.TORCHSCRIPT
    module = program.script() if script else program.module()
    with torch.inference_mode():
        return reference.flatten(module(*program.tensors()))


def _try(folder: Path, program: Program, batch: dict[str, int], answer: Sample) -> None:
    """Raises RecipeError with the layers that ncnn does not have, or the first difference to PyTorch's outputs."""
    import ncnn

    with Boundary(RecipeError, "ncnn does not run what pnnx made", _OTHER):
        net = ncnn.Net()
        net.opt.num_threads = 1
        if net.load_param(str(folder / FILES[0])) or net.load_model(str(folder / FILES[1])):
            raise RecipeError(
                f"ncnn does not load what pnnx made of the program{_strange_layers(folder / FILES[0])}.", remedy=_OTHER
            )
        extractor = net.create_extractor()
        held = [_mat(array, batch.get(f"in{position}", _NO_BATCH)) for position, array in enumerate(program.example)]
        for position, mat in enumerate(held):
            extractor.input(f"in{position}", mat)
        for position, expected in enumerate(answer):
            name = f"out{position}"
            code, mat = extractor.extract(name)
            size = 0 if code else mat.numpy(batch_index=batch.get(name, _NO_BATCH)).size
            if code or size != expected.size:
                what = f"output {position} of shape {list(expected.shape)} (code {code}, {size} elements)"
                raise RecipeError(f"ncnn computes no {what}.", remedy=_OTHER)


def _mat(array: Array, batch_axis: int) -> Any:
    import ncnn
    import numpy as np

    return ncnn.Mat(array.astype(np.int32) if array.dtype == np.int64 else array, batch_index=batch_axis).clone()


def _strange_layers(path: Path) -> str:
    """Operators of PyTorch that pnnx handed on because ncnn has no layer for them."""
    kinds = [line.split()[0] for line in path.read_text().splitlines()[2:] if line.strip()]
    strange = sorted({kind for kind in kinds if "." in kind or "::" in kind})
    return f": ncnn has no layer for {', '.join(strange)}" if strange else ""
