"""Why something failed, as part of a result."""

from __future__ import annotations

from farm.errors import FarmError, Fault
from farm.types.base import Frozen


class Failure(Frozen):
    """Why a build, attempt or job failed. Part of the result, never hidden."""

    fault: Fault
    code: str
    message: str
    remedy: str
    log_tail: str = ""

    @classmethod
    def of(cls, error: FarmError, log_tail: str = "") -> Failure:
        return cls(
            fault=error.fault, code=error.code, message=error.message, remedy=error.remedy, log_tail=log_tail[-4000:]
        )

    def __str__(self) -> str:
        return f"[{self.fault}] {self.message} {self.remedy}".rstrip()
