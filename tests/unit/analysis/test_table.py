from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from farm.analysis.comparison import Comparison
from farm.types import Failure, JobState
from tests.unit.analysis.outcomes import failed, finished, job, parity, series
from tests.unit.report.scene import comparison, outcomes


def printed(given: Comparison, width: int, *, colour: bool = False) -> str:
    text = StringIO()
    Console(file=text, width=width, force_terminal=colour, color_system="standard" if colour else None).print(given)
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in printed(comparison()[0], width).splitlines()) <= width


def test_all_columns_fit_120() -> None:
    text = printed(comparison()[0], 120)
    for heading in (
        "p50 ms",
        "p95 ms",
        "95% CI",
        "speed-up",
        "load",
        "1st run",
        "memory",
        "artifact",
        "cosine",
        "verdict",
    ):
        assert heading in text
    assert "Hidden" not in text


def test_80_keep_what_matters_and_name_what_is_hidden() -> None:
    text = printed(comparison()[0], 80)
    for heading in ("p50 ms", "p95 ms", "speed-up", "verdict"):
        assert heading in text
    assert "Hidden at this width: load/1st run, memory/peak, cosine/max err." in text


def test_reasons_and_failures_are_told() -> None:
    text = " ".join(printed(comparison()[0], 120).split())
    assert "drift: The last third of the samples was 10% slower than the first." in text
    assert "parity-failed: Cosine with PyTorch's outputs is 0.931270, below 0.99." in text
    assert "aten.upsample_bicubic2d is not supported" in text


def test_meters_that_the_device_does_not_show_are_named() -> None:
    text = " ".join(printed(comparison()[0], 120).split())
    assert "Not readable here: cpu_frequency (cpu0 has no cpufreq driver" in text


def test_the_advice_names_the_winner_and_what_to_keep_in_mind() -> None:
    text = " ".join(printed(comparison()[0], 120).split())
    assert "Fastest: executorch-xnnpack-int8" in text
    assert "Faster, but not as trustworthy: onnxruntime-int8 (invalid: parity-failed)" in text
    assert "check its accuracy on labelled data" in text


def test_plain_text_has_no_control_sequences_even_from_hostile_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    hostile = Failure(
        fault="device", code="x", message="\x1b[2J\x1b]0;owned\x07[red]boo[/red]\r!", remedy="Do \x9b31m."
    )
    lost = failed("litert").model_copy(update={"job": job("litert", state=JobState.FAILED, failure=hostile)})
    for text in (str(Comparison([lost])), printed(Comparison([lost]), 100)):
        assert not set("\x1b\x07\x9b\r") & set(text)
        assert "[red]boo[/red]" in text  # markup of others is text


def test_a_terminal_gets_colours() -> None:
    assert "\x1b[" in printed(comparison()[0], 100, colour=True)


def test_several_runs_are_told_apart() -> None:
    both = Comparison([*outcomes(1)[0], *outcomes(2)[0]])
    lines = [line.split() for line in printed(both, 140).splitlines()]
    assert {line[0] for line in lines if line[1:2] == ["onnxruntime"]} == {"1", "2"}


def test_a_missing_interval_is_explained() -> None:
    short = finished("onnxruntime", series(0.02, 50), id=2, parity=parity())
    text = printed(Comparison([short]), 120)
    assert "—: not measured, or too few independent samples" in text
