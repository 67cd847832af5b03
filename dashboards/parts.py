"""What dashboards are made of: panels with a title, a description, a unit and queries, laid out row by row.

Queries of metrics that nothing has yet (``awaits`` in the catalogue) are left out, and panels without any other: the
test that the JSON is current fails as soon as one is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
    xychart,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.xychart import SeriesMapping, XYShowMode

from farm.metrics import catalogue

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "torchfarm"
GOOD_IS_LITTLE = (("green", None), ("red", 1.0))
_REFS = "ABCDEFGHIJKL"
_AWAITED = [re.compile(rf"\b{metric.name}\b") for metric in catalogue.METRICS if metric.awaits]
_BUILDERS: dict[str, Any] = {
    "timeseries": timeseries.Panel,
    "stat": stat.Panel,
    "bargauge": bargauge.Panel,
    "table": table.Panel,
    "xychart": xychart.Panel,
    "state-timeline": statetimeline.Panel,
}


@dataclass(frozen=True)
class Query:
    """``legend``: Grafana's, ``{{label}}``; of a table, the name of the column, which is hidden without one;
    ``unit``: of that column."""

    promql: str
    legend: str = ""
    unit: str = ""

    @property
    def awaited(self) -> bool:
        return any(name.search(self.promql) for name in _AWAITED)


@dataclass(frozen=True)
class Panel:
    """``steps``: colours from a value on, the first from the beginning. ``columns``: labels of a table with the name
    that each gets. ``instant``: one value a series; ``daily``: one value a night."""

    kind: str
    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int
    height: int = 8
    instant: bool = False
    daily: bool = False
    steps: Sequence[tuple[str, float | None]] = (("green", None),)
    columns: Mapping[str, str] = field(default_factory=dict)
    with_time: bool = False
    maximum: float | None = None
    decimals: int | None = None
    nothing: str = ""

    @property
    def there(self) -> list[Query]:
        return [query for query in self.queries if not query.awaited]


@dataclass(frozen=True)
class Page:
    """``variables``: name, label and PromQL series whose label of that name is offered; ``choices``: name, label and
    values of which the first is taken. ``all_of``: variables that begin with all of them."""

    uid: str
    title: str
    description: str
    panels: Sequence[Panel]
    variables: Sequence[tuple[str, str, str]] = ()
    choices: Sequence[tuple[str, str, Sequence[str]]] = ()
    single: frozenset[str] = frozenset()
    since: str = "now-30d"
    refresh: str = "5m"
    runs: bool = False


def to_json(page: Page) -> str:
    made = (
        build.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags([TAG])
        .time(page.since, "now")
        .refresh(page.refresh)
        .timezone("browser")
        .editable()
        .with_variable(build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, label, series in page.variables:
        made = made.with_variable(_query_variable(name, label, series, single=name in page.single))
    for name, label, values in page.choices:
        made = made.with_variable(_choice(name, label, values))
    if page.runs:
        made = made.annotation(_runs())
    for number, (panel, place) in enumerate(_places(page.panels), 1):
        made = made.with_panel(_panel(panel).id(number).grid_pos(place))
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _places(panels: Sequence[Panel]) -> list[tuple[Panel, model.GridPos]]:
    """Left to right on 24 columns; what is left of a row goes to its last panel."""
    rows: list[list[Panel]] = [[]]
    for panel in (each for each in panels if each.there):
        if sum(each.width for each in rows[-1]) + panel.width > 24:
            rows.append([])
        rows[-1].append(panel)
    found, y = [], 0
    for row in rows:
        x, height = 0, max(panel.height for panel in row)
        for panel in row:
            width = 24 - x if panel is row[-1] else panel.width
            found.append((panel, model.GridPos(h=height, w=width, x=x, y=y)))
            x += width
        y += height
    return found


def _panel(panel: Panel) -> Any:
    made = _BUILDERS[panel.kind]().title(panel.title).description(panel.description).datasource(SOURCE)
    made = made.unit(panel.unit).thresholds(_steps(panel.steps))
    if panel.maximum is not None:
        made = made.min(0).max(panel.maximum)
    if panel.decimals is not None:
        made = made.decimals(panel.decimals)
    if panel.nothing:
        made = made.no_value(panel.nothing)
    for ref, query in zip(_REFS, panel.there, strict=False):
        made = made.with_target(_target(panel, query, ref))
    return _STYLES[panel.kind](made, panel)


def _target(panel: Panel, query: Query, ref: str) -> Any:
    made = prometheus.Dataquery().expr(query.promql).ref_id(ref).datasource(SOURCE)
    made = made.instant() if panel.instant else made.range()
    if panel.daily:
        made = made.interval("1d")
    if panel.kind in ("table", "xychart"):
        return made.format(PromQueryFormat.TABLE)
    return made.format(PromQueryFormat.TIME_SERIES).legend_format(query.legend)


def _table(made: Any, panel: Panel) -> Any:
    return _as_table(made, panel).min_width(70)


def _as_table(made: Any, panel: Panel) -> Any:
    """One row for each set of labels, in the order of the columns."""
    many = len(panel.there) > 1
    given = zip(_REFS, panel.there, strict=False)
    values = {f"Value #{ref}" if many else "Value": query for ref, query in given}
    names = {**panel.columns, **{value: query.legend for value, query in values.items() if query.legend}}
    if many:
        made = made.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    order = {name: index for index, name in enumerate((*panel.columns, *values))}
    hidden = {} if panel.with_time else {"Time": True}
    hidden |= {value: True for value, query in values.items() if not query.legend}
    options = {"excludeByName": hidden, "indexByName": order, "renameByName": names}
    made = made.with_transformation(model.DataTransformerConfig(id_val="organize", options=options))
    for query in (query for query in panel.there if query.legend):
        made = made.override_by_name(query.legend, [model.DynamicConfigValue(id_val="unit", value=query.unit)])
    return made


def _xy(made: Any, panel: Panel) -> Any:
    made = made.mapping(SeriesMapping.AUTO).show(XYShowMode.POINTS)
    return _as_table(made, panel).legend(_legend()).tooltip(_tooltip())


def _timeseries(made: Any, panel: Panel) -> Any:
    made = made.legend(_legend()).tooltip(_tooltip()).fill_opacity(5)
    if panel.daily:
        made = made.show_points(words.VisibilityMode.ALWAYS)
    return made


def _bars(made: Any, panel: Panel) -> Any:
    return (
        made.orientation(words.VizOrientation.HORIZONTAL)
        .display_mode(words.BarGaugeDisplayMode.BASIC)
        .reduce_options(_last())
        .min(0)
    )


def _numbers(made: Any, panel: Panel) -> Any:
    if any("{{" in query.legend for query in panel.there):
        made = made.text_mode(words.BigValueTextMode.VALUE_AND_NAME)
    return (
        made.reduce_options(_last()).color_mode(words.BigValueColorMode.VALUE).graph_mode(words.BigValueGraphMode.NONE)
    )


def _timeline(made: Any, panel: Panel) -> Any:
    made = made.show_value(words.VisibilityMode.AUTO).merge_values(False).legend(_legend()).tooltip(_tooltip())
    return made.color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))


_STYLES: dict[str, Any] = {
    "timeseries": _timeseries,
    "stat": _numbers,
    "bargauge": _bars,
    "table": _table,
    "xychart": _xy,
    "state-timeline": _timeline,
}


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _legend() -> Any:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(words.LegendDisplayMode.LIST)
        .placement(words.LegendPlacement.BOTTOM)
        .calcs([])
    )


def _tooltip() -> Any:
    return common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(words.SortOrder.DESCENDING)


def _steps(steps: Sequence[tuple[str, float | None]]) -> Any:
    made = [model.Threshold(value=value, color=colour) for colour, value in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _query_variable(name: str, label: str, series: str, *, single: bool) -> Any:
    made = (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if single:
        return made
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    return made.multi(True).include_all(True).all_value(".*").current(everything)


def _choice(name: str, label: str, values: Sequence[str]) -> Any:
    first = model.VariableOption(text=values[0], value=values[0], selected=True)
    return build.CustomVariable(name).label(label).values(",".join(values)).current(first)


def _runs() -> Any:
    """What ``farm dashboards publish`` annotates."""
    target = build.AnnotationTarget().limit(100).match_any(False).tags([TAG, "run"]).type("tags")
    return (
        build.AnnotationQuery()
        .name("Runs")
        .datasource(model.DataSourceRef(type_val="grafana", uid="-- Grafana --"))
        .enable(True)
        .icon_color("blue")
        .target(target)
    )
