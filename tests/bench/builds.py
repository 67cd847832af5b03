"""What a build costs through the farm: over the converter alone, a second time, and two at a time.

``python -m tests.bench.builds [--recipes a,b] [--repeats 3] [--model effl0|small]``. A build is ``run_build`` as a Ray
task calls it: checks, staging, a confined process, its log, the store. Its counterpart is the converter in a plain
process of its own, interpreter and imports included on both sides; the two take turns, which goes first too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farm.config import Settings
from farm.packaging import package
from farm.recipes import presets
from farm.recipes.presets import infos
from farm.types import BuildState, ModelSpec, RunSpec
from tests.bench.converters import CONVERTERS
from tests.bench.report import ROOT, table, write
from tests.integration.recipes.workshop import SHAPE, Workshop, small_net
from tests.integration.server.conftest import serve
from tests.values import artifact, device

ALLOWED_RATIO, ALLOWED_SECONDS = 1.05, 1.0
AT_A_TIME = 2


def main(recipes: Sequence[str], repeats: int, model: str) -> None:
    usable = {info.recipe.name for info in infos() if info.usable}
    if missing := [name for name in recipes if name not in usable]:
        print(f"left out, since their tools are not installed: {', '.join(missing)}")
    recipes = [name for name in recipes if name in usable]
    module, shape = _model(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workshop = Workshop(folder / "store")
        with package(module, (np.zeros(shape, np.float32),), name=model) as packed:
            spec = workshop.put(packed)
        program = workshop.store.local_path(spec.program.sha256)
        inputs = workshop.store.local_path(spec.example_inputs.sha256)
        assert program and inputs
        figures: dict[str, float | int | str | None] = {"model": model, "repeats": repeats}
        rows: list[list[object]] = [["recipe", "farm_s", "direct_s", "ratio", "over the aim"]]
        for recipe in recipes:
            out = str(folder / f"direct.{CONVERTERS[recipe][1]}")
            command = [sys.executable, "-m", "tests.bench.converters", recipe, str(program), str(inputs), out]
            farm, direct = _in_turns(lambda r=recipe: workshop.build(spec, r), lambda c=command: _run(c), repeats)
            key, over = recipe.replace("-", "_"), farm - (ALLOWED_RATIO * direct + ALLOWED_SECONDS)
            figures |= {f"{key}_farm_seconds": farm, f"{key}_direct_seconds": direct, f"{key}_ratio": farm / direct}
            rows.append([recipe, farm, direct, farm / direct, max(0.0, over)])
        if len(recipes) > 1:
            figures["parallel_speedup"] = _speedup(workshop, spec, recipes)
        figures["cache_hit_seconds"] = _cache_hit_seconds(folder / "farm", recipes, repeats)
    print(table(rows))
    print(f"{AT_A_TIME} at a time: {figures.get('parallel_speedup', float('nan')):.2f} times as fast as one by one")
    print(f"a second submission: {figures['cache_hit_seconds']:.4f} s, and nothing is built")
    print(write("builds", figures))


def _model(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    if name == "small":
        return small_net(), SHAPE
    from examples.efficientnet_lite0 import load_model

    return load_model(), (1, 3, 224, 224)


def _in_turns(farm: Callable[[], Any], direct: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Medians. A first turn of both does not count: it brings files into the page cache."""
    seen: dict[str, list[float]] = {"farm": [], "direct": []}
    for turn in range(repeats + 1):
        sides = [("farm", farm), ("direct", direct)]
        for side, build in sides if turn % 2 else reversed(sides):
            seconds = _timed(build)
            if turn:
                seen[side].append(seconds)
    return statistics.median(seen["farm"]), statistics.median(seen["direct"])


def _speedup(workshop: Workshop, spec: ModelSpec, recipes: Sequence[str]) -> float:
    """One by one over two at a time, the longest first, as the farm would have them wait."""
    serial = _timed(lambda: [workshop.build(spec, recipe) for recipe in recipes])
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        parallel = _timed(lambda: list(pool.map(lambda recipe: workshop.build(spec, recipe), recipes)))
    return serial / parallel


def _cache_hit_seconds(folder: Path, recipes: Sequence[str], repeats: int) -> float:
    """From a submission to the answer that all its builds are built, at a head over HTTP; nothing may be queued."""
    with serve(Settings(state_dir=folder)) as live:
        live.add_device(device(runtimes=tuple({presets.preset(name).runtime for name in recipes})))
        live.add_model()
        spec = RunSpec(model="net", recipes=tuple(map(presets.preset, recipes)), devices="each").model_dump_json()
        with live.client() as http:
            http.post("/runs", content=spec).raise_for_status()
            with live.store.transaction() as t:
                for build in http.get("/builds").raise_for_status().json():
                    t.set_build(build["key"], BuildState.BUILT, artifact(build["key"]))

            def submit() -> None:
                run = http.post("/runs", content=spec).raise_for_status().json()
                builds = http.get("/builds", params={"run": run["id"]}).raise_for_status().json()
                assert {build["state"] for build in builds} == {"built"}

            return statistics.median(_timed(submit) for _ in range(max(repeats, 5)))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()


def _timed(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default=",".join(CONVERTERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", choices=("effl0", "small"), default="effl0")
    given = parser.parse_args()
    main(given.recipes.split(","), given.repeats, given.model)
