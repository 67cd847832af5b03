from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.harness.records import HarnessError, Record, read, summarize
from farm.types import Protocol

from .programs import Classifier, Model, Overflowing, Tagger, classifier_inputs, tagger_inputs

QUICK = Protocol(min_warmup_seconds=0.02, min_samples=20, max_samples=200, max_seconds=5, timeout_seconds=60)


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    records: list[Record]
    log: str

    @property
    def facts(self) -> dict[str, Any]:
        assert self.exit_code == 0, f"{self.records[-1]}\n{self.log}"
        return summarize(self.records)

    @property
    def error(self) -> HarnessError:
        assert self.exit_code == 1, self.log
        with pytest.raises(HarnessError) as caught:
            summarize(self.records)
        return caught.value


Measure = Callable[..., Outcome]


def job(folder: Path, model: Model, runtime: str, **changes: Any) -> Path:
    """Write ``job.json`` for a model, as a driver does; ``changes`` replace fields."""
    fields = {
        "runtime": runtime,
        "options": {"backend": "xnnpack"} if runtime == "executorch" else {},
        "files": changes.pop("files", None) or {name: str(path) for name, path in model.files(runtime).items()},
        "example_inputs": str(model.folder / "example.npz"),
        "parity_inputs": str(model.folder / "parity.npz"),
        "reference_outputs": str(model.folder / "reference.npz"),
        "threads": 1,
        "cpus": [max(os.sched_getaffinity(0))],
        "protocol": QUICK.model_dump(),
        "records": str(folder / "records.jsonl"),
    }
    path = folder / "job.json"
    path.write_text(json.dumps(fields | {name: _plain(value) for name, value in changes.items()}))
    return path


def start(path: Path, **environment: str) -> subprocess.Popen[str]:
    """The harness as a driver starts it: fresh process, foreign working directory, small environment."""
    root = str(Path(__file__).parents[4])
    variables = {"PATH": os.environ["PATH"], "HOME": str(path.parent), "PYTHONPATH": root} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "agents.harness", str(path)],
        cwd=path.parent,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """``measure(model, runtime, **changes of the job)``: run the harness to its end."""

    def run(model: Model, runtime: str, *, environment: dict[str, str] | None = None, **changes: Any) -> Outcome:
        process = start(job(tmp_path, model, runtime, **changes), **(environment or {}))
        try:
            log, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Outcome(process.returncode, read(tmp_path / "records.jsonl"), log)

    return run


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return _made(Model(Classifier().eval(), tmp_path_factory.mktemp("classifier"), classifier_inputs))


@pytest.fixture(scope="session")
def batches_of_two(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Programs that take two samples at once, with samples of one each, an odd number of them."""
    import torch

    model = _made(Model(Classifier().eval(), tmp_path_factory.mktemp("batches"), classifier_inputs))
    return dataclasses.replace(model, inputs=lambda: (torch.randn(2, 3, 32, 32),))


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return _made(Model(Tagger().eval(), tmp_path_factory.mktemp("tagger"), tagger_inputs))


@pytest.fixture(scope="session")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Model:
    import torch

    inputs = (torch.tensor([[0.0, 1.0, 0.0, 2.0]]),)
    return _made(Model(Overflowing().eval(), tmp_path_factory.mktemp("overflowing"), lambda: inputs))


def _made(model: Model) -> Model:
    model.write_tensors()
    return model


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
