"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from farm.errors import ConflictError
from farm.tuning.goal import Goal
from farm.types import Recipe

if TYPE_CHECKING:
    import pandas
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table


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


class Tuning:
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

    def to_pandas(self) -> pandas.DataFrame:
        import pandas

        return pandas.DataFrame(self.to_dict())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table()
        kept = sum(not self.goal.broken(candidate.figures) for candidate in self.candidates if candidate.full)
        stopped = sum(not candidate.full for candidate in self.candidates)
        yield (
            f"{len(self.candidates)} candidates in {self.seconds:.0f} s: {stopped} given up early, "
            f"{sum(candidate.reused for candidate in self.candidates)} known already, {kept} within the constraints."
        )

    def __str__(self) -> str:
        from rich.console import Console

        text = StringIO()
        Console(file=text, width=150).print(self)
        return text.getvalue()

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(title="Pareto front" if self.front else "No candidate keeps the constraints: the nearest")
        for column in ("recipe", "threads", *self.goal.metrics, "job"):
            table.add_column(column, justify="left" if column == "recipe" else "right")
        measured = [candidate for candidate in self.candidates if candidate.figures]
        shown = self.front or sorted(measured, key=lambda candidate: self.goal.score(candidate.figures))[:5]
        for candidate in shown:
            figures = (candidate.figures.get(metric) for metric in self.goal.metrics)
            cells = ["-" if figure is None else f"{figure:.6g}" for figure in figures]
            table.add_row(candidate.recipe.name, str(candidate.threads), *cells, ", ".join(map(str, candidate.jobs)))
        return table
