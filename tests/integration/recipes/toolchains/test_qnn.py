"""Qualcomm's NPU, compiled in its toolchain and emulated by it: built, measured by the harness, and marked."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from agents.drivers.host import host_facts
from agents.harness import records
from farm.errors import RecipeError
from farm.packaging import package
from farm.recipes import presets, toolchains
from farm.recipes.toolchains.environments import Environments
from farm.types import Protocol

FOLDER = toolchains.directory()
MADE = Environments(FOLDER).find(toolchains.find("qnn"))
pytestmark = [
    pytest.mark.real_models,
    pytest.mark.conversions,
    pytest.mark.skipif(MADE is None, reason="not made on this machine: farm toolchains make qnn"),
]
ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("name", ["qnn-htp-fp16", "qnn-htp-int8"])
def test_its_outputs_are_right_and_its_times_are_marked(workshop, spec, name, tmp_path, monkeypatch):
    monkeypatch.setenv(toolchains.DIRECTORY_VARIABLE, str(FOLDER))
    artifact = workshop.build(spec, name)
    assert artifact.report.network_isolated
    assert artifact.report.delegation.operators == {"QNNExecutionProvider": 1}
    assert "onnxruntime-qnn" in host_facts(FOLDER).runtimes
    assert "onnxruntime-qnn" not in host_facts().runtimes
    for blob, file in ((spec.parity_inputs, "parity.npz"), (spec.reference_outputs, "reference.npz")):
        workshop.store.fetch(blob, tmp_path / file)
    job = {
        "runtime": "onnxruntime-qnn",
        "options": presets.preset(name).options,
        "files": {"model.onnx": str(workshop.fetch(artifact, tmp_path))},
        "example_inputs": str(tmp_path / "parity.npz"),
        "parity_inputs": str(tmp_path / "parity.npz"),
        "reference_outputs": str(tmp_path / "reference.npz"),
        "threads": 1,
        "cpus": [max(os.sched_getaffinity(0))],
        "protocol": Protocol(min_warmup_seconds=0.02, min_samples=20, max_samples=50, max_seconds=5).model_dump(),
        "records": str(tmp_path / "records.jsonl"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [str(FOLDER / "qnn" / "bin" / "python"), "-m", "agents.harness", str(tmp_path / "job.json")]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    facts = records.summarize(records.read(tmp_path / "records.jsonl"))
    assert done.returncode == 0, done.stderr
    assert facts["emulated"] == "Qualcomm's NPU (QNN HTP)"
    assert facts["parity"]["cosine"] >= presets.preset(name).parity.min_cosine
    assert facts["runtime_versions"]["onnxruntime-qnn"] == "2.7.0"


def test_an_operator_that_the_npu_lacks_fails_the_build(workshop):
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.det(x)

    spec = workshop.put(package(Odd(), (torch.rand(1, 3, 3),), name="odd"))
    with pytest.raises(RecipeError, match="QNN does not compile the model"):
        workshop.build(spec, "qnn-htp-fp16")
