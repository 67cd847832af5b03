"""``farm runs diff`` and ``farm gate`` against a live head."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import farm
from farm.cli.app import main
from farm.store.transaction import JobChange
from farm.types import JobState, Run
from tests.integration.client.head import Head
from tests.unit.analysis.outcomes import series

LIMIT = ("--max-regression", "latency_p50=3%")
RunFarm = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_farm(head: Head, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunFarm:
    """Run a command line; returns exit code, stdout, stderr."""
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def label() -> str:
    """The head is shared by all tests."""
    return f"main-{uuid.uuid4().hex[:8]}"


def measured(head: Head, name: str, seed: int, slower: float = 1.0, lost: bool = False) -> Run:
    run = head.submit("pytorch", "onnxruntime", name=name)
    first, second = head.jobs(run)
    head.measure(first, list(series(0.020, 400, seed)))
    if lost:
        with head.store.transaction() as transaction:
            transaction.set_jobs([JobChange(second.id, JobState.FAILED, reason="The phone went away.")])
    else:
        head.measure(second, list(series(0.010 * slower, 400, seed + 1)))
    head.end(run)
    return run


def test_what_changed_between_two_runs(head: Head, run_farm: RunFarm) -> None:
    before, now = measured(head, "main", 1), measured(head, "pr-1", 3, slower=1.08)
    code, out, _ = run_farm("runs", "diff", before.id, now.id)
    assert code == 0
    assert f"run {now.id} (pr-1) against run {before.id} (main)" in out
    assert " worse " in out
    found = json.loads(run_farm("runs", "diff", before.id, now.id, "--metric", "latency_p50", "--json")[1])
    told = {(row["variant"], row["metric"]): row["verdict"] for row in found["changes"]}
    assert told == {("pytorch", "latency_p50"): "same", ("onnxruntime", "latency_p50"): "worse"}
    (slow,) = (row for row in found["changes"] if row["verdict"] == "worse")
    assert slow["change_low"] < 1.08 < slow["change_high"]
    code, _, err = run_farm("runs", "diff", before.id, now.id, "--metric", "speed")
    assert code == 2
    assert "latency_p50" in err


def test_the_difference_in_a_notebook(head: Head) -> None:
    before, now = measured(head, "main", 1), measured(head, "<b>", 3, lost=True)
    with farm.Client(head.url, token=head.token()) as client:
        found = client.diff(before.id, now.id)
    html = found._repr_html_()
    assert "<table" in html
    assert "&lt;b&gt;" in html
    assert "The phone went away." in html
    frame = found.to_pandas()
    row = frame[(frame.metric == "latency_p50") & (frame.variant == "pytorch")].iloc[0]
    assert row.change_low < row.change < row.change_high
    assert set(frame[frame.variant == "onnxruntime"].verdict) == {"absent"}
    assert "| pytorch |" in found.to_markdown()
    assert "The phone went away." in str(found)


@pytest.mark.parametrize(
    ("slower", "lost", "options", "code", "word"),
    [
        (1.0, False, (), 0, "Gate passed: all 2 rows are within the limits."),
        (1.08, False, (), 1, "Gate failed: 1 of 2 rows are worse than allowed."),
        (1.08, False, ("--noise", "latency_p50=8%"), 3, "cannot be told"),
        (1.08, False, ("--noise", "latency_p50=8%", "--allow-untold"), 0, "Gate passed: 0 of 2 rows"),
        (1.0, True, (), 3, "The phone went away."),
        (1.0, True, ("--allow-missing",), 0, "1 were accepted"),
        (1.0, False, ("--max", "latency_p50=15ms"), 1, "outside"),
        (1.0, False, ("--max-drop", "accuracy=0.01", "--allow-missing"), 3, "max-drop accuracy=0.01"),
    ],
)
def test_the_exit_code_and_the_summary(
    head: Head,
    run_farm: RunFarm,
    label: str,
    tmp_path: Path,
    slower: float,
    lost: bool,
    options: tuple[str, ...],
    code: int,
    word: str,
) -> None:
    main_run, pull = measured(head, label, 1), measured(head, "pr-1", 3, slower, lost)
    summary = tmp_path / "summary.md"
    summary.write_text("# what was there\n")
    line = ("gate", pull.id, "--baseline", label, *LIMIT, *options, "--summary", summary)
    done, out, err = run_farm(*line)
    assert (done, err) == (code, "")
    text = summary.read_text()
    assert text.startswith("# what was there\n### Gate ")
    assert word in " ".join(out.split()) or word in text
    assert f"farm runs diff {main_run.id} {pull.id}" in text
    done, out, err = run_farm(*line, "--json")
    assert (done, err) == (code, "")
    found = json.loads(out)
    assert (found["exit_code"], found["baseline"], found["run"]) == (code, main_run.id, pull.id)
    assert found["verdict"] == {0: "pass", 1: "regression", 3: "untold"}[code]


def test_a_label_is_the_newest_finished_run_before(head: Head, run_farm: RunFarm, label: str) -> None:
    def baseline() -> object:
        return json.loads(run_farm("gate", pull.id, "--baseline", label, *LIMIT, "--json")[1])["baseline"]

    measured(head, label, 1)
    wanted = measured(head, label, 5)
    with_nothing = head.submit("pytorch", name=label)
    head.end(with_nothing)
    head.submit("pytorch", name=label)  # still active
    pull = measured(head, "pr-2", 3)
    assert baseline() == wanted.id
    measured(head, label, 7)  # main went on: asked again, the answer stays
    assert baseline() == wanted.id
    assert json.loads(run_farm("gate", pull.id, "--baseline", wanted.id, *LIMIT, "--json")[1])["baseline"] == wanted.id


def test_what_is_no_question(head: Head, run_farm: RunFarm, label: str) -> None:
    done = measured(head, label, 1)
    active = head.submit("pytorch", name="pr-3")
    for words, told in (
        ((done.id, "--baseline", "nobody", *LIMIT), "--name nobody"),
        ((done.id, "--baseline", done.id, *LIMIT), "earlier run"),
        ((active.id, "--baseline", label, *LIMIT), f"farm runs watch {active.id}"),
        ((done.id, "--baseline", active.id, *LIMIT), f"farm runs watch {active.id}"),
        ((999_999, "--baseline", label, *LIMIT), "farm runs list"),
        ((done.id, "--baseline", 999_999, *LIMIT), "farm runs list"),
        ((done.id, "--baseline", label), "--max-regression"),
        ((done.id, "--baseline", label, "--max-regression", "latency_p50=3"), "3%"),
        ((done.id, "--baseline", "", *LIMIT), "sweep:NAME"),
        ((done.id, *LIMIT), "--baseline"),
    ):
        code, out, err = run_farm("gate", *words)
        assert (code, out) == (2, ""), words
        assert told in " ".join(err.split()), words


def test_a_farm_that_does_not_answer_is_no_regression(run_farm: RunFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_URL", "http://127.0.0.1:9")
    code, out, err = run_farm("gate", 1, "--baseline", "main", *LIMIT)
    assert (code, out) == (3, "")
    assert "127.0.0.1:9" in err


def test_a_gate_in_python(head: Head, label: str) -> None:
    measured(head, label, 1)
    pull = measured(head, "pr-1", 3, slower=1.08)
    with farm.Client(head.url, token=head.token()) as client:
        found = client.gate(pull.id, baseline=label, limits=["max-regression latency_p50=3%"])
        assert found.exit == 1
        assert [row.change.pair.place.variant for row in found.judgements if row.fails] == ["onnxruntime"]
        assert client.gate(pull.id, baseline=label, limits=["max-regression latency_p50=20%"]).exit == 0
