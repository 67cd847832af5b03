"""A labelled set to evaluate a model on (what is uploaded), and what came of it (part of a result)."""

from __future__ import annotations

from pydantic import Field, model_validator

from farm.types.base import Blob, Estimate, Frozen, Name


class EvaluationSpec(Frozen):
    """A labelled set.

    ``task``: ``classification``, ``regression``, or the name of an entry point of ``torchfarm.metrics``. ``inputs``: an
    ``.npz`` as the parity inputs are. ``labels``: an ``.npz`` that holds ``labels``, one per row of the outputs, or for
    other tasks arrays named ``"{sample}.{field}"``. ``reference_outputs``: what PyTorch answers, where the upload could
    say; otherwise the reference build computes them. ``threshold``: above it, the one score of a binary classifier says
    yes. ``options`` are the metric's.
    """

    task: Name
    inputs: Blob
    labels: Blob
    samples: int = Field(ge=1)
    class_names: tuple[str, ...] = ()
    threshold: float | None = None
    reference_outputs: Blob | None = None
    options: dict[str, str | int | float | bool] = {}


class RocCurve(Frozen):
    """Of one class against all others (``label``). Both rates run from 0 to 1, thinned to what a plot can show."""

    label: str
    auc: float
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


class Evaluation(Frozen):
    """How well a variant does on the labelled set, from outputs produced on the device, and how PyTorch does.

    ``drop``: how much worse the variant's ``score`` is than PyTorch's (negative: better), with an interval over the
    choice of the set's samples; ``method`` says how the interval was made. ``confusion[i][j]``: rows of class i that
    were taken for class j. What could not be computed is in ``absent`` with the reason. ``outputs``: the file of the
    device's outputs.
    """

    task: Name
    samples: int
    score: str
    higher_is_better: bool = True
    metrics: dict[str, float]
    reference_metrics: dict[str, float]
    drop: Estimate | None = None
    confidence: float
    method: str = ""
    changed_predictions: int | None = None  # rows that the variant puts into another class than PyTorch does
    class_names: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    curves: tuple[RocCurve, ...] = ()
    absent: dict[str, str] = {}
    outputs: Blob | None = None

    @model_validator(mode="after")
    def _scored(self) -> Evaluation:
        if self.score not in self.metrics or self.score not in self.reference_metrics:
            raise ValueError(f"the score {self.score!r} is not among the metrics")
        return self
