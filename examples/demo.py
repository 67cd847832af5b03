"""The main job of a farm, end to end: one pretrained model, eight variants, this machine's CPU and a virtual phone,
compared.

``make demo`` runs it. It starts a farm of its own in ``.demo`` (kept, so that the next time nothing is built
again), measures, prints the comparison, writes ``report/index.html`` and ends the farm. The phone is no phone, and its
rows say so; what happens on it is what happens on a real one behind adb. Linux only; elsewhere the demo does without.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import farm
from examples import phone
from examples.efficientnet_lite0 import NAME, load_model, photographs

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


ON_PHONE = ["onnxruntime", "onnxruntime-int8", "litert"]  # what the phone has engines for
PROTOCOL = farm.Protocol(max_seconds=2.0, growth_seconds=1.0)
THREADS = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]


def main() -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        settings = {"FARM_AGENT_ANDROID": "false"}
        if sys.platform.startswith("linux") and phone.runtime():
            settings = stack.enter_context(phone.plugged_in(STATE / "phone"))
        else:
            print("The demo goes on without a phone.", file=sys.stderr)
        client = stack.enter_context(farm.embedded_farm(STATE, settings))
        images = photographs(33)
        model = client.add_model(
            load_model(),
            example_inputs=(images[0],),
            parity_inputs=[(image,) for image in images[1:17]],
            calibration_inputs=[(image,) for image in images[17:]],
            name=NAME,
        )
        runs = [submit(client, model, RECIPES, "platform=linux").wait(progress=True)]
        if "FARM_AGENT_ADB_SERVERS" in settings:
            phone.await_ready(client)
            # Afterwards: the phone runs on this machine's CPU, which would disturb its host.
            runs.append(submit(client, model, ON_PHONE, "platform=android").wait(progress=True))
        comparison = client.compare(*(run.id for run in runs), include_virtual=True)
        print(comparison)
        REPORT.parent.mkdir(exist_ok=True)
        comparison.report(REPORT)
    print(f"\nThe report is {REPORT}. The run took {time.monotonic() - began:.0f} s.")


def submit(client: farm.Client, model: farm.Model, recipes: list[str], devices: str) -> farm.RunHandle:
    scenarios = [farm.Scenario("single-stream", threads=n) for n in THREADS]
    return client.submit(
        model.id, recipes=recipes, devices=devices, scenarios=scenarios, protocol=PROTOCOL, name=f"demo, {devices}"
    )


if __name__ == "__main__":
    main()
