"""Which files a bundle is made of: version and SHA-256 of each, in a file that is committed.

What is locked is what is built; another file of the same name is refused. Debian's point releases replace packages:
then a lock is made anew and looked at (docs/phone-runtime.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ValidationError

from agents.phone_runtime.bundle import Abi
from farm.errors import ConfigError
from farm.types.base import Frozen, Sha256

FOLDER = Path(__file__).with_name("locks")


class Deb(Frozen):
    """A package of Debian."""

    version: str
    sha256: Sha256
    size_bytes: int


class Wheel(Frozen):
    version: str
    filename: str
    sha256: Sha256
    size_bytes: int


class Lock(Frozen):
    """``debs`` by package name; ``wheels`` by the name that their requirement has."""

    abi: Abi
    suite: str
    debs: dict[str, Deb]
    wheels: dict[str, Wheel]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ConfigError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ConfigError(
                f"The lock {path} cannot be used: {error}.", remedy="Make one with `farm phone-runtime lock`."
            ) from error

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n")


def path_of(abi: Abi) -> Path:
    return FOLDER / f"{abi}.json"
