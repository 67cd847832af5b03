"""Runs under the toolchain ``qnn``, which has nothing of the farm: ``python compile_qnn.py IN.onnx OUT.onnx ARCH``.

Compiles a whole ONNX model for Qualcomm's Hexagon tensor processor of that architecture, into a model of one node.
"""

import sys
from pathlib import Path

import onnxruntime
import onnxruntime_qnn


def main(source: str, destination: str, architecture: str) -> None:
    name = onnxruntime_qnn.get_ep_name()
    onnxruntime.register_execution_provider_library(name, onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    settings = onnxruntime.SessionOptions()
    for key, value in {
        "ep.context_enable": "1",
        "ep.context_embed_mode": "1",
        "ep.context_file_path": destination,
        "session.disable_cpu_ep_fallback": "1",  # an operator that the processor lacks is an error, not a slow one
    }.items():
        settings.add_session_config_entry(key, value)
    options = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), "htp_arch": architecture}
    settings.add_provider_for_devices(devices[:1], options)
    onnxruntime.InferenceSession(source, settings)
    if not Path(destination).is_file():
        raise SystemExit("QNN compiled nothing: no part of the model was taken.")


if __name__ == "__main__":
    main(*sys.argv[1:])
