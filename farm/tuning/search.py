"""From the arguments of ``Client.tune`` to a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from farm import selectors
from farm.errors import UserError
from farm.submission import is_uploaded
from farm.tuning.goal import Goal
from farm.tuning.outcome import Tuning
from farm.tuning.space import space
from farm.tuning.trial import Task, check_metrics
from farm.types import Model, Protocol, Transform

if TYPE_CHECKING:
    from farm.client import Client


def tune(
    client: Client,
    model: Any,
    *,
    devices: str,
    objective: str | Sequence[str],
    constraints: Mapping[str, str] | Sequence[str],
    budget: int,
    threads: Sequence[int],
    before: Sequence[Sequence[Transform]],
    protocol: Protocol,
    parallel: int,
    seed: int,
    inputs: Mapping[str, Any],
) -> Tuning:
    """See ``Client.tune``. Everything that can be wrong is looked at before anything is uploaded or started."""
    if budget < 1 or parallel < 1:
        raise UserError(f"budget={budget}, parallel={parallel} cannot be used.", remedy="Give at least 1 of each.")
    goal = Goal.parse(objective, constraints)
    check_metrics(goal.metrics)
    selector = selectors.parse(devices)
    matched = [device for device in client.devices() if selector.matches(device)]
    if not matched:
        raise UserError(f"No device matches {devices!r}.", remedy="`farm devices` lists them.")
    target = _target(client, model, inputs)
    infos = [info for info in client.recipes() if target.spec.format in info.accepts]
    runtimes = frozenset.intersection(*(frozenset(device.facts.runtimes) for device in matched))
    searched = space(infos, runtimes, [tuple(steps) for steps in before], threads)
    task = Task(
        url=client.url,
        token=client.connection.token or "",
        model=target.id,
        devices=devices,
        goal=goal,
        protocol=protocol,
        search=f"search for {target.spec.name}",
    )
    from farm.cluster.search import search

    return search(task, searched, budget=budget, parallel=parallel, seed=seed)


def _target(client: Client, model: Any, inputs: Mapping[str, Any]) -> Model:
    if isinstance(model, Model):
        return model
    if is_uploaded(model) and not inputs:
        return client.model(model)
    return client.add_model(model, **inputs)
