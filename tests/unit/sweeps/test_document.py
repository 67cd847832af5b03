"""Sweeps as people write them: what is read, and where each mistake is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.analysis.quantities import QUANTITIES
from farm.errors import UserError
from farm.recipes import presets
from farm.sweeps.checking import check
from farm.sweeps.document import dump, read, sweeps
from farm.types import (
    AlertRule,
    Baseline,
    FileModel,
    GitModel,
    MlflowModel,
    Protocol,
    Scenario,
    Schedule,
    SweepRetention,
    SweepSpec,
    UploadedModel,
)

EXAMPLES = Path(__file__).parents[3] / "examples" / "sweeps"
WHOLE = """\
name: net-nightly
model:
  git: https://example.org/net.git
  ref: main
  export: python export.py --small
recipes:
  - onnxruntime
  - runtime: onnxruntime
    name: mine
    transforms: [{kind: quantize, dtype: int8, mode: dynamic}]
devices: platform=android,memory_gib>=8
scenarios:
  - single-stream
  - threads: 4
protocol: {max_seconds: 5}
schedule:
  cron: 0 2 * * *
  timezone: Europe/Berlin
  missed: skip
priority: normal
baseline: {window: 10}
alerts:
  latency_p50: 3%
  accuracy: 1 point
notify: [team]
retention: {samples_days: 30}
"""


def test_a_whole_sweep() -> None:
    (spec,) = sweeps(WHOLE, "net.yaml")
    assert spec.model == GitModel(
        repository="https://example.org/net.git", ref="main", export=("python", "export.py", "--small")
    )
    assert [recipe.name for recipe in spec.recipes] == ["onnxruntime", "mine"]
    assert spec.scenarios == (Scenario(), Scenario(threads=4))
    assert spec.protocol == Protocol(max_seconds=5)
    assert spec.schedule == Schedule(cron="0 2 * * *", timezone="Europe/Berlin", missed="skip")
    assert spec.baseline == Baseline(mode="window", nights=10)
    assert spec.alerts == (
        AlertRule(metric="latency_p50", max_change_ratio=0.03),
        AlertRule(metric="accuracy", max_drop=0.01),
    )
    assert (spec.priority, spec.notify, spec.retention) == ("normal", ("team",), SweepRetention(samples_days=30))
    check(spec)


def test_several_in_a_file() -> None:
    short = "name: {}\nmodel: net\nrecipes: [onnxruntime]\ndevices: each\nschedule: 0 3 * * *\nbaseline: last-trusted\n"
    one, other = sweeps(f"{short.format('a')}---\n{short.format('b')}---\n", "two.yaml")
    assert (one.name, other.name) == ("a", "b")
    assert one.model == UploadedModel(ref="net")
    assert one.schedule == Schedule(cron="0 3 * * *")
    assert one.baseline == Baseline(mode="last-trusted")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_sweeps(path: Path) -> None:
    for spec in read(path):
        check(spec)
        assert sweeps(dump(spec), "dumped") == (spec,)


@pytest.mark.parametrize("page", ["sweeps.md", "model-sources.md"])
def test_what_the_pages_show_is_read(page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (EXAMPLES.parents[1] / "docs" / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        whole = block if "name:" in block else f"name: shown\nrecipes: [onnxruntime]\ndevices: each\n{block}"
        assert len(sweeps(whole, page)) == 1


def test_there_are_examples() -> None:
    assert len(list(EXAMPLES.glob("*.yaml"))) >= 2


# What is put in place of a line of WHOLE, and what is said of which line.
MISTAKES = [
    ("name: net-nightly", "name: net nightly", 1, "name"),
    ("name: net-nightly", "nam: net-nightly", 1, "Did you mean name"),
    ("name: net-nightly", "", 2, "name is missing"),
    ("  git: https", "  gti: https", 3, "Did you mean git"),
    ("  ref: main", "  reff: main", 4, "model.reff is no key there. Did you mean ref"),
    ("  ref: main", "  ref: [1, 2]", 4, "model.ref"),
    ("  export: python export.py --small", '  export: python "', 5, "model.export is no command"),
    ("  export: python export.py --small", "  timeout_seconds: 5", 3, "model.export is missing"),
    ("  - onnxruntime", "  - onnxruntim", 7, "recipes[0]: There is no recipe 'onnxruntim'. Did you mean onnxruntime"),
    ("  - onnxruntime", "  - 5", 7, "recipes[0] is no recipe"),
    ("  - runtime: onnxruntime", "  - runtime: onyx", 8, "recipes[1]"),
    ("devices: platform", "devices: plat form=", 11, "devices: "),
    ("devices: platform=android,memory_gib>=8", "devices: [a]", 11, "devices is no selector"),
    ("  - threads: 4", "  - threads: many", 14, "scenarios[1].threads"),
    ("  - threads: 4", "  - treads: 4", 14, "scenarios[1].treads is no key there. Did you mean threads"),
    (
        "protocol: {max_seconds: 5}",
        "protocol: {max_second: 5}",
        15,
        "protocol.max_second is no key there. Did you mean",
    ),
    ("protocol: {max_seconds: 5}", "protocol: fast", 15, "protocol is no mapping"),
    ("  cron: 0 2 * * *", "  cron: 0 2 * *", 17, "schedule.cron: '0 2 * *' is no schedule: it has 4 fields"),
    ("  cron: 0 2 * * *", "  cron: '*/5 25 * * *'", 17, "bad hour"),
    ("  cron: 0 2 * * *", "  cron: */5 2 * * *", 17, "no YAML"),
    ("  timezone: Europe/Berlin", "  timezone: Europe/Berln", 18, "schedule.timezone: There is no time zone"),
    ("  missed: skip", "  missed: perhaps", 19, "schedule.missed"),
    ("priority: normal", "priority: urgent", 20, "priority"),
    ("baseline: {window: 10}", "baseline: {windows: 10}", 21, "Did you mean window"),
    ("baseline: {window: 10}", "baseline: {window: 1}", 21, "baseline.window"),
    ("baseline: {window: 10}", "baseline: {window: 9, pinned: 3}", 21, "baseline says not one thing"),
    ("baseline: {window: 10}", "baseline: pinned", 21, "baseline names no run"),
    ("  latency_p50: 3%", "  latency_50: 3%", 23, "Did you mean latency_p50"),
    ("  latency_p50: 3%", "  latency_p50: 3", 23, "alerts.latency_p50"),
    ("  latency_p50: 3%", "  latency_p50: -3%", 23, "alerts.latency_p50"),
    ("  latency_p50: 3%", "  latency_p50: 3.5.1%", 23, "alerts.latency_p50"),
    ("  latency_p50: 3%", "  latency_p50: 1 point", 23, "latency_p50 is no score"),
    ("  accuracy: 1 point", "  accuracy: 3%", 24, "accuracy is a score"),
    ("  accuracy: 1 point", "  latency_p50: 4%", 24, "alerts.latency_p50 is there twice"),
    ("notify: [team]", "notify: [te am]", 25, "notify[0]"),
    ("retention: {samples_days: 30}", "retention: {sample_days: 30}", 26, "Did you mean samples_days"),
    ("retention: {samples_days: 30}", "retention: {samples_days: 3, samples_days: 30}", 26, "is there twice"),
    ("notify: [team]", "notify: [team", 26, "no YAML"),
]


@pytest.mark.parametrize(("line", "instead", "number", "says"), MISTAKES, ids=[f"{n}-{i}" for _, i, n, _ in MISTAKES])
def test_every_mistake_names_its_line_and_key(line: str, instead: str, number: int, says: str) -> None:
    assert line in WHOLE
    whole = "\n".join(
        instead if each.startswith(line) and not instead.endswith("=") else each for each in WHOLE.split("\n")
    )
    if instead.endswith("="):
        whole = WHOLE.replace(line, instead)
    with pytest.raises(UserError) as caught:
        sweeps(whole, "net.yaml")
    assert says in caught.value.message
    assert caught.value.message.startswith(f"net.yaml, line {number}: "), caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "---\n", "[]", "3", "a: &a [*a]", "name: a\n  b: c", "\0", "{? [a] : b}"])
def test_what_is_no_sweep_at_all(text: str) -> None:
    with pytest.raises(UserError, match=r"x\.yaml"):
        sweeps(text, "x.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\0")
    for name in ("none.yaml", "binary.yaml", "."):
        with pytest.raises(UserError, match="cannot be read"):
            read(tmp_path / name)


ratios = st.floats(0.0001, 10).map(lambda value: round(value, 6))
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)
models = st.one_of(
    st.builds(UploadedModel, ref=texts),
    st.builds(FileModel, url=texts, example_inputs=texts, dynamic_batch=st.booleans()),
    st.builds(GitModel, repository=texts, ref=texts, export=st.lists(texts, min_size=1, max_size=3).map(tuple)),
    st.builds(MlflowModel, uri=st.just("models:/net@champion"), file=texts),
)
alerts = st.dictionaries(st.sampled_from(sorted(QUANTITIES)), ratios, max_size=5).map(
    lambda limits: tuple(
        AlertRule(metric=name, max_drop=min(limit, 1))
        if QUANTITIES[name].score
        else AlertRule(metric=name, max_change_ratio=limit)
        for name, limit in limits.items()
    )
)
specs = st.builds(
    SweepSpec,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    model=models,
    recipes=st.lists(
        st.sampled_from(presets.names()).map(presets.preset),
        min_size=1,
        max_size=3,
        unique_by=lambda recipe: recipe.name,
    ).map(tuple),
    devices=st.sampled_from(["each", "platform=android,memory_gib>=8", "soc in (A,B), any(2)"]),
    scenarios=st.lists(st.builds(lambda n: Scenario(threads=n), st.integers(1, 8)), min_size=1, max_size=3).map(tuple),
    protocol=st.sampled_from([Protocol(), Protocol(max_seconds=3, profile=True)]),
    schedule=st.sampled_from([None, Schedule(cron="*/5 2 * * *", timezone="Asia/Tokyo", missed="skip")]),
    priority=st.sampled_from(["nightly", "normal"]),
    baseline=st.sampled_from(
        [Baseline(), Baseline(nights=7), Baseline(mode="last-trusted"), Baseline(mode="pinned", run_id=3)]
    ),
    alerts=alerts,
    notify=st.sampled_from([(), ("team", "on")]),
    retention=st.sampled_from([SweepRetention(), SweepRetention(runs_days=90)]),
)


@settings(deadline=None)
@given(specs)
def test_what_is_written_is_read_as_the_same(spec: SweepSpec) -> None:
    assert sweeps(dump(spec), "x.yaml") == (spec,)
