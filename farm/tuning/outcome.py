"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farm.analysis.notebook import Shown
from farm.analysis.sheet import Cell, Line, Sheet
from farm.errors import ConflictError
from farm.tuning.goal import Goal
from farm.types import Recipe


@dataclass(frozen=True)
class Candidate:
    """``full``: measured by the whole protocol; otherwise only looked at, and ``why`` says why it was given up."""

    recipe: Recipe
    threads: int
    figures: dict[str, float | None]
    jobs: tuple[int, ...]
    reused: bool
    full: bool
    why: str = ""


class Tuning(Shown):
    """``candidates`` in the order in which they were tried."""

    def __init__(self, goal: Goal, candidates: list[Candidate], seconds: float) -> None:
        self.goal, self.candidates, self.seconds = goal, tuple(candidates), seconds

    @property
    def front(self) -> tuple[Candidate, ...]:
        """Fully measured, within all constraints, and beaten by no other in every metric of the goal."""
        full = [candidate for candidate in self.candidates if candidate.full]
        winners = [full[index] for index in self.goal.front([candidate.figures for candidate in full])]
        unique = {(candidate.recipe.digest, candidate.threads): candidate for candidate in winners}
        return tuple(sorted(unique.values(), key=lambda candidate: self.goal.score(candidate.figures)))

    @property
    def best(self) -> Candidate:
        """Of the front, by the first objective. Raises ConflictError where nothing keeps the constraints."""
        if not self.front:
            raise ConflictError(
                "No candidate keeps all constraints: " + ", ".join(map(str, self.goal.constraints)) + ".",
                remedy="Look at the candidates' reasons; loosen a constraint or raise the budget.",
            )
        return self.front[0]

    def to_dict(self) -> list[dict[str, Any]]:
        winners = {id(candidate) for candidate in self.front}
        return [
            {
                "recipe": candidate.recipe.name,
                "threads": candidate.threads,
                **candidate.figures,
                "on_front": id(candidate) in winners,
                "full": candidate.full,
                "reused": candidate.reused,
                "why": candidate.why,
                "jobs": list(candidate.jobs),
            }
            for candidate in self.candidates
        ]

    def records(self) -> list[dict[str, Any]]:
        return self.to_dict()

    def drawing(self) -> dict[str, Any] | None:
        from farm.report.dots import candidates

        return candidates(self)

    def sheets(self) -> tuple[Sheet, ...]:
        full = [candidate for candidate in self.candidates if candidate.full]
        stopped, known = len(self.candidates) - len(full), sum(candidate.reused for candidate in self.candidates)
        kept = sum(not self.goal.broken(candidate.figures) for candidate in full)
        said = (
            f"{len(self.candidates)} candidates in {self.seconds:.0f} s: {stopped} given up early, {known} known "
            f"already, {kept} within the constraints."
        )
        measured = [candidate for candidate in self.candidates if candidate.figures]
        shown = self.front or sorted(measured, key=lambda candidate: self.goal.score(candidate.figures))[:5]
        lines = tuple(Line(self._cells(candidate), "trusted" if self.front else "") for candidate in shown)
        headings = (("recipe", ""), ("threads", ""), *((metric, "") for metric in self.goal.metrics), ("job", ""))
        title = "Pareto front" if self.front else "No candidate keeps the constraints: the nearest"
        return (Sheet(title, headings, lines, notes=(said,)),)

    def _cells(self, candidate: Candidate) -> tuple[Cell, ...]:
        found = [candidate.figures.get(metric) for metric in self.goal.metrics]
        texts = ["-" if figure is None else f"{figure:.6g}" for figure in found]
        jobs = ", ".join(map(str, candidate.jobs))
        return tuple((text, "") for text in (candidate.recipe.name, str(candidate.threads), *texts, jobs))
