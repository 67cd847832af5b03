"""AOTInductor: a package with a shared library that TorchInductor compiled when the artifact was built.

Inside a measured inference: the call of the loaded package with CPU tensors, in inference mode: flattening the inputs,
running the library, wrapping the outputs. The library decides at run time how many OpenMP threads it uses: read back
from every OpenMP library of the process.

The package is native code: the farm builds it itself and accepts none from users. What it was compiled for stands in
its metadata and is compared with this CPU before it is loaded, since an unknown instruction would end the process.
"""

from __future__ import annotations

import json
import platform
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from agents.harness.failure import Failure
from agents.harness.runtimes import Files, Options
from agents.harness.runtimes.torch_program import TorchProgram, check_openmp, restrict_threads
from agents.harness.tensors import Input

CPUINFO = Path("/proc/cpuinfo")


class Runtime:
    files = ("model.aoti.pt2",)
    distributions = ("torch",)
    extra = "torch"

    def __init__(self, threads: int) -> None:
        import torch
        from torch.export.pt2_archive._package import AOTICompiledModel

        self._threads = threads
        # aoti_load_package does no more, but brings the whole compiler in first, which would pass for load time.
        self._wrapped: Any = AOTICompiledModel
        self._loader: Any = torch._C._aoti.AOTIModelPackageLoader
        restrict_threads(threads)

    def load(self, files: Files, options: Options) -> TorchProgram:
        path = files[self.files[0]]
        metadata = _metadata(path)
        check_cpu(metadata, platform.machine(), cpu_flags())
        inputs = [Input(name, tuple(shape), dtype) for name, shape, dtype in json.loads(metadata["farm_inputs"])]
        # PyTorch wants the suffix, and on the device files are named by their content.
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, self.files[0])
            link.symlink_to(path)
            model = self._wrapped(self._loader(str(link), "model", False, 1, -1))
        check_openmp(self._threads)
        return TorchProgram(model, inputs)


def _metadata(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".wrapper_metadata.json"))
        found: dict[str, Any] = json.loads(archive.read(name))
    return found


def check_cpu(metadata: dict[str, str], machine: str, flags: set[str]) -> None:
    """Raises Failure ``wrong-cpu`` where the library has instructions that this CPU lacks."""
    missing = sorted(set(metadata["farm_cpu_flags"].split()) - flags)
    if metadata["AOTI_MACHINE"] != machine:
        what = f"compiled for {metadata['AOTI_MACHINE']}, this machine is {machine}"
    elif missing:
        what = f"compiled for a CPU with {', '.join(missing[:10])}, which this one lacks"
    else:
        return
    raise Failure(
        "wrong-cpu",
        f"The AOTInductor package was {what}.",
        remedy="Build it for an older CPU (option cpu=x86-64-v3), or take the recipe pytorch-compile, which compiles "
        "on the device.",
        fault="recipe",
    )


def cpu_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Extensions of the instruction set, as the kernel names them."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return set(found[1].split()) if found else set()
