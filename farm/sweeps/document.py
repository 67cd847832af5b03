"""Sweeps in YAML, for people (docs/sweeps.md): one sweep per document, documents with ``---`` between them.

name: mobilenet-nightly
model: {git: https://example.org/net.git, ref: main, export: python export.py}
recipes: [onnxruntime, executorch-xnnpack-int8]
devices: platform=android
schedule: {cron: 0 2 * * *, timezone: Europe/Berlin}
alerts: {latency_p50: 3%, accuracy: 1 point}

Every mistake is a UserError that names file, line and key.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from farm import selectors
from farm.analysis.quantities import QUANTITIES
from farm.errors import UserError
from farm.suggestion import did_you_mean
from farm.sweeps import schedule
from farm.sweeps.checking import check_rule
from farm.sweeps.entry import Entry, lower
from farm.types import (
    AlertRule,
    Baseline,
    FileModel,
    Frozen,
    GitModel,
    MlflowModel,
    Protocol,
    Recipe,
    Scenario,
    Schedule,
    SweepRetention,
    SweepSpec,
    UploadedModel,
)

MAX_BYTES = 1_000_000
_SOURCES: Mapping[str, tuple[type[Frozen], str]] = {  # what a mapping with this key is, and the field that it fills
    "git": (GitModel, "repository"),
    "mlflow": (MlflowModel, "uri"),
    "uploaded": (UploadedModel, "ref"),
    "file": (FileModel, "url"),  # last: a registry's model has a ``file``, too
}
_PERCENT = re.compile(r"([0-9.]+)\s*%")
_POINTS = re.compile(r"([0-9.]+)\s*points?")


def read(path: Path) -> tuple[SweepSpec, ...]:
    """All sweeps of a file. Raises UserError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES:,} bytes.", remedy="Is it a file of sweeps?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.", remedy="Give a YAML file with sweeps.") from error
    return sweeps(text, str(path))


def read_one(path: Path) -> SweepSpec:
    """Raises UserError, also where the file holds more than one."""
    found = read(path)
    if len(found) > 1:
        raise UserError(f"{path} holds {len(found)} sweeps.", remedy="Read it with farm.sweeps.document.read.")
    return found[0]


def sweeps(text: str, file: str) -> tuple[SweepSpec, ...]:
    """``file`` is for messages. Raises UserError."""
    try:
        roots = [
            node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node and node.value
        ]  # an empty document is none
    except yaml.YAMLError as error:
        raise _no_yaml(error, file) from error
    found: dict[str, SweepSpec] = {}
    for root in roots:
        spec = _sweep(Entry(root, file))
        if spec.name in found:
            raise Entry(root, file, "name").wrong(f"{spec.name} is the name of a sweep above", "Give each its own.")
        found[spec.name] = spec
    if not found:
        raise UserError(
            f"{file} holds no sweep.", remedy="Write name:, model:, recipes: and devices: (docs/sweeps.md)."
        )
    return tuple(found.values())


def _sweep(entry: Entry) -> SweepSpec:
    parts = entry.mapping(tuple(SweepSpec.model_fields))
    readers: dict[str, Callable[[Entry], Any]] = {
        "model": _model,
        "recipes": lambda part: tuple(map(_recipe, part.items())),
        "devices": _devices,
        "scenarios": lambda part: tuple(map(_scenario, part.items())),
        "protocol": lambda part: part.valid(Protocol, part.value()),
        "schedule": _schedule,
        "baseline": _baseline,
        "alerts": _alerts,
        "retention": lambda part: part.valid(SweepRetention, part.value()),
    }
    return entry.valid(
        SweepSpec, {key: readers[key](part) if key in readers else part.value() for key, part in parts.items()}
    )


def _model(entry: Entry) -> Frozen:
    if isinstance(entry.node, yaml.ScalarNode):
        return entry.valid(UploadedModel, {"ref": entry.node.value})
    keys = entry.mapping(())
    kind = next((name for name in _SOURCES if name in keys), None)
    if kind is None:
        raise entry.wrong(
            f"says not where it comes from.{did_you_mean(next(iter(keys), ''), tuple(_SOURCES))}",
            "Write the name of an uploaded model, or one of file:, git:, mlflow:.",
        )
    model, field = _SOURCES[kind]
    allowed = tuple(name for name in model.model_fields if name not in ("kind", field))
    entry.mapping((kind, *allowed))
    fields = {field if key == kind else key: part.value() for key, part in keys.items()}
    if isinstance(fields.get("export"), str):
        try:
            fields["export"] = tuple(shlex.split(fields["export"]))
        except ValueError as error:
            raise keys["export"].wrong(f"is no command: {error}", "Write it as a list of words.") from error
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = kind if first["loc"][:1] == (field,) else str(first["loc"][0])
        what = "is missing" if first["type"] == "missing" else f"cannot be used: {lower(first['msg'])}"
        raise entry.inner((where,)).wrong(what, "Correct it (docs/sweeps.md).") from error


def _recipe(entry: Entry) -> Recipe:
    from farm.recipes.presets import parse

    value = entry.value()
    if not isinstance(value, str | dict):
        raise entry.wrong("is no recipe", "Write a preset's name, or {runtime: NAME, …} (docs/recipes.md).")
    try:
        return parse(value)
    except UserError as error:
        raise entry.passing_on(error) from error


