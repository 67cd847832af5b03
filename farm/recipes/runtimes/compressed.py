"""Presets that a runtime shares with others: the PyTorch program is made smaller before the runtime takes it."""

from __future__ import annotations

from typing import Any

from farm.types import Distill, Palettize, Prune, Quantize, Recipe, Transform

_STRUCTURED = Prune(amount=0.5, structured=True)
_KINDS: dict[str, tuple[tuple[Transform, ...], str]] = {
    "pruned50": ((Prune(amount=0.5),), "half of the weights zero"),
    "pruned50-structured": ((_STRUCTURED,), "half of the channels gone"),
    "palettized4": ((Palettize(bits=4),), "weights share 16 values per tensor"),
    "distilled": ((_STRUCTURED, Distill()), "half of the channels gone, trained to answer like the original"),
    "distilled-int8": (
        (_STRUCTURED, Distill(), Quantize()),
        "half of the channels gone, trained to answer like the original, then static int8",
    ),
}


def presets(runtime: str, title: str, *kinds: str, prefix: str = "", **fields: Any) -> tuple[tuple[Recipe, str], ...]:
    """``kinds``: suffixes of names, as above. ``prefix``: of names, where it is not the runtime's; ``fields``: of the
    recipes."""
    return tuple(
        (
            Recipe(runtime, name=f"{prefix or runtime}-{kind}", transforms=_KINDS[kind][0], **fields),
            f"{title}, {_KINDS[kind][1]}.",
        )
        for kind in kinds
    )
