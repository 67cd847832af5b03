"""Bearer tokens: shown once, stored as their SHA-256.

A token has 256 random bits, so it needs neither salt nor a slow hash; and it is looked up by its hash, so
response times tell nothing about the tokens there are.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from farm.errors import UserError
from farm.store.database import Store
from farm.types import Name, Role

_PREFIX = "farm_"  # lets secret scanners recognize a token


def new_token() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def token_sha256(token: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def issue_token(store: Store, name: str, role: Role) -> str:
    """A new token, recorded. Raises ConflictError if the name is taken, UserError if it is no name."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UserError(
            f"{name!r} is no name for a token.",
            remedy="Use up to 100 letters, digits, dots, hyphens and underscores, the first a letter or digit.",
        ) from error
    token = new_token()
    with store.transaction() as tx:
        tx.add_token(name, role, token_sha256(token), datetime.now(UTC))
    return token
