"""The sections over devices, and objects of a comparison in a notebook and at a terminal."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO

import pytest
from rich.console import Console

from farm.analysis.comparison import Comparison
from farm.errors import ConflictError, UserError
from farm.report.fragments import of_run
from farm.report.html import render
from farm.tuning.goal import Goal
from farm.tuning.outcome import Candidate, Tuning
from tests.unit.analysis.lab import outcome
from tests.unit.analysis.outcomes import failed, recipe, run
from tests.unit.report.fleet import comparison
from tests.unit.report.test_html import HOSTILE, Page, words


@pytest.fixture(scope="module")
def fleet() -> Comparison:
    return comparison(4)


def tuning() -> Tuning:
    found = [
        Candidate(recipe("litert"), 1, {"latency_p50": 0.01, "artifact_size": 5e6}, (1,), False, True),
        Candidate(recipe("ncnn"), 2, {"latency_p50": 0.02, "artifact_size": 9e6}, (2,), True, True, HOSTILE),
        Candidate(recipe("mnn"), 1, {}, (3,), False, False, "did not build"),
    ]
    return Tuning(Goal.parse(("latency_p50", "artifact_size"), {}), found, 12.0)


SHOWN = {
    "row": lambda fleet: fleet.best(device="pixel-8a"),
    "recommendation": lambda fleet: fleet.recommendations()[0],
    "across": lambda fleet: fleet.across(),
    "pareto": lambda fleet: fleet.pareto("latency_p50", "artifact_size", "drop"),
    "shipping": lambda fleet: fleet.ship(constraints={"drop": "<=0.02"}),
    "shipping that finds nothing": lambda fleet: fleet.ship(constraints={"energy": "<=1mJ"}),
    "tuning": lambda _: tuning(),
}


@pytest.fixture(params=SHOWN)
def shown(request, fleet):
    return SHOWN[request.param](fleet)


def test_it_is_a_table_in_a_notebook_without_scripts_or_network(shown):
    html = shown._repr_html_()
    page = Page(html)
    assert page.open == []
    assert not [tag for tag, attributes in page.tags if tag == "script" or {"src", "href"} & attributes.keys()]
    assert not re.search(r"url\(|@import|https?://", html)


def test_it_is_a_data_frame(shown):
    pytest.importorskip("pandas")
    assert len(shown.to_pandas()) > 0


def test_it_is_a_plot_of_plain_colours(shown, request):
    if "nothing" in request.node.name:
        with pytest.raises(ConflictError, match="nothing to draw"):
            shown.plot()
        return
    figure = shown.plot()
    assert len(figure.data) > 0
    assert '"$' not in figure.to_json()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_at_a_terminal_nothing_is_cut_off(fleet, width):
    for name in ("across", "pareto", "shipping", "tuning"):
        console = Console(width=width, record=True, file=StringIO())
        console.print(SHOWN[name](fleet))
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text


def test_markdown_is_a_table_whatever_is_in_the_names():
    rows = [outcome(name, "a", 0.02, id=id, soc="a|b`<c>") for id, name in enumerate(("pytorch", "litert"))]
    text = Comparison(rows).ship(by="soc").to_markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


def test_without_pandas_or_plotly_it_says_what_to_install(fleet, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    for ask, name in ((fleet.to_pandas, "pandas"), (fleet.plot, "plotly"), (fleet.across().plot, "plotly")):
        with pytest.raises(UserError, match=f"{name} is not installed") as caught:
            ask()
        assert "pip install" in caught.value.remedy


def test_a_comparison_draws_any_metric(fleet):
    assert len(fleet.plot("artifact_size").data) == len([row for row in fleet.rows if row.outcome.result])
    with pytest.raises(ConflictError):
        fleet.plot("energy")


def test_what_comes_from_elsewhere_stays_text():
    evil = run(name=HOSTILE, model_name=HOSTILE)
    for html in (of_run(evil), tuning()._repr_html_()):
        assert not [tag for tag, _ in Page(html).tags if tag in ("script", "img")]


def test_the_report_of_several_devices_has_means_and_a_front(fleet):
    html = render(fleet, {})
    text = words(html)
    assert "Over all devices single-stream/1t" in text
    assert "Times faster than pytorch: p50 latency over 3 devices" in text or "over 4 devices" in text
    assert "Pareto front on" in text
    assert "Student's t of the logarithms" in text
    assert Page(html).open == []


def test_the_report_of_one_device_has_its_front_and_no_means():
    rows = [outcome("pytorch", "a", 0.02, id=1), outcome("litert", "a", 0.01, id=2)]
    text = words(render(Comparison(rows), {}))
    assert "Over all devices" not in text
    assert "Pareto front on a" in text


def test_nothing_over_devices_is_said_of_different_models():
    rows = [outcome("pytorch", on, 0.02, id=number, run_id=number) for number, on in ((1, "a"), (2, "b"))]
    both = Comparison(rows, runs=[run(1, "one"), run(2, "two")])
    assert both.to_dict()["across_devices"] == []
    assert "Over all devices" not in words(render(both, {}))


def test_a_comparison_of_nothing_and_of_failures_can_be_shown():
    assert "No jobs" in Comparison([])._repr_html_()
    lost = Comparison([failed("litert"), failed("ncnn", id=2)])
    assert words(render(lost, {}))
    assert str(lost.across())
    assert str(lost.ship())


def test_json_has_no_numbers_that_json_has_not(fleet):
    for ask in (fleet.across(), fleet.pareto("latency_p50", "drop"), fleet.ship(constraints={"energy": "<=1"})):
        json.dumps(ask.to_dict(), allow_nan=False)
