"""Who calls, and what their role may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from farm.errors import AuthError, ForbiddenError
from farm.server.resources import Farm
from farm.server.tokens import token_sha256
from farm.store.reading import Token
from farm.types import Role

_bearer = HTTPBearer(auto_error=False, description="A token of the farm, as `farm up` prints it.")


def _caller(farm: Farm, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Token:
    if credentials is None:
        raise AuthError("This farm needs a token.", remedy="Set FARM_TOKEN, or token in farm.toml.")
    with farm.store.reading() as reading:
        token = reading.token(token_sha256(credentials.credentials))
    if token is None:
        raise AuthError("This farm does not know the token.", remedy="Check FARM_TOKEN; it may have been revoked.")
    return token


def _allow(*roles: Role) -> Callable[[Token], Awaitable[Token]]:
    allowed = {*roles, Role.ADMIN}

    async def check(caller: Annotated[Token, Depends(_caller)]) -> Token:
        if caller.role not in allowed:
            raise ForbiddenError(
                f"The token {caller.name!r} has the role {caller.role}, which may not do this.",
                remedy=f"Use a token with the role {' or '.join(sorted(allowed))}.",
            )
        return caller

    return check


Anyone = Annotated[Token, Depends(_allow(*Role))]
Reader = Annotated[Token, Depends(_allow(Role.VIEWER, Role.USER))]
BlobReader = Annotated[Token, Depends(_allow(Role.VIEWER, Role.USER, Role.AGENT))]
Writer = Annotated[Token, Depends(_allow(Role.USER))]
BlobWriter = Annotated[Token, Depends(_allow(Role.USER, Role.AGENT))]
Joiner = Annotated[Token, Depends(_allow(Role.AGENT))]
Admin = Annotated[Token, Depends(_allow())]
