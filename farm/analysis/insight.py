"""Figures beside latency: size of the program, delegate coverage, course and growth of memory, cost of loading."""

from __future__ import annotations

from typing import Any

from farm.types import Delegation, JobOutcome

_NAMED = 3  # operator types that a sentence names


def columns(outcome: JobOutcome) -> dict[str, Any]:
    """Flat and ready for JSON; what is absent is None."""
    report = outcome.artifact.report if outcome.artifact else None
    result = outcome.result
    course, cost = (result.memory_course, result.load_cost) if result else (None, None)
    growth = result.memory_growth_bytes if result else None
    return {
        "parameters": report.parameters if report else None,
        "flops": report.flops if report else None,
        "delegated_ratio": delegated_ratio(report.delegation) if report and report.delegation else None,
        "delegation": coverage(report.delegation) if report and report.delegation else None,
        "load_read_seconds": cost.read_seconds if cost else None,
        "load_cached_ratio": cost.cached_ratio if cost else None,
        "load_storage_bytes": cost.storage_bytes if cost else None,
        "load_requested_bytes": cost.requested_bytes if cost else None,
        "memory_after_import_bytes": course.after_import_bytes if course else None,
        "memory_after_load_bytes": course.after_load_bytes if course else None,
        "memory_after_first_inference_bytes": course.after_first_inference_bytes if course else None,
        "memory_loaded_bytes": course.loaded_bytes if course else None,
        "memory_growth_bytes": growth.value if growth else None,
        "memory_growth_low_bytes": growth.low if growth else None,
        "memory_growth_high_bytes": growth.high if growth else None,
    }


def delegated_ratio(delegation: Delegation) -> float | None:
    """Share of the operators that a delegate took, 0 to 1; None for a program without any."""
    taken, left = sum(delegation.operators.values()), sum(delegation.left_over.values())
    return taken / (taken + left) if taken + left else None


def coverage(delegation: Delegation) -> str:
    """``98 % of operators on XNNPACK; 3 x aten.mean.out left``."""
    whole = sum(delegation.operators.values()) + sum(delegation.left_over.values())
    if not whole:
        return "no operators"
    shares = [
        f"{_percent(count, whole)}{'' if index else ' of operators'} on {where}"
        for index, (where, count) in enumerate(_largest(delegation.operators))
    ]
    told = ", ".join(shares) or "no operator is delegated"
    left = _largest(delegation.left_over)
    if not left:
        return told
    named = ", ".join(f"{count} x {name}" for name, count in left[:_NAMED])
    more = sum(count for _, count in left[_NAMED:])
    return f"{told}; {named}{f' and {more} more' if more else ''} left"


def _percent(count: int, whole: int) -> str:
    """Rounded away from 0 and from all, so that 100 % leaves nothing over."""
    rounded = round(100 * count / whole)
    return f"{min(max(rounded, 1 if count else 0), 99 if count < whole else 100)} %"


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
