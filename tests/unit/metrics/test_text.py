"""The text of state, read back by ``prometheus_client``'s parsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from farm.metrics import catalogue
from farm.metrics.text import Family, write

said = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)
values = st.floats(allow_nan=False, allow_infinity=False)
STATE = [
    metric
    for metric in catalogue.METRICS
    if metric.origin in ("head", "agent") and metric.kind in ("gauge", "info") and not metric.awaits
]


@pytest.mark.parametrize("openmetrics", [False, True])
@given(st.data())
def test_what_is_written_can_be_read(openmetrics: bool, data: st.DataObject) -> None:
    metric = data.draw(st.sampled_from(STATE))
    value = st.just(1.0) if metric.kind == "info" else values
    labels = st.tuples(*(said for _ in metric.labels))
    samples = data.draw(st.lists(st.tuples(labels, value), max_size=4, unique_by=lambda sample: sample[0]))
    text = write([Family(metric, samples)], openmetrics=openmetrics).decode()
    families = list(parse_openmetrics(text + "# EOF\n") if openmetrics else parse(text))
    found = [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
    assert found == [(metric.name, dict(zip(metric.labels, named, strict=True)), number) for named, number in samples]
    if samples:
        assert [family.documentation for family in families] == [metric.help]
        if openmetrics:
            assert [(family.type, family.unit) for family in families] == [(metric.kind, metric.unit)]
