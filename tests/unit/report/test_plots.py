from __future__ import annotations

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.comparison import Comparison
from farm.report import plots
from tests.unit.analysis.outcomes import finished, parity, series
from tests.unit.report.scene import comparison


def drawn(comparison: Comparison, samples: dict[int, list[float]]) -> list[plots.Figure | None]:
    arrays = {id: np.asarray(values) for id, values in samples.items()}
    (rows, *_) = comparison.settings.values()
    return [
        plots.distribution(rows, arrays),
        plots.against_size(rows),
        plots.against_parity(rows),
        plots.series(rows, arrays),
    ]


def painted(value: Any) -> Any:
    """As the page does it: names of colours become colours."""
    if isinstance(value, dict):
        return {key: painted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [painted(item) for item in value]
    return "#123456" if isinstance(value, str) and value.startswith("$") else value


@pytest.mark.parametrize("index", range(4))
def test_plotly_accepts_every_figure(index: int) -> None:
    figure = drawn(*comparison())[index]
    assert figure is not None
    go.Figure(painted(figure))  # raises ValueError on anything plotly does not know
    json.dumps(figure, allow_nan=False)


def test_each_variant_with_a_result_is_in_each_figure() -> None:
    shown, samples = comparison()
    (rows, *_) = shown.settings.values()
    measured = [row.recipe for row in rows if row.outcome.result]
    for figure in drawn(shown, samples):
        text = json.dumps(figure)
        assert all(f'"{name}"' in text or f"<b>{name}</b>" in text for name in measured)
        assert "litert" not in text


def test_the_box_is_that_of_the_samples() -> None:
    values = series(0.02, 400)
    shown = Comparison([finished("onnxruntime", values, id=1)])
    figure = plots.distribution(shown.rows, {1: values})
    assert figure is not None
    box = figure["data"][0]
    assert box["median"][0] == pytest.approx(np.median(values) * 1000, rel=1e-4)
    assert box["lowerfence"] < box["q1"] < box["median"] < box["q3"] < box["upperfence"]


def test_identical_outputs_have_a_place_on_the_logarithmic_axis() -> None:
    exact = finished("pytorch", series(0.06, 200), id=1, parity=parity(cosine=1.0, max_abs_error=0.0))
    near = finished("onnxruntime", series(0.02, 200), id=2, parity=parity(max_abs_error=1e-3))
    figure = plots.against_parity(Comparison([exact, near]).rows)
    assert figure is not None
    assert sorted(trace["x"][0] for trace in figure["data"])[0] == pytest.approx(1e-6)
    assert "left edge: identical" in figure["layout"]["xaxis"]["title"]["text"]


def test_without_samples_there_is_nothing_to_draw() -> None:
    rows = Comparison([finished("pytorch", series(0.06, 200))]).rows
    assert plots.distribution(rows, {}) is None
    assert plots.series(rows, {}) is None
    assert plots.against_size([]) is None


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=2000), st.integers(10, 300))
def test_thinning_a_series_keeps_its_extremes_and_its_order(values: list[float], most: int) -> None:
    array = np.array(values)
    kept = plots._extremes(array, most)
    assert len(kept) <= max(most, 1) and list(kept) == sorted(set(kept))
    assert array[kept].min() == array.min() and array[kept].max() == array.max()


def test_labels_do_not_cover_each_other() -> None:
    places = [(0.5, 0.5), (0.51, 0.5), (0.5, 0.52), (0.2, 0.2)]
    names = ["executorch-xnnpack", "onnxruntime", "litert", "pytorch"]
    boxes = [
        plots._box(place, name, side)
        for place, name, side in zip(places, names, plots.label_sides(places, names), strict=True)
    ]
    for index, box in enumerate(boxes):
        assert all(plots._overlap(box, other) == 0 for other in boxes[index + 1 :])


def test_the_same_variant_of_two_runs_is_drawn_twice() -> None:
    one, two = (finished("onnxruntime", series(0.02, 200), id=id, run_id=id) for id in (1, 2))
    figure = plots.distribution(Comparison([one, two]).rows, {1: series(0.02, 200), 2: series(0.02, 200)})
    assert figure is not None
    boxes = [trace["y"][0] for trace in figure["data"] if trace["type"] == "box"]
    assert sorted(boxes) == ["onnxruntime (run 1)", "onnxruntime (run 2)"]
