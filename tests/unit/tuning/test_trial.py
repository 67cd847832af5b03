"""Whether a candidate of a search is given up after the first look at it, and what is said of it."""

import pytest

from farm.tuning import trial
from farm.tuning.goal import Goal
from farm.types import Parity
from tests.unit.analysis.outcomes import finished, series

SAMPLES = series(0.01, 60)
WRONG = Parity(samples=1, max_abs_error=9.0, max_rel_error=9.0, reference_abs_max=1.0, cosine=0.2, snr_db=-1.0)


def hopeless(constraints, *outcomes):
    goal = Goal.parse("latency_p50", constraints)
    return trial._hopeless(list(outcomes), goal, trial.combined(list(outcomes), goal.metrics))


def test_all_that_is_hopeless_already_is_told():
    wrong = finished("onnxruntime-int8", SAMPLES, parity=WRONG)
    told = hopeless({"artifact_bytes": "<=10", "latency_p99": "<=1e-9"}, wrong)
    reasons = [reason.text for reason in wrong.result.verdict.reasons]
    assert "cosine" in " ".join(reasons)
    assert told == "; ".join([*reasons, f"artifact_bytes is {wrong.result.artifact_bytes:g}, not <= 10"])


def test_what_two_devices_say_alike_is_told_once():
    both = [finished("onnxruntime-int8", SAMPLES, id=number, parity=WRONG) for number in (1, 2)]
    assert hopeless({}, *both) == hopeless({}, both[0]) != ""


@pytest.mark.parametrize("constraints", [{}, {"artifact_bytes": "<=1e9"}, {"latency_p50": "<=1e-9"}])
def test_what_more_samples_may_change_is_not_given_up(constraints):
    assert hopeless(constraints, finished("onnxruntime", SAMPLES)) == ""
