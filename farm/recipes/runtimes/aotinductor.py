"""AOTInductor: the program compiled by TorchInductor into a shared library, here, by the machine's C++ compiler.

The library is for this kind of CPU (``cpu=native``) or for a generation of x86 (``cpu=x86-64-v3``: AVX2); what it needs
is written into its metadata, and the device compares. How many threads it uses is decided when it runs.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from farm.errors import InfrastructureError, RecipeError
from farm.recipes import shapes
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Quantize, Recipe

FILES = ("model.aoti.pt2",)
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {"int8-static": ("torchao",)}
NATIVE: tuple[str, ...] = ("int8-static",)
REFUSES: dict[str, str] = {"channels-last": "Inductor chooses the layout of every tensor itself"}
OPTIONS: dict[str, Values] = {"cpu": ("native", "x86-64-v3")}
PRESETS = (
    (Recipe("aotinductor"), "AOTInductor: compiled by TorchInductor when it is built, fp32."),
    (
        Recipe("aotinductor", name="aotinductor-int8", transforms=(Quantize(),)),
        "AOTInductor, static int8 (PT2E with Inductor's quantizer for x86).",
    ),
)

CPUINFO = Path("/proc/cpuinfo")
# Kernel names of what a compiler may make use of; the others (hypervisor, constant_tsc, ...) are no instructions.
_INSTRUCTIONS = re.compile("s?sse|avx|amx|fma|bmi|f16c|gfni|v?aes|vpclmul|movbe|abm|adx|popcnt|sha_ni|asimd|sve")
_X86_64_V3 = "avx avx2 bmi1 bmi2 f16c fma abm movbe"  # x86-64 psABI, "Micro-Architecture Levels"


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    compiler = _compiler()
    notes = [f"Compiled by {compiler}, for {_described(str(recipe.options['cpu']))}."]
    exported = program.exported()
    if recipe.transforms:
        from farm.recipes.transforms import eager_int

        quantized = eager_int.static(program)
        exported = quantized.program
        notes += quantized.notes
    if exported.example_inputs is None:
        exported.example_inputs = program.tensors(), {}
    remedy = "Look at the end of the build's log; the operator it names may not be supported by TorchInductor."
    with Boundary(RecipeError, "AOTInductor does not compile the program", remedy):
        compile_package(exported, folder / FILES[0], cpu=str(recipe.options["cpu"]))
    return Built(tuple(notes))


def compile_package(exported: Any, path: Path, *, cpu: str = "native") -> None:
    """``exported`` has example inputs. Raises what TorchInductor and the compiler raise."""
    import torch

    settings = _settings(exported, native=cpu == "native")
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(exported, package_path=str(path), inductor_configs=settings)


def _settings(exported: Any, *, native: bool) -> dict[str, Any]:
    flags = " ".join(sorted(_native_flags())) if native else _X86_64_V3
    settings: dict[str, Any] = {
        "freezing": _freezes(exported),
        "compile_threads": 1,
        "cpp.dynamic_threads": True,
        "aot_inductor.metadata": {"farm_cpu_flags": flags, "farm_inputs": json.dumps(shapes.inputs(exported))},
    }
    return settings if native else settings | {"cpp.march": "x86-64-v3", "cpp.simdlen": 256}


def _freezes(exported: Any) -> bool:
    """Weights are folded and packed; but not where they are int4: they would be unpacked for good."""
    import torch

    return all(tensor.dtype != torch.uint8 for tensor in exported.state_dict.values())


def _described(cpu: str) -> str:
    if cpu == "native":
        return f"CPUs like that of this {platform.machine()} machine"
    if platform.machine() != "x86_64":
        raise RecipeError(
            f"A {platform.machine()} machine does not compile for {cpu}.", remedy="Leave the option cpu out."
        )
    return f"{cpu} CPUs"


def _native_flags() -> set[str]:
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    return {flag for flag in (found[1].split() if found else ()) if _INSTRUCTIONS.match(flag)}


def _compiler() -> str:
    """Name and version. Raises InfrastructureError where there is none."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        found = subprocess.run(
            [get_cpp_compiler(), "--version"], capture_output=True, text=True, check=True, timeout=60
        )
    except (InvalidCxxCompiler, OSError, subprocess.SubprocessError) as error:
        raise InfrastructureError(
            "AOTInductor needs a C++ compiler where the artifact is built, and there is none.",
            remedy="Install one on every machine that builds (Debian, Ubuntu: apt install g++).",
        ) from error
    return found.stdout.partition("\n")[0]
