"""ONNX Runtime, graph optimizations at their default (all), at load, on the execution provider of the recipe.

Inside a measured inference: ``InferenceSession.run_with_iobinding`` with inputs and outputs bound as OrtValues in CPU
memory, which is what the C and C++ interfaces do; nothing is converted to or from numpy. With a provider that has
memory of its own, copying the inputs there and the outputs back is inside, as it is for who calls it with an image.

Option ``provider``: ``cpu``, or one that this build of ONNX Runtime must have and that must take operators of the
model; what it leaves runs on the CPU. Nothing falls back to the CPU unsaid: then there is no measurement.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from agents.harness.failure import Failure
from agents.harness.job import Operators
from agents.harness.profile import Profiled, summed, timed
from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.tensors import Array, Input

# ONNX names types its own way: tensor(float) is float32.
DTYPES = {"float": "float32", "double": "float64"}

CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
# Arithmetic stays in the precision of the recipe: TF32 keeps 10 bits of a fp32 mantissa.
PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
ASSIGNMENT = "session.record_ep_graph_assignment_info"
# All bring the package ``onnxruntime``, with other providers in it; one of them is installed.
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")


def _distribution() -> str:
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            return name
    return DISTRIBUTIONS[0]


class Runtime:
    files = ("model.onnx",)
    distributions = (_distribution(),)
    extra = "onnxruntime"

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._onnxruntime, self._threads = onnxruntime, threads
        self._operators: Path | None = None

    def extend(self, operators: Operators) -> None:
        """Registered with every session; once here, so that what does not load is told from what does not fit."""
        self._onnxruntime.SessionOptions().register_custom_ops_library(str(operators.file))
        self._operators = operators.file

    def load(self, files: Files, options: Options) -> _Program:
        provider = self._provider(str(options.get("provider", "cpu")))
        if provider in NVIDIA:
            self._onnxruntime.preload_dlls()  # CUDA and cuDNN where pip put them

        def open_session(profile_prefix: str | None = None) -> Any:
            settings = self._onnxruntime.SessionOptions()
            settings.intra_op_num_threads = self._threads
            settings.inter_op_num_threads = 1
            settings.add_session_config_entry(ASSIGNMENT, "0" if provider == CPU else "1")
            if self._operators is not None:
                settings.register_custom_ops_library(str(self._operators))
            if profile_prefix is not None:
                settings.enable_profiling, settings.profile_file_prefix = True, profile_prefix
            return self._onnxruntime.InferenceSession(
                files[self.files[0]],
                settings,
                providers=[(name, PROVIDER_OPTIONS.get(name, {})) for name in dict.fromkeys((provider, CPU))],
                enable_fallback=0,  # else a provider that does not start is left out with a printed line
            )

        session = open_session()
        program = _Program(session, self._onnxruntime.OrtValue.ortvalue_from_numpy, open_session)
        check_threads(program.threads, self._threads)
        if provider != CPU:
            _check_taken(session, provider)
        return program

    def _provider(self, option: str) -> str:
        provider = PROVIDERS.get(option, option)
        if provider not in (available := self._onnxruntime.get_available_providers()):
            raise Failure(
                "backend-missing",
                f"This build of ONNX Runtime has no {provider}; it has {', '.join(available)}.",
                remedy="Select devices whose ONNX Runtime has it, or choose another recipe.",
                fault="recipe",  # the device does all that it was set up for
            )
        return provider


def _check_taken(session: Any, provider: str) -> None:
    """Raises Failure ``backend-missing`` where the provider did not start, ``backend-unused`` where it took nothing."""
    if provider not in session.get_providers():
        raise Failure(
            "backend-missing",
            f"{provider} did not start on this device; the session has {', '.join(session.get_providers())}.",
            remedy="See the harness's log for what ONNX Runtime says; mostly a driver or a library is missing.",
            fault="recipe",
        )
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    if not counts.get(provider):
        shares = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Failure(
            "backend-unused",
            f"{provider} took none of the model's operators (operators by provider: {shares}).",
            remedy="Measure this model on the CPU, or with a provider that supports its operators.",
            fault="recipe",
        )


class _Program:
    def __init__(self, session: Any, to_value: Callable[[Array], Any], reopen: Callable[[str], Any]) -> None:
        self._session, self._to_value, self._reopen = session, to_value, reopen
        self.inputs = [_input(each) for each in session.get_inputs()]
        self._binding = session.io_binding()

    @property
    def threads(self) -> int:
        return int(self._session.get_session_options().intra_op_num_threads)

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        self._binding = self._session.io_binding()
        for expected, array in zip(self.inputs, sample, strict=True):
            self._binding.bind_ortvalue_input(expected.name, self._to_value(array))
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        return partial(self._session.run_with_iobinding, self._binding)

    def outputs(self, returned: Any) -> list[Array]:
        return [value.numpy().copy() for value in self._binding.get_outputs()]

    def profile(self, sample: Sequence[Array], runs: int) -> Profiled:
        """By ONNX Runtime's own profiler, in a second session; what it fused is one operator."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._reopen(str(Path(folder, "profile")))
            run = _Program(session, self._to_value, self._reopen).bind(sample)
            run()
            seconds = timed(run, runs)
            events = json.loads(Path(session.end_profiling()).read_bytes())
        return Profiled("ONNX Runtime's profiler", seconds, summed(_nodes(events)))


def _nodes(events: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str, float]]:
    """Of all runs but the first."""
    first = min((event["ts"] + event["dur"] for event in events if event["name"] == "model_run"), default=0)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= first:
            name, about = event["name"].removesuffix("_kernel_time"), event["args"]
            yield name, about["op_name"], about.get("provider", ""), event["dur"] / 1e6


def _input(argument: Any) -> Input:
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Input(argument.name, shape, DTYPES.get(kind, kind))
