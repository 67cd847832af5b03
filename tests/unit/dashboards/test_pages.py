"""The committed JSON, without a Grafana."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="needs the dev extra")

from dashboards.__main__ import FOLDER
from dashboards.pages import PAGES
from dashboards.parts import Panel, Query, _places, to_json
from farm.metrics import catalogue

CHECKER = Path(__file__).parents[4] / "shared" / "grafana" / "check_dashboard.py"
FILES = sorted(FOLDER.glob("*.json"))


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return found


def test_what_is_committed_is_current() -> None:
    assert {path.stem for path in FILES} == PAGES.keys()
    for name, page in PAGES.items():
        assert (FOLDER / f"{name}.json").read_text() == to_json(page), "python -m dashboards"


def test_uids_and_titles_are_told_apart() -> None:
    assert len({page.uid for page in PAGES.values()}) == len({page.title for page in PAGES.values()}) == 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_say_what_they_are_and_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_queries_ask_for_metrics_of_the_catalogue_that_something_has(path: Path) -> None:
    there = {metric.name for metric in catalogue.METRICS if not metric.awaits}
    there |= {f"{metric.name}_bucket" for metric in catalogue.METRICS if metric.kind == "histogram"}
    used = {name for panel in panels(path) for target in panel["targets"] for name in _metrics(target["expr"])}
    assert used
    assert used <= there


def _metrics(promql: str) -> set[str]:
    return set(re.findall(r"\bfarm_\w+", promql))


def test_what_nothing_has_yet_is_left_out() -> None:
    awaited = next(metric.name for metric in catalogue.METRICS if metric.awaits)
    known = Query(catalogue.TRUSTED.name)
    alone = Panel("stat", "a", "b.", "short", [Query(f"max({awaited})")], 6)
    mixed = Panel("stat", "a", "b.", "short", [Query(f"max({awaited})"), known], 6)
    assert [(panel, place.x, place.w) for panel, place in _places([alone, mixed])] == [(mixed, 0, 24)]
    assert mixed.there == [known]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafanas_own_schemas_hold(path: Path) -> None:
    if not CHECKER.exists():
        pytest.skip("the checker is not beside this checkout")
    pytest.importorskip("promql_parser")
    done = subprocess.run(
        [sys.executable, str(CHECKER), str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
