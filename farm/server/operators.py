"""Whether this farm takes models with custom operators: they run outside of the builds' sandbox."""

from __future__ import annotations

from farm.config import Settings
from farm.errors import ForbiddenError
from farm.types import ModelSpec


def check_operators(spec: ModelSpec, settings: Settings) -> None:
    """Raises ForbiddenError. Asked at upload and again at submission: the setting may have changed since."""
    if spec.custom_operators and not settings.allow_custom_operators:
        files = ", ".join(operators.file.name for operators in spec.custom_operators)
        raise ForbiddenError(
            f"Model {spec.name} brings custom operators ({files}), which this farm does not run: they are code that "
            "devices would run outside of any sandbox.",
            remedy="An administrator who trusts everyone with a token sets allow_custom_operators = true in farm.toml "
            "on the head and on the machines with agents.",
        )
