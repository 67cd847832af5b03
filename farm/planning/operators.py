"""Whether this farm takes models with custom operators: they run outside of the builds' sandbox."""

from __future__ import annotations

from farm.config import Settings
from farm.errors import ForbiddenError, ModelError
from farm.types import ModelSpec


def check_operators(spec: ModelSpec, settings: Settings) -> None:
    """Raises ForbiddenError, ModelError. Asked at upload and at submission: the setting may have changed since."""
    fused = spec.fusion.parts if spec.fusion else ()
    if own := [part.name for part in fused if part.custom_operators]:
        raise ModelError(
            f"{own[0]} has custom operators, and models with those are not fused.",
            remedy="Fuse the modules before the upload (farm.fused), and give the operators with the one model.",
        )
    if spec.custom_operators and not settings.allow_custom_operators:
        files = ", ".join(operators.file.name for operators in spec.custom_operators)
        raise ForbiddenError(
            f"Model {spec.name} brings custom operators ({files}), which this farm does not run: they are code that "
            "devices would run outside of any sandbox.",
            remedy="An administrator who trusts everyone with a token sets allow_custom_operators = true in farm.toml "
            "on the head and on the machines with agents.",
        )
