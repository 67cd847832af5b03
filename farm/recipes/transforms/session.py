"""What a training runs in: it goes on from the last checkpoint, says how far it is, and keeps weights as earlier
transforms left them, zero or shared."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.transforms.snapshot import Snapshot
from farm.types import Distill

PROGRESS = "farm.progress: "  # a line of the build's log that goes on with a JSON object
_CHECKPOINT_SECONDS = 2.0  # between two, at least; and writing them takes no more than this part of the time:
_CHECKPOINT_SHARE = 0.05
_PROGRESS_SECONDS = 1.0
_CLUSTERS = 256  # different values in a tensor; more than that are no clusters

Inputs = tuple[Any, ...]


class Session:
    """``settings``: the recipe's; ``checkpoint``: the file to go on from; ``device``: where the student, the teacher
    and the data are.

    A training begins at ``resume(optimizer)`` and says ``done(step, loss, optimizer)`` after each step. ``note``: what
    the build's report should say of how it went.
    """

    def __init__(self, student: Any, settings: Distill, checkpoint: Path, device: Any) -> None:
        self.settings, self.device = settings, device
        self.first_step, self.losses = 0, list[float]()
        self._student, self._path = student, checkpoint
        self._trained_on, self._damage = device.type, ""
        self._constraints = Constraints(student)
        self._told = self._kept = time.monotonic()
        self._pause_seconds = _CHECKPOINT_SECONDS

    def resume(self, *optimizers: Any) -> int:
        """Take up the last checkpoint, if there is one that is sound. Returns the step to go on with: the one after the
        last where an earlier build trained the same student."""
        if not self._path.is_file():
            return self.first_step
        try:
            snapshot = Snapshot.read(self._path, dict(_state(self._student)))
        except RecipeError as error:
            self._damage = f" What an earlier build had left was discarded. {error.message}"
            self._path.unlink()
            return self.first_step
        self._load(snapshot, optimizers)
        print(f"{PROGRESS}{json.dumps({'resumed_at_step': self.first_step})}")  # noqa: T201
        return self.first_step

    def done(self, step: int, loss: float, *optimizers: Any) -> None:
        """After each step. Raises RecipeError where the loss is no number any more."""
        if not math.isfinite(loss):
            raise RecipeError(
                f"The training diverged: its loss is {loss} in step {step}.", remedy="Lower the learning_rate."
            )
        self._constraints.apply()
        self.losses.append(loss)
        now = time.monotonic()
        if now >= self._told + _PROGRESS_SECONDS or step + 1 == self.settings.steps:
            self._told = now
            said = {"step": step + 1, "steps": self.settings.steps, "loss": float(f"{loss:.4g}")}
            print(f"{PROGRESS}{json.dumps(said)}")  # noqa: T201
        if step + 1 == self.settings.steps:
            self.keep(step + 1)  # for other builds: nothing is left to optimize
        elif now >= self._kept + self._pause_seconds:
            self.keep(step + 1, *optimizers)

    def indices(self, count: int, step: int) -> list[int]:
        """Of the samples of a step: all in turn, in another order each time round; the same whenever it is asked."""
        import torch

        size = min(self.settings.batch_size, count)
        chosen = []
        for position in range(step * size, (step + 1) * size):
            turn = torch.Generator().manual_seed(self.settings.seed + position // count)
            chosen.append(int(torch.randperm(count, generator=turn)[position % count]))
        return chosen

    def keep(self, step: int, *optimizers: Any) -> None:
        """Write a checkpoint to go on from at ``step``. Appears whole or not at all."""
        began = time.monotonic()
        states = {place: optimizer.state_dict()["state"] for place, optimizer in enumerate(optimizers)}
        Snapshot(step, self.losses, self.device.type, dict(_state(self._student)), states).write(self._path)
        self._kept = time.monotonic()
        self._pause_seconds = max(_CHECKPOINT_SECONDS, (self._kept - began) / _CHECKPOINT_SHARE)

    @property
    def note(self) -> str:
        """Empty where the training said nothing of its steps."""
        if not self.losses:
            return self._damage.strip()
        steps, first, last = len(self.losses), self.losses[0], self.losses[-1]
        if self.first_step >= self.settings.steps:
            how = f"An earlier build trained it, in {steps} steps on {self._trained_on}"
        else:
            resumed = f", resumed at step {self.first_step}" if self.first_step else ""
            how = f"{steps} steps on {self.device.type}{resumed}"
        return f"{how}: the loss went from {first:.3g} to {last:.3g}.{self._damage}"

    def _load(self, snapshot: Snapshot, optimizers: tuple[Any, ...]) -> None:
        import torch

        with torch.no_grad():
            for name, tensor in _state(self._student):
                tensor.copy_(snapshot.student[name])
        if snapshot.step < self.settings.steps:
            for place, optimizer in enumerate(optimizers):
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": snapshot.optimizers.get(place, {}), "param_groups": groups})
        self.first_step, self.losses, self._trained_on = snapshot.step, list(snapshot.losses), snapshot.device


def _state(student: Any) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers, each once."""
    yield from student.named_parameters()
    yield from student.named_buffers()


class Constraints:
    """Of weight matrices and kernels as they are when this is made: zeros stay zero, and weights that share a value
    go on sharing one (they move together, by the mean of what each would have moved)."""

    def __init__(self, module: Any) -> None:
        self._rules = [rule for parameter in module.parameters() if (rule := _rule(parameter)) is not None]

    def __len__(self) -> int:
        return len(self._rules)

    def apply(self) -> None:
        import torch

        with torch.no_grad():
            for rule in self._rules:
                rule()


def _rule(parameter: Any) -> Callable[[], None] | None:
    import torch

    if parameter.ndim < 2 or not parameter.is_floating_point():
        return None
    values, labels = parameter.detach().unique(return_inverse=True)
    zeros = parameter.detach() == 0
    if len(values) <= _CLUSTERS and len(values) < parameter.numel():
        counts = torch.bincount(labels.flatten(), minlength=len(values)).to(parameter.dtype)

        def share() -> None:
            sums = torch.zeros_like(counts).scatter_add_(0, labels.flatten(), parameter.flatten())
            parameter.copy_((sums / counts)[labels].masked_fill_(zeros, 0))

        return share
    return (lambda: parameter.masked_fill_(zeros, 0)) if bool(zeros.any()) else None
