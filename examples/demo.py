"""The main job of a farm, end to end: one pretrained model, eight variants, this machine's CPU, compared.

``make demo`` runs it. It starts a farm of its own in ``.demo`` (kept, so that the next time nothing is built
again), measures, prints the comparison, writes ``report/index.html`` and ends the farm.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import farm
from examples.efficientnet_lite0 import load_model, photographs

STATE = Path(".demo")
REPORT = Path("report/index.html")
RECIPES = [
    "pytorch",
    "torchscript",
    "pytorch-mobile",
    "executorch-xnnpack",
    "executorch-xnnpack-int8",
    "onnxruntime",
    "onnxruntime-int8",
    "litert",
]


def main() -> None:
    began = time.monotonic()
    with farm.embedded_farm(STATE) as client:
        images = photographs(33)
        run = client.submit(
            load_model(),
            example_inputs=(images[0],),
            parity_inputs=[(image,) for image in images[1:17]],
            calibration_inputs=[(image,) for image in images[17:]],
            recipes=RECIPES,
            devices="platform=linux",
            scenarios=[farm.Scenario("single-stream", threads=n) for n in (1, 2) if n <= (os.cpu_count() or 1)],
            protocol=farm.Protocol(max_seconds=2.0, growth_seconds=1.0),
            name="demo",
        )
        run.wait(progress=True)
        comparison = run.compare()
        print(comparison)
        REPORT.parent.mkdir(exist_ok=True)
        run.report(REPORT)
    print(f"\nThe report is {REPORT}. The run took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
