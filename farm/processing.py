"""Declared steps as they are taken where a model is uploaded from: all of them, so that builds get what the program
takes, with the time of those that are the host's."""

from __future__ import annotations

import time
from collections.abc import Sequence

from farm import steps
from farm.recipes import samples
from farm.recipes.samples import Sample
from farm.types import TensorSpec
from farm.types.steps import Step, on_device


class Processing:
    def __init__(self, before: tuple[Step, ...], after: tuple[Step, ...]) -> None:
        self.before, self.after = before, after
        self._host = tuple(step for step in before if step.where == "host")
        self._seconds: list[float] = []

    def before_model(self, given: Sequence[Sample], what: str) -> list[Sample]:
        """What the program takes. Raises ModelError naming the sample and the step."""
        if not self.before:
            return list(given)
        made = []
        for number, sample in enumerate(given):
            where = f"Sample {number} of the {what}"
            begin = time.perf_counter()
            handed = steps.run(self._host, sample, where)
            self._seconds.append(time.perf_counter() - begin)
            made.append(steps.run(on_device(self.before), handed, where))
        return made

    def after_model(self, outputs: Sequence[Sample]) -> None:
        """Raises ModelError where the steps cannot take what the model answers."""
        for sample in outputs:
            steps.run(self.after, sample, "After the model")

    def device_example(self, raw: Sample) -> list[Sample]:
        """What the device's steps take."""
        return [steps.run(self._host, raw, "The example")]

    def specs(self, raw: Sequence[TensorSpec], made: Sample) -> tuple[TensorSpec, ...]:
        """Of the program's inputs. What was declared is of the raw ones."""
        if not self.before:
            return tuple(raw)
        same = len(raw) == len(made)
        return samples.describe(made, [raw[n].name if same else f"input_{n}" for n in range(len(made))])

    @property
    def host_seconds(self) -> float | None:
        """Mean per sample; None without host steps."""
        return sum(self._seconds) / len(self._seconds) if self._host else None
