"""``speed_benchmark_torch`` (pytorch/pytorch, binaries/speed_benchmark_torch.cc): microseconds.

With ``--report_pep`` it prints every run, then the mean over all of them:

    PyTorchObserver {"type": "NET", "unit": "us", "metric": "latency", "value": "81350"}
    Main run finished. Microseconds per iter: 81402.5. Iters per second: 12.2846

It has no argument for threads. With ``--vulkan`` the mean also holds the copies to and from the GPU, as every run does.
"""

from __future__ import annotations

import json
import re

from agents.native_tools.tool import NotUnderstood, Printed, Work, agree, lines, of_samples, seconds
from farm.types import Accelerator, ToolDelegation

_US = 1e-6
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_FINISHED = re.compile(rf"Main run finished\. Microseconds per iter: {_NUMBER}\. Iters per second: {_NUMBER}\s*")
_OBSERVER = "PyTorchObserver "
_TYPES = {"float32": "float", "uint8": "uint8_t", "int64": "int64"}


class SpeedBenchmark:
    name = "speed_benchmark_torch"
    runtime = "pytorch-mobile"
    suffixes = (".ptl", ".pt")
    sets_threads = False
    results = ""
    outputs = False

    def delegate(self, accelerator: Accelerator) -> tuple[str, ...] | None:
        return {"cpu": (), "gpu": ("--vulkan=true",)}.get(accelerator)

    def refuses(self, work: Work) -> str:
        strange = sorted({each.dtype for each in work.inputs} - _TYPES.keys())
        return f"it makes inputs of {', '.join(_TYPES)} only, not of {', '.join(strange)}" if strange else ""

    def probe(self, binary: str, work: Work) -> list[str]:
        return []

    def command(self, binary: str, work: Work) -> list[str]:
        inputs = ["--no_inputs=true"]
        if work.inputs:
            inputs = [
                f"--input_dims={';'.join(','.join(map(str, each.shape)) for each in work.inputs)}",
                f"--input_type={';'.join(_TYPES[each.dtype] for each in work.inputs)}",
                f"--input_memory_format={';'.join('contiguous_format' for _ in work.inputs)}",
            ]
        return [
            binary,
            f"--model={work.model}",
            *inputs,
            f"--warmup={work.warmup_runs}",
            f"--iter={work.runs}",
            "--report_pep=true",
            *work.delegate,
        ]

    def read(self, output: str, results: str, probed: str, work: Work) -> Printed:
        said = lines(output)
        finished = [line for line in said if line.startswith("Main run finished")]
        found = _FINISHED.fullmatch(finished[0]) if len(finished) == 1 else None
        if found is None:
            raise NotUnderstood("there is no whole line 'Main run finished. Microseconds per iter: ...'")
        runs = [_run(line) for line in said if line.startswith(_OBSERVER)]
        if len(runs) != work.runs:
            raise NotUnderstood(f"{len(runs)} runs are printed, {work.runs} were asked for")
        mean_seconds = seconds(found[1], _US, "the mean")
        agree(1 / seconds(found[2], 1, "the rate"), mean_seconds, "the mean")
        if mean_seconds < sum(runs) / len(runs) * (1 - 1e-3) - _US:
            raise NotUnderstood("the mean of the whole loop is below that of its runs")
        delegation = None
        if work.accelerator != "cpu":
            why = "speed_benchmark_torch prints nothing of where operators ran"
            delegation = ToolDelegation(taken="unproven", said=why)
        return of_samples(runs, 0, delegation=delegation)


def _run(line: str) -> float:
    try:
        record = json.loads(line.removeprefix(_OBSERVER))
    except json.JSONDecodeError:
        raise NotUnderstood(f"a run is no JSON: {line[-160:]!r}") from None
    if not isinstance(record, dict) or (record.get("metric"), record.get("unit")) != ("latency", "us"):
        raise NotUnderstood(f"a run is no latency in us: {line[-160:]!r}")
    return seconds(str(record.get("value")), _US, "a run")
