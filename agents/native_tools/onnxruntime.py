"""``onnxruntime_perf_test`` (microsoft/onnxruntime, onnxruntime/test/perftest): every run in a file, in seconds.

Printed lines that count:

    Session creation time cost: 0.217932 s
    First inference time cost: 196 ms
    Total inference time cost: 0.49481 s
    Total inference requests: 5
    Average inference time cost total: 98.961997 ms     (older versions without "total")
    Peak working set size: 271122432 bytes

The result file has a line a run, ``MODEL,SECONDS,PEAK BYTES,CPU PERCENT,INDEX``, then an empty one and percentiles.
Where nodes went is logged at the level of ``-v``, which would slow the measured runs: a run before tells.
"""

from __future__ import annotations

import re

from agents.native_tools.tool import NotUnderstood, Printed, Work, agree, lines, of_samples, seconds
from farm.types import Accelerator, ToolDelegation

_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_LINES = {
    "creation": re.compile(rf"Session creation time cost: {_NUMBER} s\s*"),
    "first": re.compile(r"First inference time cost: (\d+) ms\s*"),
    "total": re.compile(rf"Total inference time cost: {_NUMBER} s\s*"),
    "requests": re.compile(r"Total inference requests: (\d+)\s*"),
    "average": re.compile(rf"Average inference time cost(?: total)?: {_NUMBER} ms\s*"),
    "peak": re.compile(r"Peak working set size: (\d+) bytes\s*"),
}
_RUN = re.compile(rf"[^,]*,{_NUMBER},(\d+),(-?\d+),(\d+)")
_PLACED = re.compile(r"(?:All nodes|Node\(s\)) placed on \[(\w+)\]\. Number of nodes: (\d+)")
_CPU = "CPUExecutionProvider"


class PerfTest:
    name = "onnxruntime_perf_test"
    runtime = "onnxruntime"
    suffixes = (".onnx", ".ort")
    sets_threads = True
    results = "results.csv"
    outputs = False

    def delegate(self, accelerator: Accelerator) -> tuple[str, ...] | None:
        return {"cpu": ("-e", "cpu"), "npu": ("-e", "nnapi")}.get(accelerator)

    def refuses(self, work: Work) -> str:
        return ""  # it is given inputs of the batch's size

    def probe(self, binary: str, work: Work) -> list[str]:
        if work.accelerator == "cpu":
            return []
        return [binary, *work.delegate, "-v", "-m", "times", "-r", "1", "-x", str(work.threads), work.model]

    def command(self, binary: str, work: Work) -> list[str]:
        return [
            binary,
            *work.delegate,
            *("-m", "times", "-r", str(work.warmup_runs + work.runs)),
            *("-x", str(work.threads), "-y", "1"),
            work.model,
            f"{work.folder}/{self.results}",
        ]

    def read(self, output: str, results: str, probed: str, work: Work) -> Printed:
        said = lines(output)
        found = {name: _only(name, pattern, said) for name, pattern in _LINES.items()}
        runs, asked = _runs(results), work.warmup_runs + work.runs
        if len(runs) != asked or int(found["requests"]) != asked:
            raise NotUnderstood(f"{len(runs)} runs are in its file and {found['requests']} printed; {asked} were asked")
        total_seconds = seconds(found["total"], 1, "the total")
        agree(sum(runs), total_seconds, "the total")
        agree(seconds(found["average"], 1e-3, "the average"), total_seconds / asked, "the average")
        first = int(found["first"])  # whole milliseconds
        return of_samples(
            runs,
            work.warmup_runs,
            load_seconds=seconds(found["creation"], 1, "the session's creation"),
            first_inference_seconds=first * 1e-3 if first > 0 else None,
            memory_peak_bytes=int(found["peak"]) or None,
            delegation=None if work.accelerator == "cpu" else placement(probed),
        )


def placement(probed: str) -> ToolDelegation:
    """Where the nodes went, from verbose output."""
    nodes = {name: int(count) for name, count in _PLACED.findall(probed)}
    if not nodes:
        return ToolDelegation(taken="unproven", said="onnxruntime_perf_test -v printed no placement of nodes")
    left, whole = nodes.get(_CPU, 0), sum(nodes.values())
    said = ", ".join(f"{count} nodes on {name}" for name, count in sorted(nodes.items()))
    taken = "refused" if left == whole else "partly" if left else "whole"
    return ToolDelegation(taken=taken, said=said, nodes=whole, delegated_nodes=whole - left)


def _only(name: str, pattern: re.Pattern[str], said: list[str]) -> str:
    """The version in use prints the session's creation twice, alike."""
    found = {match[1] for line in said if (match := pattern.fullmatch(line))}
    if len(found) != 1:
        raise NotUnderstood(f"it gives {len(found)} values of {name}; one is expected")
    return found.pop()


def _runs(results: str) -> list[float]:
    if not results.endswith("\n"):
        raise NotUnderstood("its result file ends in the middle of a line, or is empty")
    table = results.partition("\n\n")[0].splitlines()
    runs = []
    for index, line in enumerate(table):
        found = _RUN.fullmatch(line)
        if found is None or int(found[4]) != index:
            raise NotUnderstood(f"run {index} in its result file is {line[-160:]!r}")
        runs.append(seconds(found[1], 1, f"run {index}"))
    return runs
