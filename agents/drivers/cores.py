"""Which CPUs a scenario is pinned to. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from farm.errors import RecipeError
from farm.types import CpuCluster, Scenario


def pinned(scenario: Scenario, available: Sequence[int], clusters: Sequence[CpuCluster], device: str) -> list[int]:
    """Of one cluster all CPUs; without ``cores`` the last ``threads`` ones: interrupts tend to land on CPU 0, and on
    phones the fastest have the highest numbers. ``clusters``: from the slowest to the fastest.

    Raises RecipeError where the device has no such cluster, or one of fewer CPUs than threads.
    """
    if scenario.cores is None:
        return sorted(available)[-scenario.threads :]
    named = {"all": tuple(available), **_named(clusters)}
    if scenario.cores not in named:
        raise RecipeError(
            f"{device} has no {scenario.cores} cores: its CPUs are {_told(clusters)}.",
            remedy=f"Ask for {', '.join(named)} there, or leave cores out.",
        )
    cpus = sorted(named[scenario.cores])
    if len(cpus) < scenario.threads:
        raise RecipeError(
            f"{device} has {len(cpus)} {scenario.cores} cores; {scenario.threads} threads were asked for.",
            remedy="Ask for fewer threads, or for cores=all.",
        )
    return cpus


def _named(clusters: Sequence[CpuCluster]) -> dict[str, tuple[int, ...]]:
    if len(clusters) < 2:
        return {}
    named = {"big": clusters[-1].cpus, "little": clusters[0].cpus}
    if between := [cpu for cluster in clusters[1:-1] for cpu in cluster.cpus]:
        named["mid"] = tuple(between)
    return named


def _told(clusters: Sequence[CpuCluster]) -> str:
    if len(clusters) < 2:
        return "all of one kind, as far as is known"
    return " + ".join(f"{len(cluster.cpus)} of {cluster.max_hertz / 1e9:.1f} GHz" for cluster in clusters)
