"""The bundle a phone would get, on an arm64 phone that is emulated, through a whole farm: its outputs are the host's.

`make test-phone`. The figures of speed say nothing: every instruction is translated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import farm
from examples import phone

torch = pytest.importorskip("torch", reason="needs the torch extra")

pytestmark = [pytest.mark.phone_runtime, pytest.mark.timeout(1800)]

RUNTIMES = ("onnxruntime", "litert", "ncnn", "torch", "executorch")
RECIPES = ["onnxruntime", "litert", "ncnn", "executorch-xnnpack", "pytorch-mobile"]
FEW = farm.Protocol(
    min_warmup_seconds=0,
    min_warmup_runs=1,
    min_samples=10,
    min_seconds=0,
    max_samples=10,
    max_seconds=30,
    growth_seconds=0,
    idle_seconds=0,
    timeout_seconds=600,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farm.Client]:
    assert phone.runtime("arm64-v8a", RUNTIMES), "the phone runtime was not built"
    folder: Path = tmp_path_factory.mktemp("farm")
    with (
        phone.plugged_in(folder, abi="arm64-v8a") as settings,
        farm.embedded_farm(folder / "state", settings) as client,
    ):
        phone.await_ready(client)
        yield client


class Net(torch.nn.Module):
    """Of operators that the phone's ExecuTorch, older than the host's, has as well."""

    def __init__(self) -> None:
        super().__init__()
        layers = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(), torch.nn.MaxPool2d(8)
        self.features = torch.nn.Sequential(*layers)
        self.classify = torch.nn.Linear(8 * 16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(image).flatten(1))


@pytest.fixture
def model() -> Net:
    torch.manual_seed(1)
    return Net().eval()


def test_its_outputs_are_those_of_the_host(client, model, image):
    uploaded = client.add_model(model, (image,), name="small")
    host = client.submit(uploaded.id, recipes=RECIPES, devices="platform=linux", protocol=FEW)
    emulated = client.submit(uploaded.id, recipes=RECIPES, devices="abi=arm64-v8a", protocol=FEW)
    here = {outcome.job.recipe.name: outcome for outcome in host.wait().outcomes()}
    there = {outcome.job.recipe.name: outcome for outcome in emulated.wait().outcomes()}
    for recipe in RECIPES:
        outcome = there[recipe]
        assert outcome.result, f"{recipe}: {outcome.job.failure}"
        assert outcome.device.facts.virtual
        parity, expected = outcome.result.parity, here[recipe].result.parity
        assert parity.cosine == pytest.approx(expected.cosine, abs=1e-4), recipe
        assert parity.max_abs_error == pytest.approx(expected.max_abs_error, abs=1e-2 * parity.reference_abs_max), (
            recipe
        )
        assert outcome.result.runtime_versions, recipe
