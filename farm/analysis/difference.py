"""Two runs figure by figure: what changed, by how much, and whether that can be told from chance. Pure and light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from io import StringIO
from typing import TYPE_CHECKING, Any

from farm.analysis.change import Change, Pair, Place, lack
from farm.analysis.quantities import QUANTITIES, quantity
from farm.errors import UserError
from farm.types import JobOutcome, Run

if TYPE_CHECKING:
    import pandas
    from rich.console import Console, ConsoleOptions, RenderResult

# What is shown unless somebody asks for more; only where there is such a figure.
SHOWN = ("latency_p50", "latency_p95", "memory_peak", "artifact_size", "energy", "score")


class Difference:
    """Run ``now`` against run ``before``: each variant, device and scenario with itself.

    Virtual devices are never mixed with real ones: where there are both, the virtual ones are left out (``left_out``
    counts their places) unless ``include_virtual``. Jobs of other versions than their run's (measured in turns to
    confirm a regression) are no part of it; of repeats in one run the last one with a result counts.
    """

    def __init__(
        self,
        before: Run,
        now: Run,
        outcomes_before: Iterable[JobOutcome],
        outcomes_now: Iterable[JobOutcome],
        *,
        include_virtual: bool = False,
        metrics: Sequence[str] = (),
    ) -> None:
        self.before, self.now = before, now
        self.metrics = tuple(quantity(name) for name in metrics)
        old, new = _by_place(before, outcomes_before), _by_place(now, outcomes_now)
        places = sorted({*old, *new})
        real = [place for place in places if not place.virtual]
        shown = places if include_virtual or not real else real
        self.left_out = len(places) - len(shown)
        self.pairs = tuple(Pair(place, old.get(place), new.get(place)) for place in shown)

    @property
    def title(self) -> str:
        """``mobilenet: run 12 (pr-7) against run 9 (main)``."""
        told = (f"run {run.id}" + (f" ({run.spec.name})" if run.spec.name else "") for run in (self.now, self.before))
        return f"{self.now.model_name}: {' against '.join(told)}"

    @property
    def virtual(self) -> bool:
        """Whether any of it comes from devices that do not exist."""
        return any(pair.place.virtual for pair in self.pairs)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Place by place, of the metrics asked for, or of all that either run has a figure of."""
        found = (pair.change(each) for pair in self.pairs for each in self.metrics or QUANTITIES.values())
        return tuple(each for each in found if self.metrics or each.before or each.now)

    @property
    def shown(self) -> tuple[Change, ...]:
        """``changes`` without those that only some readers want."""
        return tuple(each for each in self.changes if self.metrics or each.quantity.name in SHOWN)

    @property
    def unmatched(self) -> tuple[Pair, ...]:
        """Without a result on one side or on both."""
        return tuple(pair for pair in self.pairs if None in pair.results)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is to be known before any figure is read."""
        return tuple(_run_notes(self))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "before": self.before.model_dump(mode="json"),
            "now": self.now.model_dump(mode="json"),
            "notes": list(self.notes),
            "virtual_places_left_out": self.left_out,
            "changes": [change.to_dict() for change in self.changes],
            "without_figures": [
                pair.place._asdict() | {"why": {"before": lack(pair.before), "now": lack(pair.now)}}
                for pair in self.unmatched
            ],
        }

    def to_pandas(self) -> pandas.DataFrame:
        """One row per variant, device, scenario and metric. Raises UserError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise UserError("pandas is not installed.", remedy="pip install 'torchfarm[pandas]'") from error
        return pandas.DataFrame.from_records(
            [each.to_dict() | {"notes": "; ".join(each.pair.notes)} for each in self.changes]
        )

    def to_markdown(self) -> str:
        """For a pull request or a wiki."""
        from farm.report.difference import markdown

        return markdown(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from farm.analysis.differencetable import blocks

        yield from blocks(self)

    def __str__(self) -> str:
        from rich.console import Console

        text = StringIO()
        Console(file=text, width=200, color_system=None, force_terminal=False, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        return f"<Difference of runs {self.before.id} and {self.now.id}: {len(self.pairs)} places>"

    def _repr_html_(self) -> str:
        from farm.report.difference import fragment

        return fragment(self)


def _run_notes(difference: Difference) -> Iterable[str]:
    before, now = difference.before, difference.now
    if before.model_name != now.model_name:
        yield f"The runs are of different models: {before.model_name} before, {now.model_name} now."
    elif before.model_id == now.model_id:
        yield "Both runs are of the same model, byte for byte."
    if before.spec.protocol != now.spec.protocol:
        old, new = before.spec.protocol.model_dump(), now.spec.protocol.model_dump()
        told = ", ".join(f"{name} {old[name]} before, {new[name]} now" for name in old if old[name] != new[name])
        yield f"The runs were measured by different protocols: {told}."
    if difference.virtual:
        yield "Figures of virtual devices are simulated: they say nothing about a model."
    if difference.left_out:
        yield f"Left out: {difference.left_out} variants on virtual devices."


def _by_place(run: Run, outcomes: Iterable[JobOutcome]) -> Mapping[Place, JobOutcome]:
    found: dict[Place, JobOutcome] = {}
    for outcome in outcomes:
        job, device = outcome.job, outcome.device
        if job.model_id not in (None, run.model_id):
            continue
        scenario = job.scenario.model_copy(update={"batch": job.batch})
        place = Place(device.facts.virtual, device.id, str(scenario), job.recipe.name)
        if outcome.result or place not in found:
            found[place] = outcome
    return found
