"""ONNX Runtime on its CPU execution provider, graph optimizations at their default (all), at load.

Inside a measured inference: ``InferenceSession.run_with_iobinding`` with inputs and outputs bound as OrtValues in CPU
memory, which is what the C and C++ interfaces do; nothing is converted to or from numpy.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents.harness.profile import Profiled, summed, timed
from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.tensors import Array, Input

# ONNX names types its own way: tensor(float) is float32.
DTYPES = {"float": "float32", "double": "float64"}


class Runtime:
    files = ("model.onnx",)
    distributions = ("onnxruntime",)
    extra = "onnxruntime"

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._onnxruntime, self._threads = onnxruntime, threads

    def load(self, files: Files, options: Options) -> _Program:
        def open_session(profile_prefix: str | None = None) -> Any:
            settings = self._onnxruntime.SessionOptions()
            settings.intra_op_num_threads = self._threads
            settings.inter_op_num_threads = 1
            if profile_prefix is not None:
                settings.enable_profiling, settings.profile_file_prefix = True, profile_prefix
            path, providers = files[self.files[0]], ["CPUExecutionProvider"]
            return self._onnxruntime.InferenceSession(path, settings, providers=providers)

        program = _Program(open_session(), self._onnxruntime.OrtValue.ortvalue_from_numpy, open_session)
        check_threads(program.threads, self._threads)
        return program


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
