"""LiteRT's ``benchmark_model`` (google-ai-edge/LiteRT, tflite/tools/benchmark): summaries, in microseconds.

Lines that count, from benchmark_model.cc, benchmark_tflite_model.cc and stats_calculator.h, with or without a log's
prefix. The first ``count=`` line is the warm-up's, the last one the measured runs'; newer versions add percentiles:

    count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929 p5=77600 median=79600 p95=82900
    count=5 curr=1200(all same)
    Inference timings in us: Init: 38467, First inference: 83235, Warmup (avg): 83235, Inference (avg): 79732
    Overall peak memory footprint (MB) via periodic monitoring: 41.5
    Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
    ... will be partially executed by the delegate w/ 2 delegate kernels.
    Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.
    Replacing 62 out of 64 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions ...
    QnnDelegate delegate: 47 nodes delegated out of 47 nodes with 1 partitions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agents.native_tools.tool import NotUnderstood, Printed, Work, agree, lines, seconds
from farm.types import Accelerator, ToolDelegation

_US = 1e-6
_MB = 2**20
_NUMBER = r"[0-9.]+(?:e[+-]?[0-9]+)?"
_COUNTS = re.compile(
    rf"(?:.*[\s:])?count=(?P<count>\d+)(?: first={_NUMBER})? curr=(?P<curr>{_NUMBER})"
    rf"(?:(?P<same>\(all same\))?"
    rf"|(?: min=(?P<min>{_NUMBER}) max=(?P<max>{_NUMBER}) avg=(?P<avg>{_NUMBER}) std=(?P<std>{_NUMBER})))"
    rf"(?: p5=(?P<p5>{_NUMBER}) median=(?P<p50>{_NUMBER}) p95=(?P<p95>{_NUMBER}))?\s*"
)
_TIMINGS = re.compile(
    rf"(?:.*[\s:])?Inference timings in us: Init: (?P<init>{_NUMBER}), First inference: (?P<first>{_NUMBER}), "
    rf"Warmup \(avg\): (?P<warmup>{_NUMBER}), Inference \(avg\): (?P<avg>{_NUMBER})\s*"
)
_OLD_TIMINGS = re.compile(
    rf"(?:.*[\s:])?Average inference timings in us: Warmup: (?P<warmup>{_NUMBER}), Init: (?P<init>{_NUMBER}), "
    rf"(?:no stats: (?P<first>{_NUMBER}), )?Inference: (?P<avg>{_NUMBER})\s*"
)
_PEAK = re.compile(rf"(?:.*[\s:])?Overall peak memory footprint \(MB\) via periodic monitoring: ({_NUMBER})\s*")
_APPLIED = re.compile(
    r"Explicitly applied (?P<name>\S+) delegate, and the model graph will be "
    r"(?:(?P<whole>completely) executed by the delegate|partially executed by the delegate w/ \d+ delegate)"
)
_NOT_APPLIED = re.compile(
    r"Though (\S+) delegate is explicitly applied, the model graph will not be executed by the delegate"
)
_REPLACED = re.compile(
    r"Replacing (?P<taken>\d+) out of (?P<nodes>\d+) node\(s\) with delegate \((?P<name>[^)]*)\) node, "
    r"yielding (?P<partitions>\d+) partitions"
)
_DELEGATED = re.compile(
    r"(?P<name>\S+?)(?: delegate)?: (?P<taken>\d+) nodes delegated out of (?P<nodes>\d+) nodes"
    r"(?: with (?P<partitions>\d+) partitions)?"
)
_CPU_DELEGATE = "xnnpack"  # it is applied to the CPU's part by itself


@dataclass(frozen=True)
class Counts:
    """One ``count=`` line, in seconds."""

    count: int
    mean_seconds: float
    min_seconds: float
    max_seconds: float
    std_seconds: float
    quantiles_seconds: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Timings:
    load_seconds: float
    first_inference_seconds: float | None
    mean_seconds: float


class BenchmarkModel:
    name = "benchmark_model"
    runtime = "litert"
    suffixes = (".tflite",)
    sets_threads = True
    results = ""
    outputs = False

    def delegate(self, accelerator: Accelerator) -> tuple[str, ...] | None:
        return {"cpu": (), "gpu": ("--use_gpu=true",)}.get(accelerator)

    def refuses(self, work: Work) -> str:
        if work.batch > 1:
            return "it runs a program of dynamic batch with one sample, and cannot be told another number"
        return ""

    def probe(self, binary: str, work: Work) -> list[str]:
        return []

    def command(self, binary: str, work: Work) -> list[str]:
        return [
            binary,
            f"--graph={work.model}",
            f"--num_threads={work.threads}",
            f"--num_runs={work.runs}",
            f"--min_secs={work.protocol.min_seconds:g}",
            f"--max_secs={work.protocol.max_seconds:g}",
            f"--warmup_runs={work.warmup_runs}",
            f"--warmup_min_secs={work.protocol.min_warmup_seconds:g}",
            *work.delegate,
        ]

    def read(self, output: str, results: str, probed: str, work: Work) -> Printed:
        said = lines(output)
        counted = [counts(line) for line in said if "count=" in line]
        timed = [timings(line) for line in said if "inference timings in us" in line.lower()]
        if len(counted) != 2 or len(timed) != 1:
            raise NotUnderstood(
                f"it holds {len(counted)} lines of counts and {len(timed)} of timings; 2 (of the warm-up and of the "
                "measured runs) and 1 make a benchmark"
            )
        measured, whole = counted[1], timed[0]
        agree(measured.mean_seconds, whole.mean_seconds, "the average")
        peaks = [match[1] for line in said if (match := _PEAK.fullmatch(line))]
        return Printed(
            count=measured.count,
            mean_seconds=measured.mean_seconds,
            min_seconds=measured.min_seconds,
            max_seconds=measured.max_seconds,
            std_seconds=measured.std_seconds,
            quantiles_seconds=measured.quantiles_seconds,
            load_seconds=whole.load_seconds,
            first_inference_seconds=whole.first_inference_seconds,
            memory_peak_bytes=round(seconds(peaks[-1], 1, "the peak of memory") * _MB) if peaks else None,
            delegation=None if work.accelerator == "cpu" else delegation(said),
        )


def counts(line: str) -> Counts:
    """Raises NotUnderstood."""
    found = _COUNTS.fullmatch(line)
    if found is None:
        raise NotUnderstood(f"a line of counts is not whole: {line[-160:]!r}")
    count, all_same = int(found["count"]), found["avg"] is None
    if count < 1 or (all_same and count > 1 and not found["same"]):
        raise NotUnderstood(f"a line of counts is not whole: {line[-160:]!r}")
    low, high, mean = (
        seconds(found[name] if not all_same else found["curr"], _US, name) for name in ("min", "max", "avg")
    )
    if not low * (1 - 1e-3) <= mean <= high * (1 + 1e-3):  # printed with six digits
        raise NotUnderstood(f"the average {mean:g} s is not between the least {low:g} s and the most {high:g} s")
    quantiles = tuple((name, seconds(found[name], _US, name)) for name in ("p5", "p50", "p95") if found[name])
    values = [value for _, value in quantiles]
    if values != sorted(values) or any(not low <= value <= high for value in values):
        raise NotUnderstood(f"the percentiles are out of order: {line[-160:]!r}")
    std = 0.0 if all_same or float(found["std"]) == 0 else seconds(found["std"], _US, "std")
    return Counts(count, mean, low, high, std, quantiles)


def timings(line: str) -> Timings:
    """Raises NotUnderstood."""
    found = _TIMINGS.fullmatch(line) or _OLD_TIMINGS.fullmatch(line)
    if found is None:
        raise NotUnderstood(f"the line of timings is not whole: {line[-160:]!r}")
    seconds(found["warmup"], _US, "the warm-up")
    first = found["first"]
    return Timings(
        load_seconds=seconds(found["init"], _US, "the initialization"),
        first_inference_seconds=None if first is None else seconds(first, _US, "the first inference"),
        mean_seconds=seconds(found["avg"], _US, "the average"),
    )


def delegation(said: list[str]) -> ToolDelegation:
    """What took the graph. Of several statements the least favourable one speaks."""
    found: list[ToolDelegation] = []
    for line in said:
        if (applied := _APPLIED.search(line)) and applied["name"].lower() != _CPU_DELEGATE:
            whole = applied["whole"] is not None
            found.append(ToolDelegation(taken="whole" if whole else "partly", said=_short(applied)))
        elif refused := _NOT_APPLIED.search(line):
            found.append(ToolDelegation(taken="refused", said=_short(refused)))
        elif (told := _REPLACED.search(line) or _DELEGATED.search(line)) and _CPU_DELEGATE not in told["name"].lower():
            taken, nodes = int(told["taken"]), int(told["nodes"])
            if taken > nodes:
                raise NotUnderstood(f"more nodes were delegated than there are: {line[-160:]!r}")
            found.append(
                ToolDelegation(
                    taken="refused" if taken == 0 else "whole" if taken == nodes else "partly",
                    said=_short(told),
                    nodes=nodes,
                    delegated_nodes=taken,
                    partitions=int(told["partitions"]) if told["partitions"] else None,
                )
            )
    if not found:
        return ToolDelegation(taken="unproven", said="benchmark_model printed nothing of a delegate")
    worst = min(found, key=lambda each: ("refused", "partly", "whole").index(each.taken))
    counted = next((each for each in found if each.nodes is not None), worst)
    return worst.model_copy(
        update={name: getattr(counted, name) for name in ("nodes", "delegated_nodes", "partitions")}
    )


def _short(found: re.Match[str]) -> str:
    return found[0][:200]
