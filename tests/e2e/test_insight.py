"""A model with an operator of its own, profiled, through a whole farm that allows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import farm
from farm.types import JobState

torch = pytest.importorskip("torch", reason="needs the torch extra")
pytestmark = [pytest.mark.real_models, pytest.mark.slow]
EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_operator"


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_worked_example_of_custom_operators(
    tmp_path: Path, quick: farm.Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(
        ["g++", "-std=c++17", "-shared", "-fPIC", str(EXAMPLE / "squash.cpp"), "-o", str(tmp_path / "libsquash.so")],
        check=True,
        timeout=60,
    )
    monkeypatch.syspath_prepend(str(EXAMPLE))
    sys.modules.pop("model", None)
    from model import Squashed  # type: ignore[import-not-found]

    with farm.embedded_farm(tmp_path / "state", {"FARM_ALLOW_CUSTOM_OPERATORS": "true"}) as client:
        torch.manual_seed(3)
        run = client.submit(
            Squashed().eval(),
            example_inputs=(torch.randn(1, 64),),
            recipes=["pytorch", "onnxruntime"],
            devices="platform=linux",
            protocol=quick.model_copy(update={"profile": True}),
            custom_operators={"pytorch": EXAMPLE / "ops.py", "onnxruntime": tmp_path / "libsquash.so"},
        )
        run.wait(timeout_seconds=150)
        outcomes = run.outcomes()
        assert [outcome.job.state for outcome in outcomes] == [JobState.FINISHED] * 2, [
            str(outcome.job.failure) for outcome in outcomes
        ]
        before, after = run.profile("pytorch"), run.profile("onnxruntime")
        assert "example::squash" in {line.type for line in before.lines}
        assert "squash" in {line.type for line in after.lines}
        assert before.diff(after).types
        for outcome in outcomes:
            assert outcome.result is not None
            assert outcome.result.parity is not None
            assert outcome.result.parity.cosine > 0.9999
            assert outcome.result.memory_growth_bytes is not None
            assert outcome.result.memory_course is not None
            assert outcome.artifact is not None
            assert outcome.artifact.report.parameters == 64 * 64 + 64 + 64 * 10 + 10
        assert "Where the time goes" in run.report(tmp_path / "report.html").read_text()
