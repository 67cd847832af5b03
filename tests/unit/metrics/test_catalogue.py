from __future__ import annotations

import re
from pathlib import Path

from farm.metrics import catalogue

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
BASE_UNITS = {"seconds", "bytes", "joules", "watts", "celsius", "ratio", "hertz"}


def test_the_page_is_current() -> None:
    """If not: python -m farm.metrics.catalogue docs/metrics.md"""
    assert catalogue.with_tables(PAGE.read_text()) == PAGE.read_text()


def test_names_say_what_they_are() -> None:
    names = [metric.name for metric in catalogue.METRICS]
    assert len(names) == len(set(names))
    for metric in catalogue.METRICS:
        assert re.fullmatch(r"farm_[a-z0-9_]+", metric.name)
        assert metric.unit in {"", *BASE_UNITS}
        assert metric.name.removesuffix("_total").endswith(metric.unit), metric.name
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name
        assert metric.name.endswith("_info") is (metric.kind == "info"), metric.name
        assert bool(metric.buckets) is (metric.kind == "histogram"), metric.name
        assert metric.help.endswith("."), metric.name
        assert not set('"\\\n') & set(metric.help), metric.name  # written as it is
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in metric.all_labels), metric.name
        # Ids that would explode the number of series go into exemplars.
        assert not {"job", "job_id", "lease", "attempt", "user"} & set(metric.all_labels), metric.name


def test_results_carry_the_labels_of_the_design_and_no_run() -> None:
    for metric in catalogue.METRICS:
        if metric.origin == "result":
            assert metric.all_labels[:8] == (
                "device",
                "device_model",
                "soc",
                "platform",
                "model",
                "variant",
                "runtime",
                "scenario",
            )
            assert metric.labels in ((), ("quantile",))
