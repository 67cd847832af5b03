"""Scores on a labelled set, wherever results are shown."""

from __future__ import annotations

import json

import numpy as np
import pytest

from farm.analysis.comparison import Comparison
from farm.analysis.evaluation import evaluate
from farm.report import scores
from farm.types import EvaluationSpec, JobOutcome, VerdictLevel
from tests.unit.analysis.outcomes import finished, parity, run, series
from tests.values import blob

LABELS = np.arange(120) % 3
NAMES = ("cat & dog", "<b>cow</b>", "pig")


def scored(name: str, id: int, noise: float, **fields: object) -> JobOutcome:
    random = np.random.default_rng(id)
    truth = np.eye(3)[LABELS]
    before = [(row[None],) for row in truth + np.random.default_rng(0).normal(scale=0.3, size=truth.shape)]
    own = [(answer + random.normal(scale=noise, size=(1, 3)),) for (answer,) in before]
    spec = EvaluationSpec(
        task="classification", inputs=blob("i"), labels=blob("l"), samples=len(LABELS), class_names=NAMES
    )
    outcome = finished(name, series(0.01 * id, 300, seed=id), id=id, **fields)
    assert outcome.result is not None
    evaluation = evaluate(spec, own, before, {"labels": LABELS}, 0.95)
    return outcome.model_copy(update={"result": outcome.result.model_copy(update={"evaluation": evaluation})})


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    far = {"parity": parity(cosine=0.9, max_abs_error=4.4)}
    unscored = finished("litert", series(0.05, 300), id=4)
    outcomes = [scored("pytorch", 1, 0.0), scored("onnxruntime", 2, 0.001), scored("onnxruntime-int8", 3, 1.0, **far)]
    return Comparison([*outcomes, unscored], runs=[run()])


def test_the_table_has_columns_of_score_and_drop(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # on a narrow terminal, columns are hidden
    text = str(comparison)
    assert "accuracy" in text
    assert "drop" in text
    row = next(row for row in comparison.rows if row.recipe == "onnxruntime-int8")
    assert row.evaluation is not None
    assert row.evaluation.drop is not None
    assert row.evaluation.drop.low > 0
    assert f"{row.evaluation.drop.value:+.4f}" in text
    assert "drop" not in str(Comparison([finished("pytorch", series(0.01, 300))], runs=[run()]))


def test_a_failed_parity_is_invalid_and_shown_with_all_figures(comparison: Comparison) -> None:
    row = next(row for row in comparison.rows if row.recipe == "onnxruntime-int8")
    assert row.level is VerdictLevel.INVALID
    for text in (str(comparison), json.dumps(comparison.to_dict(), ensure_ascii=False)):
        flat = " ".join(text.split())
        assert "All figures: cosine 0.900000, largest error 4.40" in flat
        assert "SNR 118.0 dB, top-1 agreement 1; 4 inputs" in flat


def test_pandas_has_every_figure(comparison: Comparison) -> None:
    pytest.importorskip("pandas")
    frame = comparison.to_pandas().set_index("recipe")
    int8 = frame.loc["onnxruntime-int8"]
    assert int8["evaluation_accuracy"] < int8["evaluation_pytorch_accuracy"]
    assert int8["evaluation_drop_low"] <= int8["evaluation_drop"] <= int8["evaluation_drop_high"]
    assert (int8["parity_snr_db"], int8["parity_samples"]) == (118.0, 4)
    assert np.isnan(frame.loc["litert"]["evaluation_drop"])


def test_the_report_shows_scores_curves_and_confusion(comparison: Comparison, tmp_path) -> None:
    html = comparison.report(tmp_path / "report.html", {}).read_text()
    body = html[: html.index("<script nonce")] + html[html.index("</header>") : html.index("<footer>")]
    assert "On the labelled set" in body
    assert "Tango 1998" in body
    assert "Confusion matrix of onnxruntime-int8" in body
    assert "cat &amp; dog" in body
    assert "<b>cow</b>" not in body
    assert "Distance from PyTorch" in body
    assert "ROC curve" in body


def test_roc_curves_run_from_corner_to_corner(comparison: Comparison) -> None:
    figure = scores.roc(comparison.rows)
    assert figure is not None
    curves = figure["data"][1:]
    assert [curve["name"].split(",")[0] for curve in curves] == ["pytorch", "onnxruntime", "onnxruntime-int8"]
    for curve in curves:
        assert (curve["x"][0], curve["y"][0], curve["x"][-1], curve["y"][-1]) == (0, 0, 1, 1)
        assert curve["y"] == sorted(curve["y"])
    json.dumps(figure, allow_nan=False)
    assert scores.roc([row for row in comparison.rows if not row.evaluation]) is None
    assert scores.drops([row for row in comparison.rows if not row.evaluation]) is None


def test_a_notebook_shows_the_drop(comparison: Comparison) -> None:
    assert "accuracy<small>PyTorch's</small>" in comparison._repr_html_()
