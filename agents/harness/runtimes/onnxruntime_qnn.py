"""Qualcomm's QNN execution provider of ONNX Runtime, for models that were compiled for its NPU ahead of time.

On a host the NPU (the Hexagon tensor processor, HTP) is emulated by QNN itself: outputs are those of the NPU, times are
the emulator's, and the records say so. Inside an inference: as for ONNX Runtime. The emulator cannot be told a number
of threads; like everything it is bound to the CPUs of the scenario.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from agents.harness.failure import Failure
from agents.harness.runtimes import Files, Options
from agents.harness.runtimes.onnxruntime import _Program


class Runtime:
    files = ("model.onnx",)
    distributions = ("onnxruntime-qnn", "onnxruntime")
    extra = "onnxruntime"
    toolchain = "qnn"
    emulates = "" if platform.machine() == "aarch64" else "Qualcomm's NPU (QNN HTP)"

    def __init__(self, threads: int) -> None:
        import onnxruntime
        import onnxruntime_qnn as qnn

        self._onnxruntime, self._qnn, self._threads = onnxruntime, qnn, threads
        onnxruntime.register_execution_provider_library(qnn.get_ep_name(), qnn.get_library_path())

    def load(self, files: Files, options: Options) -> _Program:
        def open_session(profile_prefix: str | None = None) -> Any:
            return self._session(files[self.files[0]], profile_prefix)

        return _Program(open_session(), self._onnxruntime.OrtValue.ortvalue_from_numpy, open_session)

    def _session(self, path: Path, profile_prefix: str | None) -> Any:
        name = self._qnn.get_ep_name()
        devices = [device for device in self._onnxruntime.get_ep_devices() if device.ep_name == name]
        if not devices:
            raise Failure(
                "no-accelerator",
                "QNN finds neither a Qualcomm NPU nor its emulator here.",
                remedy="Choose another device or recipe.",
                fault="device",
            )
        settings = self._onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if profile_prefix is not None:
            settings.enable_profiling, settings.profile_file_prefix = True, profile_prefix
        settings.add_provider_for_devices(devices[:1], {"backend_path": self._qnn.get_qnn_htp_path()})
        return self._onnxruntime.InferenceSession(path, settings)
