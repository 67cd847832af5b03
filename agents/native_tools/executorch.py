"""ExecuTorch's ``executor_runner`` (pytorch/executorch, examples/portable/executor_runner): milliseconds.

Lines that count, each after a log prefix as ``I 00:00:00.012345 executorch:executor_runner.cpp:325] ``:

    Model loaded in 12.345678 ms.                             (newer versions)
    Iteration 1 of 103: 8.123456 ms                           (newer versions; a line a run)
    Model executed successfully 103 time(s) in 812.345678 ms.

A version that prints the total only gives one mean, which the first inference and the warm-up are part of.
The delegate is part of the program: it is not applied at run time, and nothing falls back to the CPU there.
"""

from __future__ import annotations

import re

from agents.native_tools.tool import NotUnderstood, Printed, Tensor, Work, agree, lines, of_samples, seconds
from farm.types import Accelerator, ToolDelegation

_MS = 1e-3
_NUMBER = r"([0-9]+\.[0-9]+)"
_PREFIX = r"(?:.*\] )?"
_ITERATION = re.compile(rf"{_PREFIX}Iteration (\d+) of (\d+): {_NUMBER} ms\s*")
_LOADED = re.compile(rf"{_PREFIX}Model loaded in {_NUMBER} ms\.\s*")
_TOTAL = re.compile(rf"{_PREFIX}Model executed successfully (\d+) time\(s\) in {_NUMBER} ms\.\s*")


class ExecutorRunner:
    name = "executor_runner"
    runtime = "executorch"
    suffixes = (".pte",)
    sets_threads = True
    results = ""
    outputs = True

    def delegate(self, accelerator: Accelerator) -> tuple[str, ...] | None:
        return ()

    def refuses(self, work: Work) -> str:
        return ""  # inputs of another size than the program's it refuses itself

    def probe(self, binary: str, work: Work) -> list[str]:
        return []

    def command(self, binary: str, work: Work) -> list[str]:
        return self.once(binary, work, work.inputs, work.warmup_runs + work.runs)

    def once(self, binary: str, work: Work, inputs: tuple[Tensor, ...], executions: int, output: str = "") -> list[str]:
        """``output``: path to which ``-N.bin`` is added for each output. ``executions`` of the same inputs."""
        given = [f"--inputs={','.join(each.path for each in inputs)}"] if inputs else []
        written = [f"--output_file={output}"] if output else []
        return [
            binary,
            f"--model_path={work.model}",
            f"--num_executions={executions}",
            f"--cpu_threads={work.threads}",
            *given,
            *written,
            *work.delegate,
        ]

    def read(self, output: str, results: str, probed: str, work: Work) -> Printed:
        said, asked = lines(output), work.warmup_runs + work.runs
        totals = [line for line in said if "Model executed successfully" in line]
        found = _TOTAL.fullmatch(totals[0]) if len(totals) == 1 else None
        if found is None:
            raise NotUnderstood(
                "there is no whole line 'Model executed successfully N time(s) in X ms.'"
                if not totals
                else f"the line of the total is not whole: {totals[-1][-160:]!r}"
            )
        count, total_seconds = int(found[1]), seconds(found[2], _MS, "the total")
        if count != asked:
            raise NotUnderstood(f"it ran {count} times, {asked} were asked for")
        runs = [_iteration(line, index, asked) for index, line in enumerate(_about(said, "Iteration "), start=1)]
        loads = [match for line in said if (match := _LOADED.fullmatch(line))]
        load_seconds = seconds(loads[0][1], _MS, "loading") if len(loads) == 1 else None
        delegation = None
        if work.accelerator != "cpu":
            why = "executor_runner prints nothing of a delegate; what the build delegated can run nowhere else"
            delegation = ToolDelegation(taken="unproven", said=why)
        if not runs:
            return Printed(
                count=count,
                mean_seconds=total_seconds / count,
                load_seconds=load_seconds,
                delegation=delegation,
                warmup_included=True,
            )
        if len(runs) != asked:
            raise NotUnderstood(f"{len(runs)} of {asked} runs are printed")
        agree(sum(runs), total_seconds, "the total")
        return of_samples(
            runs,
            work.warmup_runs,
            load_seconds=load_seconds,
            first_inference_seconds=runs[0],
            delegation=delegation,
        )


def _about(said: list[str], word: str) -> list[str]:
    return [line for line in said if line.startswith(word) or f"] {word}" in line]


def _iteration(line: str, index: int, asked: int) -> float:
    found = _ITERATION.fullmatch(line)
    if found is None or (int(found[1]), int(found[2])) != (index, asked):
        raise NotUnderstood(f"run {index} of {asked} is {line[-160:]!r}")
    return seconds(found[3], _MS, f"run {index}")
