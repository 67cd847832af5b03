"""Qualcomm's NPU through ONNX Runtime: the ONNX model is compiled ahead of time into one node for the Hexagon tensor
processor. In floating point it computes in fp16. The compiler lives in an isolated environment: toolchain ``qnn``.

On hosts the processor is emulated: outputs are the NPU's, times say nothing (the harness marks them).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from farm.errors import RecipeError
from farm.recipes import toolchains
from farm.recipes.program import Program
from farm.recipes.runtimes import onnxruntime
from farm.recipes.runtimes.built import Built, Values
from farm.recipes.toolchains.environments import Environments
from farm.types import Delegation, ModelFormat, Quantize, Recipe
from farm.types.recipes import FAMILIES

FILES = ("model.onnx",)
VERSION = 1
TOOLS = (*onnxruntime.TOOLS, "toolchain:qnn")
EXTRA = "onnxruntime"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("int8-static",)
REFUSES: dict[str, str] = {}
# Hexagon's architecture: 75 is Snapdragon 8 Gen 3's, 73 that of Gen 2, 79 that of 8 Elite.
OPTIONS: dict[str, Values] = {"htp_arch": (75, 68, 69, 73, 79)}
PRESETS = (
    (
        Recipe("onnxruntime-qnn", name="onnxruntime-qnn", parity=FAMILIES["fp16"]),
        "Qualcomm's NPU (QNN, HTP) in fp16; emulated on hosts.",
    ),
    (
        Recipe("onnxruntime-qnn", name="onnxruntime-qnn-int8", transforms=(Quantize(),)),
        "Qualcomm's NPU (QNN, HTP) in static int8; emulated on hosts.",
    ),
)

_SCRIPT = Path(toolchains.__file__).with_name("compile_qnn.py")
_SAID_CHARACTERS = 1_500


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    source = folder.parent / "source"
    source.mkdir()
    made = onnxruntime.build(program, recipe, source)
    python = Environments(toolchains.directory()).use_made(toolchains.find("qnn")).python
    target, architecture = folder / FILES[0], str(recipe.options["htp_arch"])
    done = subprocess.run(
        [str(python), "-I", str(_SCRIPT), str(source / onnxruntime.FILES[0]), str(target), architecture],
        capture_output=True,
        text=True,
        check=False,
    )  # limits of time and memory are those of this process, which the parent enforces on all its children
    print(done.stdout, done.stderr, sep="\n", flush=True)  # noqa: T201 - the build's log
    if done.returncode != 0:
        raise RecipeError(
            f"QNN does not compile the model (exit code {done.returncode}): {_said(done.stderr)}",
            remedy="Look at the build's log; the operator it names may not exist on the NPU, or not in this type.",
        )
    note = f"Compiled for Hexagon v{architecture} as one node."
    return Built((*made.notes, note), Delegation(operators={"QNNExecutionProvider": 1}))


def _said(text: str) -> str:
    return " ".join(text.split())[-_SAID_CHARACTERS:]
