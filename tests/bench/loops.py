"""One fresh process of ``tests.bench.harness``: the harness's loop and the runtime's own, in turns.

``python -m tests.bench.loops RUNTIME MODEL INPUTS.npz own|harness`` (which is loaded first) prints one JSON object. The
own loop is what somebody writes who follows the runtime's documentation. Both sides have loaded the program on their
own; they take turns in blocks of tens of milliseconds, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARMUP_SECONDS = 0.5
BLOCKS = 20
BLOCK_SAMPLES = 100

Run = Callable[[], Any]


def pytorch(path: str, image: Any) -> Run:
    import torch

    # .forward: calling the module itself runs torch.export's input checks as well, which eager PyTorch has not.
    forward, tensor = torch.export.load(path).module(check_guards=False).forward, torch.from_numpy(image)
    return lambda: forward(tensor)


def torchscript(path: str, image: Any) -> Run:
    import torch

    module, tensor = torch.jit.load(path), torch.from_numpy(image)
    return lambda: module(tensor)


def pytorch_mobile(path: str, image: Any) -> Run:
    import torch
    from torch.jit.mobile import _load_for_lite_interpreter

    module, tensor = _load_for_lite_interpreter(path), torch.from_numpy(image)
    return lambda: module(tensor)


def executorch(path: str, image: Any) -> Run:
    import torch
    from executorch.extension.pybindings import _portable_lib

    module, inputs = _portable_lib._load_for_executorch(path), (torch.from_numpy(image),)
    return lambda: module.forward(inputs, clone_outputs=False)


def onnxruntime(path: str, image: Any) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, image)
    binding.bind_output(session.get_outputs()[0].name)
    return lambda: session.run_with_iobinding(binding)


def litert(path: str, image: Any) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    invoke: Run = interpreter.invoke
    return invoke


def aotinductor(path: str, image: Any) -> Run:
    import torch
    from torch._inductor import aoti_load_package

    package, tensor = aoti_load_package(path), torch.from_numpy(image)
    return lambda: package(tensor)


def openvino(path: str, image: Any) -> Run:
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))
    return lambda: request.infer(share_outputs=True)


def ncnn(path: str, image: Any) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(path)
    net.load_model(path.removesuffix("param") + "bin")
    mat = ncnn.Mat(image[0]).clone()

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input("in0", mat)
        return extractor.extract("out0")

    return run


def mnn(path: str, image: Any) -> Run:
    import MNN

    interpreter = MNN.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
    tensor = interpreter.getSessionInput(session)
    tensor.copyFrom(MNN.Tensor(image.shape, tensor.getDataType(), image, MNN.Tensor_DimensionType_Caffe))
    return lambda: interpreter.runSession(session)


OWN = {
    "pytorch": pytorch,
    "aotinductor": aotinductor,
    "torchscript": torchscript,
    "pytorch-mobile": pytorch_mobile,
    "executorch": executorch,
    "onnxruntime": onnxruntime,
    "litert": litert,
    "openvino": openvino,
    "ncnn": ncnn,
    "mnn": mnn,
}


def own_block_seconds(run: Run) -> float:
    """Median of a block, timed by hand."""
    seconds = []
    for _ in range(BLOCK_SAMPLES):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def harness_block_seconds(run: Run, count: int = BLOCK_SAMPLES) -> float:
    """Median of a block, timed by the harness: its loop, the garbage collector off as in a measurement."""
    from agents.harness import loop

    seen: list[loop.Samples] = []

    def keep(samples: loop.Samples) -> bool:
        seen.append(samples)
        return False

    gc.disable()
    loop.collect(run, first_check=count, at_least=count, max_samples=count, max_seconds=60, reached=keep)
    gc.enable()
    return float(statistics.median(seen[0].tolist())) / 1e9


def main(runtime: str, path: str, inputs: str, first: str) -> None:
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    from agents.harness import tensors
    from agents.harness.runtimes import find

    sample = tensors.load(Path(inputs))[0]
    engine = find(runtime)(1)
    programs, runs = [], {}
    for side in ("own", "harness") if first == "own" else ("harness", "own"):
        if side == "own":
            runs[side] = OWN[runtime](path, sample[0])
        else:
            programs.append(engine.load({name: Path(path).parent / name for name in engine.files}, {}))
            runs[side] = programs[0].bind(sample)
    until = time.perf_counter() + WARMUP_SECONDS
    while time.perf_counter() < until:
        runs["own"](), runs["harness"]()
    pairs = [(harness_block_seconds(runs["harness"]), own_block_seconds(runs["own"])) for _ in range(BLOCKS)]
    print(
        json.dumps(
            {
                "ratio": statistics.median(harness / own for harness, own in pairs),
                "harness_seconds": statistics.median(harness for harness, _ in pairs),
                "own_loop_seconds": statistics.median(own for _, own in pairs),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