def _devices(entry: Entry) -> str:
    text = entry.value()
    if not isinstance(text, str):
        raise entry.wrong("is no selector", "Write one such as platform=android,memory_gib>=8, in quotes if need be.")
    try:
        selectors.parse(text)
    except UserError as error:
        raise entry.passing_on(error) from error
    return text


def _scenario(entry: Entry) -> Scenario:
    value = entry.value()
    return entry.valid(Scenario, {"name": value} if isinstance(value, str) else value)


def _schedule(entry: Entry) -> Schedule:
    value = entry.value()
    found = entry.valid(Schedule, {"cron": value} if isinstance(value, str) else value)
    try:
        schedule.check(found)
    except UserError as error:
        place = entry.inner((error.details["key"],)) if isinstance(value, dict) else entry
        raise place.passing_on(error) from error
    return found


def _baseline(entry: Entry) -> Baseline:
    if isinstance(entry.node, yaml.ScalarNode):
        fields: dict[str, Any] = {"mode": entry.node.value}
        if entry.node.value == "pinned":
            raise entry.wrong("names no run", "Write baseline: {pinned: RUN}.")
        return entry.valid(Baseline, fields)
    parts = entry.mapping(("window", "pinned", "last-trusted"))
    if len(parts) != 1:
        raise entry.wrong("says not one thing", "Write last-trusted, {window: NIGHTS} or {pinned: RUN}.")
    ((mode, part),) = parts.items()
    field = {"window": "nights", "pinned": "run_id"}.get(mode)
    if field is None:
        return Baseline(mode="last-trusted")
    try:
        return Baseline.model_validate({"mode": mode, field: part.value()})
    except ValidationError as error:
        raise part.wrong(f"cannot be used: {lower(error.errors()[0]['msg'])}", "Give a number.") from error


def _alerts(entry: Entry) -> tuple[AlertRule, ...]:
    return tuple(_rule(metric, part) for metric, part in entry.mapping(tuple(QUANTITIES)).items())


def _rule(metric: str, entry: Entry) -> AlertRule:
    text = entry.node.value.strip() if isinstance(entry.node, yaml.ScalarNode) else ""
    percent, points = _PERCENT.fullmatch(text), _POINTS.fullmatch(text)
    limit = {"max_change_ratio": percent} if percent else {"max_drop": points}
    try:
        fields = {field: float(Decimal(match[1]) / 100) for field, match in limit.items() if match}
        rule = AlertRule.model_validate({"metric": metric, **fields})
        check_rule(rule)
    except (ValidationError, InvalidOperation) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else f"{text} is no number"
        raise entry.wrong(f"cannot be used: {lower(what)}", "Write 3%, or of a score 1 point.") from error
    except UserError as error:
        raise entry.passing_on(error) from error
    return rule


def dump(spec: SweepSpec) -> str:
    """As a document that ``sweeps`` reads as the same sweep; what is as it would be anyway is left out."""
    plain = spec.model_dump(mode="json", exclude_defaults=True, exclude={"model", "alerts", "baseline", "recipes"})
    fields: dict[str, Any] = {"name": spec.name, "model": plain_model(spec), "recipes": _plain_recipes(spec), **plain}
    if "scenarios" in fields:
        fields["scenarios"] = [each or "single-stream" for each in fields["scenarios"]]
    if spec.baseline != Baseline():
        amount = {"window": spec.baseline.nights, "pinned": spec.baseline.run_id}.get(spec.baseline.mode)
        fields["baseline"] = {spec.baseline.mode: amount} if amount is not None else spec.baseline.mode
    if spec.alerts != SweepSpec.model_fields["alerts"].default:
        fields["alerts"] = {rule.metric: _plain_limit(rule) for rule in spec.alerts}
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110)
    return text


def plain_model(spec: SweepSpec) -> Any:
    """As a document has it: a name, or a mapping whose first key is the kind of source."""
    if isinstance(spec.model, UploadedModel):
        return spec.model.ref
    field = _SOURCES[spec.model.kind][1]
    rest = spec.model.model_dump(mode="json", exclude={"kind", field}, exclude_defaults=True)
    return {spec.model.kind: getattr(spec.model, field), **rest}


def _plain_recipes(spec: SweepSpec) -> list[Any]:
    from farm.recipes.presets import names, parse

    presets = set(names())
    return [
        recipe.name if recipe.name in presets and parse(recipe.name) == recipe else recipe.model_dump(mode="json")
        for recipe in spec.recipes
    ]


def _plain_limit(rule: AlertRule) -> str:
    limit = rule.max_drop if rule.max_drop is not None else rule.max_change_ratio or 0.0
    hundredfold = f"{(Decimal(repr(limit)) * 100).normalize():f}"
    if rule.max_drop is None:
        return f"{hundredfold}%"
    return f"{hundredfold} point{'' if hundredfold == '1' else 's'}"


def _no_yaml(error: yaml.YAMLError, file: str) -> UserError:
    mark = getattr(error, "problem_mark", None)
    where = f"{file}, line {mark.line + 1}" if mark else file
    what = getattr(error, "problem", None) or str(error)
    remedy = "Correct it there; text that begins with * or holds a colon goes in quotes."
    return UserError(f"{where}: this is no YAML: {what}.", remedy=remedy, details={"file": file})
