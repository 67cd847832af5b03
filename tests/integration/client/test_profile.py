"""Profiles through the command line and the client."""

from __future__ import annotations

import json

import pytest

import farm
from farm.cli.app import main
from farm.errors import NotFoundError
from farm.types import OperatorTime, Profile
from tests.integration.client.head import Head

SAMPLES = [0.010 + 0.0001 * (index % 7) for index in range(200)]


def profile(**seconds: float) -> Profile:
    return Profile(
        tool="a profiler",
        runs=1,
        inference_seconds=0.012,
        unprofiled_seconds=0.01,
        operators=tuple(
            OperatorTime(name=name, type=name.split("_")[0], count=1, total_seconds=value, where="CPU")
            for name, value in seconds.items()
        ),
    )


@pytest.fixture
def run_id(head: Head) -> int:
    run = head.submit("onnxruntime", "onnxruntime-int8", "litert")
    first, second, third = head.jobs(run)
    head.measure(first, SAMPLES, profile=profile(Conv_1=0.006, Gemm_1=0.002))
    head.measure(second, SAMPLES, profile=profile(Conv_1=0.002, Gemm_1=0.001, Quantize_1=0.0005))
    head.measure(third, SAMPLES, absent={"profile": "LiteRT has none"})
    head.end(run)
    return run.id


def test_profiles_and_their_difference(
    head: Head, run_id: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())

    def shown(*words: str, code: int = 0) -> str:
        assert main(("runs", "profile", str(run_id), *words)) == code
        out, err = capsys.readouterr()
        return out or err

    everything = shown()
    assert "onnxruntime-int8" in everything
    assert "Quantize_1" in everything
    diff = json.loads(shown("--recipe", "onnxruntime", "--against", "onnxruntime-int8", "--json"))
    assert {change["name"]: round(change["gained_seconds"], 6) for change in diff["types"]} == {
        "Conv": -0.004,
        "Gemm": -0.001,
        "Quantize": 0.0005,
    }
    assert "change ms" in shown("--recipe", "onnxruntime", "--against", "onnxruntime-int8")
    assert "LiteRT has none" in shown("--recipe", "litert", code=2)
    assert "Give both" in shown("--against", "litert", code=2)


def test_the_same_in_python(head: Head, run_id: int) -> None:
    with farm.Client(head.url, token=head.token()) as client:
        run = client.run(run_id)
        diff = run.profile("onnxruntime").diff(run.profile("onnxruntime-int8"))
        assert diff.gained_seconds == pytest.approx(-0.0045)
        with pytest.raises(NotFoundError, match="LiteRT has none"):
            run.profile("litert")
