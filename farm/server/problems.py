"""Every error as an RFC 9457 problem document (``application/problem+json``), in answers and in OpenAPI."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic_core import to_jsonable_python
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from farm.errors import (
    AuthError,
    FarmError,
    ForbiddenError,
    InfrastructureError,
    InternalError,
    NotFoundError,
    UserError,
)
from farm.types import Problem

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_SHOWN_ERRORS = 10


def response(error: FarmError, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    problem = Problem(
        type=f"urn:torchfarm:problem:{error.code}",
        title=error.code.replace("-", " ").capitalize(),
        status=status or error.http_status,
        detail=error.message,
        code=error.code,
        fault=error.fault,
        remedy=error.remedy,
        details=to_jsonable_python(error.details, fallback=str, inf_nan_mode="strings"),
    )
    all_headers = dict(headers or {})
    if problem.status == HTTPStatus.UNAUTHORIZED:
        all_headers["WWW-Authenticate"] = "Bearer"
    return Response(problem.model_dump_json(), problem.status, all_headers, MEDIA_TYPE)


def documented(*kinds: type[FarmError], public: bool = False) -> dict[int | str, dict[str, Any]]:
    """OpenAPI ``responses`` of a route that can raise ``kinds``, beside what every route can answer."""
    everywhere: list[type[FarmError]] = [UserError, InternalError, InfrastructureError]
    guarded: list[type[FarmError]] = [] if public else [AuthError, ForbiddenError]
    codes: dict[int, list[str]] = {}
    for kind in dict.fromkeys([*kinds, *everywhere, *guarded]):
        codes.setdefault(kind.http_status, []).append(kind.code)
    return {
        status: {"model": Problem, "description": f"{HTTPStatus(status).phrase}. `code`: {', '.join(codes[status])}"}
        for status in sorted(codes)
    }


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error with a problem document, and say so in its OpenAPI."""
    app.add_exception_handler(FarmError, _farm_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _cut_upload)
    app.add_exception_handler(Exception, _unexpected)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]


def _farm_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FarmError)  # noqa: S101 - for the type checker
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s: %s", request.method, request.url.path, error, exc_info=error)
    return response(error)


def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
    # Not the values: they may be secret, or anything but JSON.
    errors = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()[:_SHOWN_ERRORS]]
    what = "; ".join(f"{one['where']}: {one['what']}" for one in errors)
    return response(
        UserError(
            f"The request cannot be used. {what}.",
            remedy="Correct it; the schema is at /api/v1/openapi.json.",
            details={"errors": errors},
        )
    )


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    where = f"{request.method} {request.url.path}"
    remedy = "The routes are at /api/v1/openapi.json; client and head should be of one version."
    if error.status_code == HTTPStatus.NOT_FOUND:
        return response(NotFoundError(f"This farm has no route {where}.", remedy=remedy))
    return response(UserError(f"{where}: {error.detail}.", remedy=remedy), error.status_code, error.headers)


def _cut_upload(request: Request, error: Exception) -> Response:
    log.info("%s %s: the client went away", request.method, request.url.path)
    return response(UserError("The upload was cut.", remedy="Send it again."))


def _unexpected(request: Request, error: Exception) -> Response:
    number = uuid.uuid4().hex[:12]
    log.error("Internal error %s in %s %s", number, request.method, request.url.path, exc_info=error)
    return response(
        InternalError(
            f"The farm made a mistake (error {number}).",
            remedy=f"Please report it with what its log says about {number}.",
            details={"error_id": number},
        )
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, answer in operation["responses"].items():
                    if int(status) >= HTTPStatus.BAD_REQUEST:
                        answer["content"] = {MEDIA_TYPE: next(iter(answer["content"].values()))}
        app.openapi_schema = schema
    return app.openapi_schema
