"""What differs between two sweeps, in words."""

from __future__ import annotations

from farm.recipes.presets import preset
from farm.sweeps.changes import changes
from farm.types import AlertRule, Protocol, Scenario, Schedule, SweepSpec, UploadedModel


def sweep(**fields: object) -> SweepSpec:
    given = {"model": UploadedModel(ref="net"), "recipes": (preset("onnxruntime"),), "devices": "each"}
    return SweepSpec(name="nightly", **given | fields)


def test_the_same_sweep() -> None:
    assert changes(sweep(), sweep()) == ()


def test_a_line_per_key() -> None:
    old = sweep(schedule=Schedule(cron="0 2 * * *"), alerts=(AlertRule(metric="energy", max_change_ratio=0.05),))
    new = sweep(
        recipes=(preset("onnxruntime"), preset("pytorch")),
        devices="platform=android",
        scenarios=(Scenario(threads=4),),
        protocol=Protocol(max_seconds=5),
        schedule=Schedule(cron="0 3 * * *"),
        alerts=(AlertRule(metric="energy", max_change_ratio=0.1),),
    )
    assert set(changes(old, new)) == {
        "+ recipes.pytorch",
        "devices: each → platform=android",
        "- scenarios.single-stream/1t",
        "+ scenarios.single-stream/4t",
        "protocol.max_seconds: 10.0 → 5.0",
        "schedule.cron: 0 2 * * * → 0 3 * * *",
        "alerts.energy: 0.05 → 0.1",
    }


def test_another_order_is_no_change() -> None:
    some = (preset("onnxruntime"), preset("pytorch"))
    assert changes(sweep(recipes=some), sweep(recipes=some[::-1])) == ()
