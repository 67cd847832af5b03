"""The harness out of the portable runtime, in a root without libc or Python, on both kinds of phone.

`make test-phone`: it builds bundles in the user's cache, which fetches 600 MB the first time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.harness.records import read, summarize
from agents.phone_runtime import lock
from agents.phone_runtime.build import Builder
from agents.phone_runtime.bundle import ABIS, Abi, find, harness_layer
from agents.phone_runtime.parts import PARTS
from farm.config import load

from . import phone_root
from .conftest import job
from .phone_root import WORK, Root
from .programs import Model, classifier_inputs

pytestmark = [pytest.mark.phone_runtime, pytest.mark.timeout(900)]

RUNTIMES = tuple(runtime for part in PARTS for runtime in part.runtimes)
# Under emulation one inference is enough: what is shown is that the numbers are right.
FEW = {
    "min_warmup_seconds": 0.0,
    "min_warmup_runs": 1,
    "min_samples": 2,
    "min_seconds": 0.0,
    "max_samples": 2,
    "max_seconds": 5.0,
    "confidence": 0.95,
    "target_half_width_ratio": 1.0,
    "growth_seconds": 0.0,
    "profile": False,
}


@pytest.fixture(scope="session", params=ABIS)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Root:
    abi: Abi = request.param
    folder = load().phone_runtime_dir
    built = Builder(folder, lock.Lock.read(lock.path_of(abi))).build([part.name for part in PARTS])
    assert find(folder, abi) == built.bundle
    built.bundle.verify()
    return phone_root.make(tmp_path_factory.mktemp(abi), built.bundle, folder)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """XNNPACK takes all of it: arm64's ExecuTorch is older than the exporter, and lacks kernels for what is left over
    of the classifier (``aten::_adaptive_avg_pool2d.out``)."""
    import torch

    layers = [torch.nn.Conv2d(3, 8, 3, stride=4, padding=1), torch.nn.ReLU(), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(512, 10)).eval()
    model = Model(module, tmp_path_factory.mktemp("plain"), classifier_inputs)
    model.write_tensors()
    return model


@pytest.fixture
def measure(root: Root) -> Callable[[Model, str], Path]:
    """Puts model and job into the root, runs the harness there; returns the records."""

    def run(model: Model, runtime: str) -> Path:
        shutil.rmtree(root.work)
        root.work.mkdir()
        inside = {}
        for path in [*model.files(runtime).values(), *(model.folder / f"{n}.npz" for n in TENSORS)]:
            shutil.copy(path, root.work / path.name)
            inside[path.name] = f"{WORK}/{path.name}"
        written = job(
            root.work,
            model,
            runtime,
            files={path.name: inside[path.name] for path in model.files(runtime).values()},
            example_inputs=inside["example.npz"],
            parity_inputs=inside["parity.npz"],
            reference_outputs=inside["reference.npz"],
            records=f"{WORK}/records.jsonl",
            protocol=FEW,
        )
        done = root.python(runtime, "-m", "agents.harness", f"{WORK}/{written.name}")
        records = root.work / "records.jsonl"
        told = records.read_text()[-2000:] if records.exists() else ""
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{told}"
        return records

    return run


TENSORS = ("example", "parity", "reference")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_are_those_of_the_host(
    classifier: Model, plain: Model, measure: Callable[[Model, str], Path], root: Root, runtime: str
) -> None:
    facts = summarize(read(measure(plain if runtime == "executorch" else classifier, runtime)))
    parity = facts["parity"]
    assert parity["samples"] == 3
    assert parity["cosine"] > 0.99999
    assert parity["max_abs_error"] < 1e-3 * parity["reference_abs_max"]
    assert parity["top1_agreement"] == 1
    assert len(facts["latency_samples_seconds"]) == 2
    assert facts["memory_peak_bytes"] > facts["memory_baseline_bytes"]
    # The versions are the bundle's, not the host's.
    distributions: dict[str, str] = {}
    for layer in root.bundle.layers_for(runtime):
        distributions |= layer.distributions
    told = facts["runtime_versions"]
    assert told.pop("python") == root.bundle.python_version
    assert told == {name: distributions[name] for name in told}
    assert set(told) > {"numpy"}


def test_the_phone_gives_nothing_but_its_kernel(root: Root) -> None:
    code = (
        "import json, sys, getpass, tempfile, os; print(json.dumps([getpass.getuser(), tempfile.gettempdir(), "
        "sys.path, sorted(os.environ), [line.split()[-1] for line in open('/proc/self/maps') if '.so' in line]]))"
    )
    done = root.python("onnxruntime", "-c", code)
    assert done.returncode == 0, done.stderr
    user, temporary, path, environment, libraries = json.loads(done.stdout)
    assert (user, temporary) == ("shell", WORK)
    assert "LD_PRELOAD" not in environment
    assert libraries
    assert {each for each in (*path, *libraries) if each and not each.startswith(phone_root.HOME)} == set()


def test_the_same_parts_make_the_same_bundle(root: Root, tmp_path: Path) -> None:
    folder = load().phone_runtime_dir
    again = Builder(tmp_path, lock.Lock.read(lock.path_of(root.bundle.abi)), packages=folder / "downloads")
    built = again.build(["ncnn"])
    assert built.made == ("base", "ncnn")
    assert all(layer in root.bundle.layers for layer in built.bundle.layers)
    assert harness_layer(tmp_path) == harness_layer(folder)
