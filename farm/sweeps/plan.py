"""What a night of a sweep comes to as things are now. Reads only; what is not known is absent, with the reason."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from farm.config import Settings
from farm.errors import InfrastructureError, NotFoundError, UserError
from farm.planning.expansion import Expansion
from farm.planning.submission import expanded
from farm.selectors import parse
from farm.store.reading import Reading
from farm.sweeps import sources
from farm.sweeps.changes import changes
from farm.sweeps.checking import check
from farm.sweeps.schedule import upcoming
from farm.types import BuildState, ModelSource, RunSpec, SweepPlan, SweepSpec, UploadedModel

NEXT_NIGHTS = 3
SOURCE_SECONDS = 10.0


def plan(spec: SweepSpec, reading: Reading, settings: Settings, now: datetime) -> SweepPlan:
    """That a night would fail as things are now is a warning: devices and models come and go.

    Raises UserError and its kinds for what is wrong in the sweep itself.
    """
    check(spec)
    warnings: list[str] = []
    old = reading.find_sweep(spec.name)
    last = reading.last_night_with_run(spec.name)
    model_ref, known_model = _model(spec, last.model_id if last else None)
    expansion = None
    if model_ref is None:
        warnings.append("Its model is fetched when a night begins: jobs and builds are not known before the first one.")
    else:
        try:
            _, _, expansion = expanded(_run_spec(spec, model_ref), reading, settings)
        except UserError as error:
            warnings.append(f"As things are now, a night would fail: {error}")
    if spec.baseline.run_id is not None:
        try:
            reading.run_spec(spec.baseline.run_id)
        except NotFoundError:
            warnings.append(f"The baseline is run {spec.baseline.run_id}, which is not there: nothing is compared.")
    devices = tuple(sorted({job.device_id for job in expansion.jobs})) if expansion else ()
    virtual = {device.id for device in reading.devices_named(devices) if device.facts.virtual}
    if devices and virtual == set(devices):
        warnings.append("All its devices are virtual: what it finds is of no real device.")
    to_make, there = _builds(expansion, reading, new_model=not known_model)
    cost = _cost(expansion, reading, last.run_id if last else None, to_make)
    nights = _nights(spec, now)
    period_seconds = (nights[1] - nights[0]).total_seconds() if len(nights) > 1 else None
    if period_seconds and cost.expected_seconds and cost.expected_seconds > period_seconds:
        warnings.append("A night is expected to take longer than the time to the next: some will give way.")
    return SweepPlan(
        changes=changes(old.spec, spec) if old else (),
        is_new=old is None,
        jobs=len(expansion.jobs) if expansion else None,
        devices=devices,
        builds_to_make=len(to_make) if expansion else None,
        builds_there=there if expansion else None,
        device_seconds=cost.device_seconds,
        build_seconds=cost.build_seconds,
        expected_seconds=cost.expected_seconds,
        why_unknown=cost.why_unknown,
        next_at=nights,
        warnings=tuple(warnings),
    )


def problem_of(source: ModelSource, settings: Settings) -> UserError | None:
    """What keeps the farm from taking the model from there, if it can be told within seconds. A server that is away is
    none: it may be back at night."""
    asked = ThreadPoolExecutor(1, thread_name_prefix="source")
    try:
        asked.submit(sources.check, source, settings).result(SOURCE_SECONDS)
    except UserError as error:
        return error
    except (InfrastructureError, TimeoutError):
        pass
    finally:
        asked.shutdown(wait=False)
    return None


def _model(spec: SweepSpec, last: str | None) -> tuple[str | None, bool]:
    """What to expand with, and whether the next night measures just that: a source has a new version every night."""
    if isinstance(spec.model, UploadedModel):
        return spec.model.ref, True
    return last, False


def _run_spec(spec: SweepSpec, model: str) -> RunSpec:
    return RunSpec(
        model=model,
        recipes=spec.recipes,
        devices=spec.devices,
        scenarios=spec.scenarios,
        protocol=spec.protocol,
        keep_unable=parse(spec.devices).quantifier.kind == "each",
    )


def _nights(spec: SweepSpec, now: datetime) -> tuple[datetime, ...]:
    return tuple(itertools.islice(upcoming(spec.schedule, now), NEXT_NIGHTS)) if spec.schedule else ()


def _builds(expansion: Expansion | None, reading: Reading, *, new_model: bool) -> tuple[list[str], int]:
    """Names of the recipes to build, and how many builds are there."""
    if expansion is None:
        return [], 0
    if new_model:
        return [recipe.name for recipe in expansion.builds.values()], 0
    built = {build.key for build in reading.builds(sorted(expansion.builds)) if build.state is BuildState.BUILT}
    return [recipe.name for key, recipe in expansion.builds.items() if key not in built], len(built)


@dataclass(frozen=True)
class _Cost:
    device_seconds: float | None = None
    build_seconds: float | None = None
    expected_seconds: float | None = None
    why_unknown: str = ""


def _cost(expansion: Expansion | None, reading: Reading, run_id: int | None, to_make: Sequence[str]) -> _Cost:
    if expansion is None:
        return _Cost(why_unknown="its jobs are not known")
    by_device, missing = _device_seconds(expansion, reading, run_id)
    builds = reading.build_seconds_of_run(run_id) if run_id is not None else {}
    not_built = sorted({name for name in to_make if name not in builds})
    why = []
    if missing:
        why.append(f"nothing was measured yet on {_some(missing)}")
    if not_built:
        why.append(f"{_some(not_built)} {'was' if len(not_built) == 1 else 'were'} not built in a night before")
    build_seconds = None if not_built else sum(builds[name] for name in to_make)
    device_seconds = None if missing else sum(by_device.values())
    expected = None
    if build_seconds is not None and device_seconds is not None:
        # Builds one after the other, then the device that has most to do: rather too long than too short.
        expected = build_seconds + max(by_device.values(), default=0.0)
    return _Cost(device_seconds, build_seconds, expected, "; ".join(why))


def _device_seconds(
    expansion: Expansion, reading: Reading, run_id: int | None
) -> tuple[dict[str, float], Collection[str]]:
    """Per device, from what its jobs took in the last night, else from what anything took on it; and the devices of
    which nothing is known."""
    before = reading.job_seconds_of_run(run_id) if run_id is not None else {}
    usual: dict[str, float | None] = {}
    seconds: dict[str, float] = {}
    missing: dict[str, None] = {}
    for job in expansion.jobs:
        id = job.device_id
        if same := before.get((id, job.recipe.name)):
            seconds[id] = seconds.get(id, 0.0) + statistics.median(same)
            continue
        if id not in usual:
            measured = reading.job_seconds(id)
            usual[id] = statistics.median(measured) if measured else None
        each = usual[id]
        if each is None:
            missing[id] = None
        else:
            seconds[id] = seconds.get(id, 0.0) + each
    return seconds, missing


def _some(names: Collection[str], most: int = 3) -> str:
    shown = ", ".join(itertools.islice(names, most))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
