"""Jobs of old and new artifacts that take turns, of builds that are there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farm.analysis import interleaved
from farm.store.reading import Reading
from farm.store.transaction import NewJob
from farm.types import Model, RunSpec, Scenario, SweepSpec


def job_of(reading: Reading, build_key: str, model_id: str, device: str, scenario: Scenario) -> NewJob:
    """With the reference outputs of its own model. Raises NotFoundError where build or model are gone."""
    from farm.recipes.presets import REFERENCE

    needs_reference = reading.model(model_id).spec.needs_reference
    return NewJob(
        recipe=reading.build(build_key).recipe,
        build_key=build_key,
        reference_key=reading.built_reference(model_id, REFERENCE.digest) if needs_reference else None,
        device_id=device,
        scenario=scenario,
        model_id=model_id,
    )


def in_turns(old: NewJob, new: NewJob, pairs: int) -> Iterator[NewJob]:
    sides = {"old": old, "new": new}
    for pair in interleaved.order(pairs):
        yield from (sides[which] for which in pair)


def run_of(spec: SweepSpec, model: Model, jobs: Sequence[NewJob], name: str) -> RunSpec:
    """Measured as the sweep's nights are."""
    devices = sorted({job.device_id for job in jobs})
    return RunSpec(
        model=model.id,
        recipes=tuple({job.recipe.name: job.recipe for job in jobs}.values()),
        devices=f"id in ({', '.join(devices)})",
        scenarios=tuple({str(job.scenario): job.scenario for job in jobs}.values()),
        protocol=spec.protocol,
        name=name,
        priority=spec.priority,
        keep_unable=True,
    )
