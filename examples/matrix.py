"""Every recipe that is usable here, on four models of different kinds: ``make matrix``, or
``python -m examples.matrix [efficientnet-lite0|minilm|shape-detector|silero-vad ...]``.

Each model's table has a row per recipe: a result, or the reason why there is none. Reports go to ``report/``. The
farm's state is kept in ``.demo``: the second time nothing is built.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import farm
from examples import detector, efficientnet_lite0, minilm, silero

STATE = Path(".demo")
REPORTS = Path("report")
PROTOCOL = farm.Protocol(max_seconds=1.5, timeout_seconds=120)


@dataclass(frozen=True)
class Subject:
    """``samples``: of inputs, as tuples."""

    load: Callable[[], Any]
    samples: Callable[[], list[tuple[Any, ...]]]


SUBJECTS = {
    efficientnet_lite0.NAME: Subject(
        efficientnet_lite0.load_model, lambda: [(image,) for image in efficientnet_lite0.photographs(24)]
    ),
    minilm.NAME: Subject(minilm.load_model, lambda: list(minilm.tokens())),
    detector.NAME: Subject(detector.load_model, lambda: [(picture,) for picture in detector.pictures(24)]),
    silero.NAME: Subject(silero.load_model, lambda: list(silero.frames(24))),
}


def main(names: list[str]) -> None:
    with farm.embedded_farm(STATE) as client:
        for name in names or SUBJECTS:
            measure(client, name)


def measure(client: farm.Client, name: str) -> None:
    began = time.monotonic()
    subject = SUBJECTS[name]
    samples = subject.samples()
    half = len(samples) // 2
    run = client.submit(
        subject.load(),
        example_inputs=samples[0],
        parity_inputs=samples[:half],
        calibration_inputs=samples[half:],
        recipes="all",
        devices="platform=linux",
        protocol=PROTOCOL,
        name=f"matrix of {name}",
        model_name=name,
    )
    run.wait(progress=True)
    print(run.compare())
    REPORTS.mkdir(exist_ok=True)
    report = run.report(REPORTS / f"matrix-{name}.html")
    print(f"\n{name}: {time.monotonic() - began:.0f} s; the report is {report}.")


if __name__ == "__main__":
    main(sys.argv[1:])
