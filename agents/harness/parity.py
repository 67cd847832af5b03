"""How far the outputs on the device are from what PyTorch answered. Pure functions over arrays.

All figures are computed in float64. Elements that are not finite in the output or in the reference are left out of
them; those of the output are counted instead. With several outputs each is compared with its own reference, and the
worst output speaks: a small output must not hide behind a large one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agents.harness.failure import Failure
from agents.harness.tensors import Array, describe

SNR_LIMIT_DB = -20 * math.log10(np.finfo(np.float64).eps)  # 313 dB: what float64 resolves; equal arrays have this
TOP = 5


@dataclass(frozen=True)
class Parity:
    """The fields of ``farm.types.Parity``.

    ``max_abs_error`` and ``reference_abs_max`` belong to the output where their ratio is largest. ``max_rel_error`` is
    the largest |output - reference| / |reference| over elements whose reference is not 0. ``cosine`` and ``snr_db``
    (10 log10 of signal over error power, within ±313 dB) are taken over all samples of an output together, the lowest
    output counts. ``top1_agreement`` is the share of rows with the same largest element; only where the program has one
    output and it looks like rows of class scores: floating point, two dimensions, at least two columns.
    ``top5_agreement`` is the share of rows whose largest element in the reference is among the five largest of the
    output; only where there are more than five columns.
    """

    samples: int
    max_abs_error: float
    max_rel_error: float
    reference_abs_max: float
    cosine: float
    snr_db: float
    top1_agreement: float | None
    top5_agreement: float | None


class _Distance:
    """Running sums over the samples of one output."""

    def __init__(self) -> None:
        self.elements = 0
        self.dot = self.output_power = self.reference_power = self.error_power = 0.0
        self.max_abs_error = self.max_rel_error = self.reference_abs_max = 0.0

    def add(self, output: Array, reference: Array) -> None:
        finite = np.isfinite(output) & np.isfinite(reference)
        a, b = output[finite].astype(np.float64), reference[finite].astype(np.float64)
        if not a.size:
            return
        error, size = np.abs(a - b), np.abs(b)
        self.elements += a.size
        self.dot += float(a @ b)
        self.output_power += float(a @ a)
        self.reference_power += float(b @ b)
        self.error_power += float(error @ error)
        self.max_abs_error = max(self.max_abs_error, float(error.max()))
        self.reference_abs_max = max(self.reference_abs_max, float(size.max()))
        self.max_rel_error = max(self.max_rel_error, float(np.max(error[size > 0] / size[size > 0], initial=0.0)))

    @property
    def error_ratio(self) -> float:
        if self.reference_abs_max:
            return self.max_abs_error / self.reference_abs_max
        return math.inf if self.max_abs_error else 0.0

    @property
    def cosine(self) -> float:
        """1 when both are all zeros, 0 when one of them is."""
        if not self.output_power or not self.reference_power:
            return 1.0 if self.output_power == self.reference_power else 0.0
        return max(-1.0, min(1.0, self.dot / math.sqrt(self.output_power) / math.sqrt(self.reference_power)))

    @property
    def snr_db(self) -> float:
        if not self.error_power:
            return SNR_LIMIT_DB
        if not self.reference_power:
            return -SNR_LIMIT_DB
        ratio_db = 10 * (math.log10(self.reference_power) - math.log10(self.error_power))
        return max(-SNR_LIMIT_DB, min(SNR_LIMIT_DB, ratio_db))


class _Agreement:
    """Counts of rows of class scores."""

    def __init__(self) -> None:
        self.rows = self.same_first = self.rows_of_many = self.first_among_five = 0

    def add(self, output: Array, reference: Array) -> None:
        first = np.argmax(reference, axis=1)
        self.rows += len(reference)
        self.same_first += int(np.sum(np.argmax(output, axis=1) == first))
        if reference.shape[1] > TOP:
            among = np.argpartition(-output.astype(np.float64), TOP - 1, axis=1)[:, :TOP]
            self.rows_of_many += len(reference)
            self.first_among_five += int(np.sum(np.any(among == first[:, None], axis=1)))

    @property
    def top1(self) -> float | None:
        return self.same_first / self.rows if self.rows else None

    @property
    def top5(self) -> float | None:
        return self.first_among_five / self.rows if self.rows and self.rows_of_many == self.rows else None


def compare(pairs: Iterable[tuple[Sequence[Array], Sequence[Array]]]) -> tuple[Parity | None, int]:
    """Parity over (outputs, reference outputs) of every sample, and how many output elements are not finite.

    Parity is None when no element is finite on both sides. Raises Failure ``wrong-output-count`` or
    ``wrong-output-shape``.
    """
    distances: list[_Distance] = []
    samples = non_finite = 0
    scores, agreement = True, _Agreement()
    for outputs, references in pairs:
        _check(outputs, references, samples)
        distances = distances or [_Distance() for _ in references]
        for distance, output, reference in zip(distances, outputs, references, strict=True):
            non_finite += int(np.size(output) - np.count_nonzero(np.isfinite(output)))
            distance.add(output, reference)
        scores = scores and len(references) == 1 and _is_scores(references[0])
        if scores:
            agreement.add(outputs[0], references[0])
        samples += 1
    compared = [distance for distance in distances if distance.elements]
    if not compared:
        return None, non_finite
    worst = max(compared, key=lambda distance: distance.error_ratio)
    return Parity(
        samples=samples,
        max_abs_error=worst.max_abs_error,
        max_rel_error=max(distance.max_rel_error for distance in compared),
        reference_abs_max=worst.reference_abs_max,
        cosine=min(distance.cosine for distance in compared),
        snr_db=min(distance.snr_db for distance in compared),
        top1_agreement=agreement.top1 if scores else None,
        top5_agreement=agreement.top5 if scores else None,
    ), non_finite


def _is_scores(reference: Array) -> bool:
    return reference.ndim == 2 and reference.shape[1] >= 2 and np.issubdtype(reference.dtype, np.floating)


def _check(outputs: Sequence[Array], references: Sequence[Array], sample: int) -> None:
    remedy = "The conversion changed what the program returns: choose another recipe for this model, or report it."
    if len(outputs) != len(references):
        message = f"The program returned {len(outputs)} outputs, PyTorch {len(references)} (parity input {sample})."
        raise Failure("wrong-output-count", message, remedy=remedy, fault="recipe")
    for index, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        if output.shape != reference.shape:
            message = (
                f"Output {index} is {describe(output)}, PyTorch's is {describe(reference)} (parity input {sample})."
            )
            raise Failure("wrong-output-shape", message, remedy=remedy, fault="recipe")
