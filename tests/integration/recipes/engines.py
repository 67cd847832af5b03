"""Runs artifacts with their engines' plainest calls, to see that what was built is what was asked for."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


def outputs(runtime: str, path: Path, samples: list[np.ndarray]) -> list[np.ndarray]:
    with torch.inference_mode():
        run = ENGINES[runtime](path)
        return [np.asarray(run(sample)) for sample in samples]


def _pytorch(path: Path) -> Callable:
    from torch.ao.quantization.fx import _decomposed  # noqa: F401 - registers what int8 programs are made of

    module = torch.export.load(str(path)).module()
    return lambda sample: module(torch.from_numpy(sample))


def _aotinductor(path: Path) -> Callable:
    module = torch._inductor.aoti_load_package(str(path))
    return lambda sample: module(torch.from_numpy(sample))


def _torchscript(path: Path) -> Callable:
    module = torch.jit.load(str(path))
    return lambda sample: module(torch.from_numpy(sample))


def _mobile(path: Path) -> Callable:
    from torch.jit.mobile import _load_for_lite_interpreter

    module = _load_for_lite_interpreter(str(path))
    return lambda sample: module(torch.from_numpy(sample))


def executorch(path: Path) -> Callable:
    import openvino
    from executorch.extension.pybindings import _portable_lib

    (library,) = Path(openvino.__file__).with_name("libs").glob("libopenvino_c.so*")
    os.environ["OPENVINO_LIB_PATH"] = str(library)
    content = path.read_bytes()
    program = _portable_lib._load_for_executorch_from_buffer(content)

    def run(*sample: np.ndarray, content: bytes = content) -> np.ndarray:  # OpenVINO reads it as long as it runs
        return np.asarray(program.forward([torch.from_numpy(array) for array in sample])[0])

    return run


def _onnxruntime(path: Path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda sample: session.run(None, {session.get_inputs()[0].name: sample})[0]


def _litert(path: Path) -> Callable:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(sample: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken["index"], sample)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return run


def _openvino(path: Path) -> Callable:
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda sample: model(sample)[0]


def _ncnn(path: Path) -> Callable:
    import ncnn

    net = ncnn.Net()
    assert net.load_param(str(path)) == net.load_model(str(path.with_suffix(".bin"))) == 0

    def run(sample: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(sample[0]).clone())
        return np.array(extractor.extract("out0")[1])[None]

    return run


def _mnn(path: Path) -> Callable:
    from MNN import expr, nn

    module = nn.load_module_from_file(str(path), [], [], precision_mode=expr.PrecisionMode.High)

    def run(sample: np.ndarray) -> np.ndarray:
        given = expr.const(sample, list(sample.shape), expr.data_format.NCHW, expr.dtype.float)
        return np.array(module.onForward([given])[0].read())

    return run


ENGINES: dict[str, Callable[[Path], Callable]] = {
    "pytorch": _pytorch,
    "aotinductor": _aotinductor,
    "torchscript": _torchscript,
    "pytorch-mobile": _mobile,
    "executorch": executorch,
    "onnxruntime": _onnxruntime,
    "litert": _litert,
    "openvino": _openvino,
    "ncnn": _ncnn,
    "mnn": _mnn,
}
