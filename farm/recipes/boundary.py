"""Where foreign code runs (exporters, converters, programs of users): it may raise anything, and what it says
is the most useful thing we can show. A ``Boundary`` turns that into one error of ours, with the foreign reason in it.
"""

from __future__ import annotations

import errno
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

from farm.errors import FarmError, InfrastructureError

REASON_CHARACTERS = 1500
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OURS = Path(__file__).resolve().parent.parent
_STDLIB = sysconfig.get_path("stdlib")
_TOOLS = {
    *("farm", "torch", "torchao", "executorch", "onnx", "onnxscript", "onnxruntime", "litert_torch", "numpy"),
    *("openvino", "nncf", "ncnn", "pnnx", "MNN", "tensorrt"),
}


class Boundary:
    """``with Boundary(RecipeError, "torch.onnx.export failed", "Look at ..."):`` around one call of foreign code.

    Our own errors, lack of memory and a full disk pass through under their own names.
    """

    def __init__(self, kind: type[FarmError], what: str, remedy: str) -> None:
        self._kind, self._what, self._remedy = kind, what, remedy

    def __enter__(self) -> Boundary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, (FarmError, MemoryError)):
            return
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise disk_full(self._what) from error
        where = user_code(error)
        place = f" At {where}." if where else ""
        raise self._kind(
            f"{self._what}: {reason(error)}{place}",
            remedy=self._remedy,
            details={"user_code": where} if where else {},
        ) from error


def disk_full(what: str) -> InfrastructureError:
    return InfrastructureError(
        f"{what}: the disk is full.", remedy="Free space in the folder for temporary files (TMPDIR), then try again."
    )


def reason(error: BaseException) -> str:
    """The error and what caused it, in its own words, cut to a length that fits a report."""
    text = _words(error)
    cause = error.__cause__
    while cause is not None:
        words = _words(cause)
        if words not in text:
            text = f"{text} Caused by {words}"
        cause = cause.__cause__
    return text if len(text) <= REASON_CHARACTERS else f"{text[: REASON_CHARACTERS - 1].rstrip()}…"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def user_code(error: BaseException) -> str:
    """``file:line, in function`` of the deepest frame that is neither PyTorch's nor ours, or ``""``."""
    found = ""
    current: BaseException | None = error
    while current is not None:
        for frame in traceback.extract_tb(current.__traceback__):
            if _is_user_file(frame.filename):
                found = f"{frame.filename}:{frame.lineno}, in {frame.name}"
        current = current.__cause__
    return found


def _is_user_file(filename: str) -> bool:
    path = Path(filename)
    if "site-packages" in path.parts[:-1]:
        return path.parts[path.parts.index("site-packages") + 1] not in _TOOLS
    return path.is_file() and not path.is_relative_to(_OURS) and not path.is_relative_to(_STDLIB)
