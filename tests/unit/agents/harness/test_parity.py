from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agents.harness.failure import Failure
from agents.harness.parity import SNR_LIMIT_DB, Parity, compare
from agents.harness.tensors import Array

FLOATS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=5),
    elements=st.floats(-1000, 1000, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3),
)


def compared(*pairs: tuple[list[Array], list[Array]]) -> Parity:
    parity, _ = compare(pairs)
    assert parity is not None
    return parity


@given(FLOATS)
def test_equal_outputs_have_no_distance(array: Array) -> None:
    parity = compared(([array], [array]))
    assert parity.max_abs_error == parity.max_rel_error == 0
    assert parity.cosine == pytest.approx(1)
    assert parity.snr_db == SNR_LIMIT_DB
    assert parity.samples == 1


@given(FLOATS.filter(np.any), st.floats(1.1, 10))
def test_a_scaled_output_keeps_its_direction_and_has_the_error_of_its_scale(array: Array, scale: float) -> None:
    parity = compared(([array.astype(np.float64) * scale], [array]))
    assert parity.cosine == pytest.approx(1)
    assert parity.max_rel_error == pytest.approx(scale - 1)
    assert parity.max_abs_error == pytest.approx((scale - 1) * parity.reference_abs_max)
    assert parity.snr_db == pytest.approx(-20 * np.log10(scale - 1), abs=1e-6)


@given(FLOATS.filter(np.any))
def test_the_figures_are_their_definitions(reference: Array) -> None:
    output = reference + np.float32(0.25)
    parity = compared(([output], [reference]))
    a, b = output.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    assert parity.max_abs_error == pytest.approx(np.abs(a - b).max())
    assert parity.reference_abs_max == np.abs(b).max()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    assert parity.cosine == pytest.approx(a @ b / norms if norms else 0, abs=1e-9)


def test_samples_are_taken_together() -> None:
    rows = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])]
    apart = compared(*(([row + 0.1], [row]) for row in rows))
    together = compared(([np.concatenate(rows) + 0.1], [np.concatenate(rows)]))
    assert apart.samples == 2
    assert apart.cosine == pytest.approx(together.cosine)
    assert apart.snr_db == pytest.approx(together.snr_db)


def test_a_small_output_does_not_hide_behind_a_large_one() -> None:
    large, small = np.array([1000.0, -1000.0]), np.array([1.0, -1.0])
    parity = compared(([large + 1, -small], [large, small]))
    assert parity.cosine == pytest.approx(-1)
    assert (parity.max_abs_error, parity.reference_abs_max) == (2, 1)


def test_zeros_have_a_direction_only_among_themselves() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    assert compared(([zeros], [zeros])).cosine == 1
    against = compared(([ones], [zeros]))
    assert against.cosine == 0
    assert against.snr_db == -SNR_LIMIT_DB


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_elements_that_are_not_finite_are_counted_and_left_out(bad: float) -> None:
    output, reference = np.array([1.0, bad, 3.0, bad]), np.array([1.0, 2.0, 3.0, np.inf])
    parity, non_finite = compare([([output], [reference])])
    assert non_finite == 2
    assert parity is not None
    assert parity.max_abs_error == 0
    assert parity.reference_abs_max == 3


def test_nothing_finite_means_no_parity() -> None:
    assert compare([([np.full(3, np.nan)], [np.ones(3)])]) == (None, 3)


def test_integers_and_booleans_are_compared_as_numbers() -> None:
    parity = compared(([np.array([1, 2]), np.array([True, False])], [np.array([1, 3]), np.array([True, False])]))
    assert parity.max_abs_error == 1
    assert parity.top1_agreement is None


def test_unsigned_and_far_integers_do_not_wrap() -> None:
    assert compared(([np.array([0], np.uint8)], [np.array([255], np.uint8)])).max_abs_error == 255


def test_top1_counts_rows_with_the_same_winner() -> None:
    reference = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)
    turned = np.array([[0.1, 0.9], [0.2, 0.8]], np.float32)
    assert compared(([reference], [reference]), ([turned], [reference])).top1_agreement == 0.75


@pytest.mark.parametrize(
    "reference",
    [
        np.ones((1, 1), np.float32),
        np.ones(4, np.float32),
        np.ones((1, 2, 2), np.float32),
        np.ones((1, 4), np.int64),
    ],
)
def test_top1_is_absent_where_outputs_are_no_rows_of_scores(reference: Array) -> None:
    assert compared(([reference], [reference])).top1_agreement is None


def test_top1_is_absent_with_several_outputs() -> None:
    scores = np.ones((1, 4), np.float32)
    assert compared(([scores, scores], [scores, scores])).top1_agreement is None


def test_another_number_of_outputs_is_the_recipes_fault() -> None:
    with pytest.raises(Failure, match="returned 1 outputs, PyTorch 2") as caught:
        compare([([np.ones(2)], [np.ones(2), np.ones(2)])])
    assert (caught.value.code, caught.value.fault) == ("wrong-output-count", "recipe")


def test_another_shape_is_named_with_both_shapes() -> None:
    with pytest.raises(Failure, match=r"Output 0 is float32\[1, 3\], PyTorch's is float32\[1, 4\]") as caught:
        compare([([np.ones((1, 3), np.float32)], [np.ones((1, 4), np.float32)])])
    assert caught.value.code == "wrong-output-shape"


@given(st.integers(0, 10_000), st.integers(6, 12))
def test_the_first_class_is_looked_for_among_the_five_largest(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    reference, output = random.normal(size=(2, 9, classes)).astype(np.float32)
    parity = compared(([output], [reference]))
    ranked = np.argsort(-output, axis=1)
    first = reference.argmax(axis=1)
    assert parity.top1_agreement == pytest.approx(np.mean(ranked[:, 0] == first))
    assert parity.top5_agreement == pytest.approx(np.mean([f in row[:5] for f, row in zip(first, ranked, strict=True)]))


def test_five_of_five_classes_are_no_agreement() -> None:
    assert compared(([np.eye(5)], [np.eye(5)])).top5_agreement is None
