"""Why something failed, as part of a result."""

from __future__ import annotations

from farm.errors import FarmError, Fault
from farm.types.base import Blob, Frozen


class Failure(Frozen):
    """Why a build, attempt or job failed. Part of the result, never hidden. ``log``: of a build."""

    fault: Fault
    code: str
    message: str
    remedy: str
    log_tail: str = ""
    log: Blob | None = None

    @classmethod
    def of(cls, error: FarmError, log_tail: str = "", log: Blob | None = None) -> Failure:
        return cls(
            fault=error.fault,
            code=error.code,
            message=error.message,
            remedy=error.remedy,
            log_tail=log_tail[-4000:],
            log=log,
        )

    def __str__(self) -> str:
        return f"[{self.fault}] {self.message} {self.remedy}".rstrip()
