"""The one exception of the harness: what failed, whose side it is on, and what to do about it."""

from __future__ import annotations

from typing import Literal

Fault = Literal["user", "recipe", "device"]


class Failure(Exception):
    """Ends the measurement; becomes its ``error`` record.

    ``code`` is stable, ``message`` names the exact difference, ``remedy`` says what to do.
    """

    def __init__(self, code: str, message: str, *, remedy: str, fault: Fault) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy, self.fault = code, message, remedy, fault
