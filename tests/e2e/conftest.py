"""A whole farm as a user starts it, and a small real model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import farm

torch = pytest.importorskip("torch", reason="needs the torch extra")


class SmallNet(torch.nn.Module):
    """Convolution, ReLU6, pooling, classes: what mobile nets are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU6(),
            torch.nn.AdaptiveAvgPool2d(4),
        )
        self.classify = torch.nn.Linear(8 * 16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(image).flatten(1))


@pytest.fixture
def model() -> SmallNet:
    torch.manual_seed(1)
    return SmallNet().eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("farm") / "state"


@pytest.fixture(scope="module")
def client(state_dir: Path) -> Iterator[farm.Client]:
    with farm.embedded_farm(state_dir) as started:
        deadline = time.monotonic() + 60
        while not started.devices():
            assert time.monotonic() < deadline, "the embedded agent showed no device"
            time.sleep(0.1)
        yield started


@pytest.fixture
def quick() -> farm.Protocol:
    """Short measurements: these tests are about the farm, not about the figures."""
    return farm.Protocol(
        min_warmup_seconds=0.01, min_samples=20, min_seconds=0, max_samples=200, max_seconds=1, timeout_seconds=60
    )


@pytest.fixture(scope="module")
def token(client: farm.Client, state_dir: Path) -> str:
    """Of a user, made as an operator makes one."""
    command = [sys.executable, "-m", "farm.cli.app", "token", "create", "tester", "--role", "user"]
    done = subprocess.run(
        [*command, "--state-dir", str(state_dir), "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    return str(json.loads(done.stdout)["token"])


@pytest.fixture
def report_folder(tmp_path: Path) -> Path:
    return tmp_path / "report"
