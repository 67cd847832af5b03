"""Nights with planted regressions, from results to Prometheus and to what people are told, with kills in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.bench.nightly import figures, trial
from tests.integration.metrics.prometheus import INSTALLED
from tests.integration.metrics.swept import World

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not INSTALLED, reason="there is no prometheus on PATH")]


def test_the_planted_regressions_and_only_they_are_reported_and_no_result_is_lost(tmp_path: Path) -> None:
    last = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    with trial(tmp_path, World(devices=10, variants=6, nights=24, last=last)) as made:
        measured = figures(made, 0.0)
    assert (measured["planted"], measured["reported"], measured["false_reports"]) == (5, 5, 0)
    assert measured["results"] == 10 * 6 * 24 - 1
    assert (measured["unwritten_results"], measured["lost_results"], measured["dead_letters"]) == (0, 0, 0)
    assert measured["series"] <= measured["series_budget"]
