"""What the tools print, written anew in the form of their sources."""

from __future__ import annotations

from agents.native_tools import Tensor, Work
from farm.types import Protocol

PROTOCOL = Protocol(min_samples=10, min_warmup_runs=3, max_samples=100)


def work(accelerator: str = "cpu", **fields: object) -> Work:
    known: dict[str, object] = {
        "model": "/phone/attempt/model/net.bin",
        "folder": "/phone/attempt",
        "threads": 2,
        "accelerator": accelerator,
        "delegate": (),
        "inputs": (Tensor("/phone/attempt/input-0.bin", "float32", (1, 3, 8, 8)),),
        "protocol": PROTOCOL,
    }
    return Work(**known | fields)  # type: ignore[arg-type]


def benchmark_model(delegate: str = "", *, new: bool = True) -> str:
    more = (" p5=4011 median=4102 p95=4350", " p5=4900 median=5000 p95=5100") if new else ("", "")
    return f"""INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [net.tflite]
INFO: Loaded model net.tflite
{delegate}INFO: The input model file size (MB): 4.28
INFO: Initialized session in 12.345ms.
INFO: Running benchmark for at least 3 iterations and at least 0.5 seconds but terminate if exceeding 10 seconds.
INFO: count=3 first=5102 curr=4900 min=4900 max=5102 avg=5000.67 std=83{more[1] if new else ""}

INFO: Running benchmark for at least 10 iterations and at least 0.3 seconds but terminate if exceeding 10 seconds.
INFO: count=10 first=4210 curr=4099 min=4003 max=4390 avg=4127.4 std=101{more[0]}

INFO: Inference timings in us: Init: 12345, First inference: 5102, Warmup (avg): 5000.67, Inference (avg): 4127.4
INFO: Memory footprint delta from the start of the tool (MB): init=3.1 overall=7.2
"""


GPU_WHOLE = """INFO: Created TensorFlow Lite delegate for GPU.
INFO: Replacing 64 out of 64 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions for subgraph 0.
INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
"""
GPU_PARTLY = """INFO: Replacing 62 out of 64 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions \
for subgraph 0.
INFO: Replacing 2 out of 3 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions for subgraph 0.
INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 1 delegate \
kernels.
"""
GPU_REFUSED = """INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Replacing 64 out of 64 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.
"""
XNNPACK_ONLY = """INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Replacing 64 out of 64 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.
"""

RUNS_MS = [31.5, 9.25, 8.5, 8.0, 8.125, 8.25, 8.5, 8.0, 8.0625, 8.375, 8.1, 8.2, 8.3]


def executor_runner(*, new: bool = True) -> str:
    prefix = "I 00:00:00.0{:05d} executorch:executor_runner.cpp:{}] "
    rows = [prefix.format(10, 325) + "Model file net.pte is loaded."]
    if new:
        rows.append(prefix.format(20, 400) + "Model loaded in 21.500000 ms.")
        for index, value in enumerate(RUNS_MS, start=1):
            line = f"Iteration {index} of {len(RUNS_MS)}: {value:f} ms"
            rows.append(prefix.format(30 + index, 500) + line)
    total = f"Model executed successfully {len(RUNS_MS)} time(s) in {sum(RUNS_MS):f} ms."
    rows += [prefix.format(90, 520) + total, prefix.format(91, 523) + "1 outputs: ", "OutputX 0: tensor(sizes=[1, 2])"]
    return "\n".join(rows) + "\n"


def perf_test() -> tuple[str, str]:
    """What it prints, and its result file."""
    values = [value / 1000 for value in RUNS_MS]
    total = sum(values)
    printed = f"""Setting intra_op_num_threads to 2

Session creation time cost: 0.0217932 s
Session creation time cost: 0.0217932 s
First inference time cost: 33 ms
Total inference time cost: {total:.6g} s
Total inference requests: {len(values)}
Average inference time cost total: {total / len(values) * 1000:f} ms
Total inference run time: {total * 1.001:.6g} s
Number of inferences per second: {len(values) / total:.6g}\x20
Avg CPU usage: 98 %
Peak working set size: 35299328 bytes
"""
    rows = [f"model,{value:.6g},35299328,98,{index}" for index, value in enumerate(values)]
    return printed, "\n".join([*rows, "", "Min Latency: 0.008 s", "Max Latency: 0.0315 s", ""])


PLACED = """2026-11-25 [V:onnxruntime:, session_state.cc:1578 VerifyEachNodeIsAssignedToAnEp] Node placements
2026-11-25 [V:onnxruntime:, session_state.cc:1585 VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on \
[NnapiExecutionProvider]. Number of nodes: 1
2026-11-25 [V:onnxruntime:, session_state.cc:1585 VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on \
[CPUExecutionProvider]. Number of nodes: 4
"""


def speed_benchmark() -> str:
    values = [value * 1000 for value in RUNS_MS[:10]]
    rows = [
        f'PyTorchObserver {{"type": "NET", "unit": "us", "metric": "latency", "value": "{value:.6g}"}}'
        for value in values
    ]
    mean = sum(values) / len(values) * 1.0002
    last = f"Main run finished. Microseconds per iter: {mean:.6g}. Iters per second: {1e6 / mean:.6g}"
    return "\n".join(["Starting benchmark.", "Running warmup runs.", "Main runs.", *rows, last]) + "\n"


# (tool, what it prints, its result file)
WHOLE = {
    "benchmark_model": (benchmark_model(), ""),
    "benchmark_model-old": (benchmark_model(new=False), ""),
    "executor_runner": (executor_runner(), ""),
    "executor_runner-old": (executor_runner(new=False), ""),
    "onnxruntime_perf_test": perf_test(),
    "speed_benchmark_torch": (speed_benchmark(), ""),
}
