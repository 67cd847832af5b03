"""What every benchmark prints and writes: a table for people, ``build/bench/NAME.json`` for the record."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "bench"


def machine() -> dict[str, str | int]:
    """Cores this process may use, memory, CPU model, Python."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
    }


def git() -> str:
    """The commit measured, ``-dirty`` when files differ from it; ``unknown`` outside a repository."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def write(name: str, figures: Mapping[str, float | int | str | None]) -> Path:
    """Write one flat object of ``figures`` (units in their keys) with ``machine`` and ``git``; return its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    content = dict(figures) | {"machine": machine(), "git": git()}
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    return path


def table(rows: Sequence[Sequence[object]]) -> str:
    """Plain text columns; the first row is the heading. Floats are shown with four significant digits."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print every file of ``build/bench`` as a Markdown table."""
    for path in sorted(FOLDER.glob("*.json")):
        figures = json.loads(path.read_text())
        where, commit = figures.pop("machine"), figures.pop("git")
        print(f"### {path.stem}\n\nAt `{commit}` on {where['cores']} cores of {where['cpu']},", end=" ")
        print(f"{where['memory_bytes'] / 2**30:.0f} GiB, Python {where['python']}.\n\n| key | value |\n|---|---|")
        for key, value in figures.items():
            print(f"| {key} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |")
        print()


if __name__ == "__main__":
    main()
