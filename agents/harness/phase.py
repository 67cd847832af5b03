"""One step of a measurement: timed, recorded, and with a name for what goes wrong in it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from agents.harness.failure import Failure, Fault
from agents.harness.records import Writer

# Of a long reason: runtimes put what they were doing first and what went wrong last.
HEAD_CHARACTERS, TAIL_CHARACTERS = 500, 1500

# Whose side an error is on that the step itself did not expect, and what to do about it.
STEPS: dict[str, tuple[Fault, str]] = {
    "import": ("device", "Reinstall the runtime on the device's machine; its own reason is in the message."),
    "operators": ("user", "See the reason: does the file load where the model was made, with this runtime's version?"),
    "load": ("recipe", "The artifact does not suit this runtime or device: see the reason, try another recipe."),
    "first_inference": ("recipe", "See the runtime's reason; check the example inputs, or try another recipe."),
    "warmup": ("recipe", "The first inference succeeded and a later one did not: see the runtime's reason."),
    "measured": ("recipe", "The warm-up succeeded and a later inference did not: see the runtime's reason."),
    "growth": ("recipe", "The measured inferences succeeded and a later one did not: see the runtime's reason."),
    "profile": ("device", "Measure without a profile."),
    "parity": ("recipe", "See the runtime's reason; check that the parity inputs are like the example inputs."),
    "processing": ("user", "See the reason; check the declared steps against the model's inputs and outputs."),
    "evaluation": ("recipe", "See the runtime's reason; check that the evaluation inputs are like the example inputs."),
}


class Step:
    """Context of one step. An exception inside that is no Failure yet becomes Failure ``<name>-failed`` with its
    reason; ``seconds`` is how long it took."""

    def __init__(self, name: str, doing: str) -> None:
        self._name, self._doing = name, doing
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._begin = time.perf_counter_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.seconds = (time.perf_counter_ns() - self._begin) / 1e9
        if isinstance(error, MemoryError):
            remedy = "Free memory on the device, use a larger one, or a smaller model."
            raise Failure("out-of-memory", f"No memory left {self._doing}.", remedy=remedy, fault="device") from error
        if isinstance(error, Exception) and not isinstance(error, Failure):
            fault, remedy = STEPS[self._name]
            message = f"Failed {self._doing}: {_shortened(f'{type(error).__name__}: {error}')}"
            raise Failure(f"{self._name.replace('_', '-')}-failed", message, remedy=remedy, fault=fault) from error


class Phase(Step):
    """A step that writes a ``phase`` record when it succeeds."""

    def __init__(self, name: str, doing: str, writer: Writer) -> None:
        super().__init__(name, doing)
        self._writer = writer

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        if error is None:
            self._writer.write("phase", name=self._name, seconds=self.seconds)


def _shortened(reason: str) -> str:
    if len(reason) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return reason
    return f"{reason[:HEAD_CHARACTERS]} … {reason[-TAIL_CHARACTERS:]}"
