"""The runtimes the harness can drive, one module each, and what it expects of them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from agents.harness.failure import Failure
from agents.harness.job import Operators
from agents.harness.profile import Profiled
from agents.harness.tensors import Array, Input

NAMES = (
    "pytorch",
    "aotinductor",
    "torchscript",
    "pytorch-mobile",
    "executorch",
    "onnxruntime",
    "onnxruntime-qnn",
    "litert",
    "coreml",
    "openvino",
    "ncnn",
    "mnn",
    "tensorrt",
)

ENTRY_POINTS = "torchfarm.harness_runtimes"

Options = Mapping[str, str | int | float | bool]
Files = Mapping[str, Path]


class Program(Protocol):
    """A loaded model, ready to take inputs."""

    @property
    def inputs(self) -> Sequence[Input]:
        """In positional order."""

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        """Bring a sample into the runtime's own form. The callable returned is one inference: it is what is timed.
        Binding another sample ends the validity of the callable and of what it returned."""

    def outputs(self, returned: Any) -> list[Array]:
        """Copies of what an inference returned, flattened in PyTorch's pytree order. Not timed."""


class ProfiledProgram(Program, Protocol):
    """A program that can also tell what its operators cost. One without ``profile`` cannot."""

    def profile(self, sample: Sequence[Array], runs: int) -> Profiled | str:
        """Over ``runs`` inferences after at least one that does not count, or why it cannot be told. It may load the
        program a second time: nothing is measured any more. What it raises becomes the reason, too."""


class Runtime(Protocol):
    """One inference engine. Creating it imports the engine's package: the ``import`` phase.

    A class may also have ``toolchain``: the isolated environment that it runs in, whose Python then runs the harness;
    and ``emulates``: the accelerator that is only emulated here, so that times say nothing of it."""

    files: ClassVar[tuple[str, ...]]  # of the artifact
    distributions: ClassVar[tuple[str, ...]]  # pip distributions whose versions are recorded
    extra: ClassVar[str]  # the extra of torchfarm that installs them

    def __init__(self, threads: int) -> None:
        """Import and restrict the runtime to ``threads``. Raises ImportError, Failure ``threads-not-pinned``."""

    def load(self, files: Files, options: Options) -> Program:
        """The ``load`` phase. ``files`` has those of the artifact under their names; where they lie, they are named by
        their content. ``options`` are the recipe's; those that matter only to its build are passed over.
        Raises what the runtime raises; the harness turns it into Failure ``load-failed``."""


class ExtendableRuntime(Runtime, Protocol):
    """A runtime that takes a user's own operators. One without ``extend`` takes none."""

    def extend(self, operators: Operators) -> None:
        """Before ``load``, in no phase. What it raises is said to be the operators' fault."""


def find(name: str) -> type[Runtime]:
    """Also those of other packages, by the entry point group ``torchfarm.harness_runtimes``. Raises Failure
    ``unknown-runtime``."""
    if name in NAMES:
        module = import_module(f"{__name__}.{name.replace('-', '_')}")
        return cast(type[Runtime], module.Runtime)
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in others:
        return cast(type[Runtime], others[name].load())
    raise Failure(
        "unknown-runtime",
        f"This harness has no runtime {name!r}; it has {', '.join([*NAMES, *others])}.",
        remedy="Choose a recipe for one of these, or update the agent.",
        fault="device",
    )


def names() -> tuple[str, ...]:
    """Of all runtimes, installed or not."""
    return (*NAMES, *(point.name for point in entry_points(group=ENTRY_POINTS)))


def check_threads(granted: int, asked: int) -> None:
    """Raises Failure ``threads-not-pinned`` when what was read back is not what was asked for."""
    if granted != asked:
        raise Failure(
            "threads-not-pinned",
            f"The runtime was told to use {asked} threads and uses {granted}.",
            remedy="Ask for another number of threads; this build of the runtime does not support that one.",
            fault="device",
        )


def needs_apple(what: str) -> Failure:
    return Failure(
        "needs-apple",
        f"{what} runs on Apple's systems only; this is {platform.system()} on {platform.machine()}.",
        remedy="Run it on a Mac, an iPhone or an iPad; for this device choose another recipe.",
        fault="recipe",
    )
