"""Profiles, growth of memory and custom operators in real harness processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from farm.analysis.growth import grows, growth
from farm.types import MemorySeries, Profile

from .conftest import QUICK, Measure
from .programs import Model, classifier_inputs

pytestmark = pytest.mark.real_models
PROFILED = QUICK.model_copy(update={"profile": True}).model_dump()
OPERATORS = {
    "pytorch": {"aten::conv2d", "aten::relu", "aten::linear"},
    "torchscript": {"aten::_convolution", "aten::relu", "aten::linear"},
    "pytorch-mobile": {"aten::_convolution", "aten::relu", "aten::linear"},
    "onnxruntime": {"Conv", "Gemm"},
    "openvino": {"Convolution", "FullyConnected"},
}


@pytest.mark.parametrize("runtime", OPERATORS)
def test_a_profile_names_what_the_program_is_made_of(classifier: Model, measure: Measure, runtime: str) -> None:
    outcome = measure(classifier, runtime, protocol=PROFILED)
    profile = Profile.model_validate(outcome.facts["profile"])
    assert profile.runs == 10
    assert OPERATORS[runtime] <= {row.type for row in profile.operators}
    assert all(row.total_seconds >= 0 and row.where for row in profile.operators)
    assert profile.operators_seconds > 0
    if runtime != "openvino":  # its counters are of whole microseconds, as long as this whole program takes
        assert all(row.count % profile.runs == 0 for row in profile.operators)
        assert profile.operators_seconds < 1.5 * profile.inference_seconds
    kinds = [record["kind"] for record in outcome.records]
    assert kinds.index("profile") > max(index for index, kind in enumerate(kinds) if kind in ("samples", "parity"))


@pytest.mark.parametrize(("runtime", "why"), [("executorch", "ETDump"), ("litert", "C++ library")])
def test_a_profile_that_cannot_be_had_is_absent_with_the_reason(
    classifier: Model, measure: Measure, runtime: str, why: str
) -> None:
    facts = measure(classifier, runtime, protocol=PROFILED).facts
    assert facts["profile"] is None
    assert why in facts["absent"]["profile"]


LEAKING = """
import torch

kept = []

@torch.library.custom_op("test::leaking_relu", mutates_args=())
def leaking_relu(x: torch.Tensor) -> torch.Tensor:
    kept.append(bytearray(8192))
    return x.relu()

@leaking_relu.register_fake
def _(x):
    return torch.empty_like(x)
"""


def test_a_leak_is_found_and_measured(measure: Measure, tmp_path: Path) -> None:
    """8 KiB in every inference, planted in a custom operator."""
    source = tmp_path / "leaking.py"
    source.write_text(LEAKING)
    scope: dict[str, object] = {"__name__": "leaking"}
    exec(compile(LEAKING, str(source), "exec"), scope)  # noqa: S102

    class Leaking(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.ops.test.leaking_relu(image).mean((2, 3))

    folder = tmp_path / "model"
    folder.mkdir()
    model = Model(Leaking().eval(), folder, classifier_inputs)
    model.write_tensors()
    outcome = measure(model, "pytorch", custom_operators={"kind": "python", "file": str(source)})
    series = MemorySeries.model_validate(outcome.facts["memory_series"])
    found = growth(series, 0.95)
    assert series.inferences[-1] == 1000
    assert grows(series, found)
    assert found.low * 0.95 < 8192 * 1000 < found.high * 1.05


def test_a_program_too_slow_for_it_has_no_growth_and_says_so(classifier: Model, measure: Measure) -> None:
    hurried = QUICK.model_copy(update={"growth_seconds": 1e-5}).model_dump()
    facts = measure(classifier, "onnxruntime", protocol=hurried).facts
    assert facts["memory_series"] is None
    assert "100 inferences would take" in facts["absent"]["memory_growth_bytes"]


def test_a_runtime_without_custom_operators_refuses_them(measure: Measure, classifier: Model) -> None:
    own = {"kind": "library", "file": str(classifier.file("onnxruntime"))}
    error = measure(classifier, "executorch", custom_operators=own).error
    assert (error.code, error.fault) == ("operators-unsupported", "recipe")


def test_operators_that_do_not_load_are_the_user_s_fault(measure: Measure, classifier: Model) -> None:
    own = {"kind": "library", "file": str(classifier.file("onnxruntime"))}
    error = measure(classifier, "onnxruntime", custom_operators=own).error
    assert (error.code, error.fault) == ("operators-failed", "user")
