"""What the harness adds to an inference: its median over the median of the runtime's own loop, per runtime.

``python -m tests.bench.harness [PROCESSES]``. Several fresh processes (``loops.py``) per runtime, the runtimes in
turns; in each the two loops alternate. The ratio is the median over the processes; ``lowest`` and ``highest`` show how
far single processes are apart, which is the noise of the machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tests.bench.loops import BLOCK_SAMPLES, BLOCKS, harness_block_seconds
from tests.bench.report import ROOT, table, write
from tests.integration.agents.harness.programs import RUNTIMES, Classifier, Model

PROCESSES = 7
FLOOR_SAMPLES = 20_000


def main(processes: int) -> None:
    seen: dict[str, list[dict[str, float]]] = {runtime: [] for runtime in RUNTIMES}
    with tempfile.TemporaryDirectory() as name:
        model = Model(Classifier().eval(), Path(name), lambda: (torch.randn(1, 3, 224, 224),))
        model.write_tensors()
        for runtime in RUNTIMES:
            model.file(runtime)
        for number in range(processes):
            for runtime in RUNTIMES:
                seen[runtime].append(process(model, runtime, "harness" if number % 2 else "own"))
    figures: dict[str, float | int] = {
        "processes": processes,
        "samples_per_process": BLOCKS * BLOCK_SAMPLES,
        "loop_floor_seconds": harness_block_seconds(lambda: None, FLOOR_SAMPLES),
    }
    rows: list[list[object]] = [["runtime", "overhead_ratio", "lowest", "highest", "harness_ms", "own_loop_ms"]]
    for runtime, results in seen.items():
        ratios = [result["ratio"] for result in results]
        harness, own = (
            statistics.median(result[side] for result in results) for side in ("harness_seconds", "own_loop_seconds")
        )
        key = runtime.replace("-", "_")
        figures |= {
            f"{key}_overhead_ratio": statistics.median(ratios),
            f"{key}_overhead_ratio_lowest": min(ratios),
            f"{key}_overhead_ratio_highest": max(ratios),
            f"{key}_harness_seconds": harness,
            f"{key}_own_loop_seconds": own,
        }
        rows.append([runtime, statistics.median(ratios), min(ratios), max(ratios), 1e3 * harness, 1e3 * own])
    print(table(rows))
    print(f"the loop itself, around nothing: {figures['loop_floor_seconds'] * 1e9:.0f} ns")
    print(write("harness", figures))


def process(model: Model, runtime: str, first: str) -> dict[str, float]:
    """The figures of one fresh process. Raises CalledProcessError with the log on standard error."""
    files = (str(model.file(runtime)), str(model.folder / "example.npz"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.loops", runtime, *files, first],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])  # some runtimes greet
    return figures


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PROCESSES)
