"""The exception tree: what failed, whose side it is on, and what to do about it.

    FarmError
    ├── UserError            fault="user"            the submission, the selector, a file, a token
    │   ├── ConfigError          settings that cannot be used
    │   ├── AuthError            missing or wrong token, role too low
    │   ├── NotFoundError        no such model, run, device
    │   ├── ConflictError        the thing is in a state that does not allow this
    │   ├── SelectorError        selector syntax, or it matches nothing
    │   ├── RecipeSpecError      unknown preset, runtime, transform, option
    │   ├── ModelError           does not export, unsafe file, wrong inputs
    │   ├── TooLargeError        upload over the limit
    │   ├── QuotaError           more jobs, or devices for longer, than one user may have
    │   └── ChannelRefused       a notice that its receiver does not take, now or later
    ├── RecipeError          fault="recipe"          conversion failed, build over its limits, wrong numbers
    ├── DeviceError          fault="device"          harness crashed or timed out, device refused
    │   ├── DeviceTimeout        the device did not answer a command in time
    │   └── OutputCut            what it sent ends in the middle: never taken as a result
    ├── InfrastructureError  fault="infrastructure"  worker died, disk full, head unreachable, port taken
    │   ├── AttemptInterrupted   ended from outside: nothing is said of the device
    │   ├── NoBuilderError       no node of the cluster has the tools: another try would wait as long
    │   ├── DeviceBusyError      an attempt or a check still has it: ask again
    │   ├── ChannelUnavailable   a notice that its receiver may take later (details: retry_after_seconds, if it said)
    │   └── LinkLost             the cable, the network or the adb server between agent and device
    └── InternalError        fault="bug"             an invariant of ours does not hold

Every error has a stable ``code`` (API clients match on it), a ``message`` that says what failed, and a
``remedy`` that says what to do. The API renders them as RFC 9457 problem documents; jobs and builds keep
them as ``farm.types.Failure``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Fault = Literal["user", "recipe", "device", "infrastructure", "bug"]


class FarmError(Exception):
    """Base of all errors that Torchfarm raises on purpose."""

    fault: ClassVar[Fault] = "bug"
    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, remedy: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (Ray tasks); keyword-only arguments need help to be rebuilt.
        return _rebuild, (type(self), self.message, self.remedy, self.details)


def _rebuild(kind: type[FarmError], message: str, remedy: str, details: dict[str, Any]) -> FarmError:
    return kind(message, remedy=remedy, details=details)


class UserError(FarmError):
    fault = "user"
    code = "bad-request"
    http_status = 422


class ConfigError(UserError):
    code = "bad-config"


class AuthError(UserError):
    """Missing or unknown token (401). ``ForbiddenError`` is its sibling for a role that is too low (403)."""

    code = "unauthorized"
    http_status = 401


class ForbiddenError(AuthError):
    code = "forbidden"
    http_status = 403


class NotFoundError(UserError):
    code = "not-found"
    http_status = 404


class ConflictError(UserError):
    code = "conflict"
    http_status = 409


class SelectorError(UserError):
    """Selector that cannot be parsed (``details["position"]`` is the character) or that matches nothing."""

    code = "bad-selector"


class RecipeSpecError(UserError):
    code = "bad-recipe"


class ModelError(UserError):
    code = "bad-model"


class TooLargeError(UserError):
    code = "too-large"
    http_status = 413


class QuotaError(UserError):
    code = "over-quota"
    http_status = 429


class ChannelRefused(UserError):
    code = "notice-refused"


class RecipeError(FarmError):
    fault = "recipe"
    code = "build-failed"


class DeviceError(FarmError):
    fault = "device"
    code = "measurement-failed"


class DeviceTimeout(DeviceError):
    code = "device-timeout"


class OutputCut(DeviceError):
    code = "output-cut"


class InfrastructureError(FarmError):
    fault = "infrastructure"
    code = "infrastructure"
    http_status = 503


class AttemptInterrupted(InfrastructureError):
    code = "interrupted"


class NoBuilderError(InfrastructureError):
    code = "no-builder"


class DeviceBusyError(InfrastructureError):
    code = "device-busy"
    http_status = 409


class LinkLost(InfrastructureError):
    code = "link-lost"


class ChannelUnavailable(InfrastructureError):
    code = "channel-unavailable"


class InternalError(FarmError):
    fault = "bug"
    code = "internal"


def error_classes() -> list[type[FarmError]]:
    """All error classes, base first: the API documents each, the client rebuilds them by ``code``."""
    found: list[type[FarmError]] = []
    pending: list[type[FarmError]] = [FarmError]
    while pending:
        kind = pending.pop(0)
        found.append(kind)
        pending.extend(kind.__subclasses__())
    return found
