"""Models of sweeps out of MLflow: a real registry in SQLite, its artifacts in a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from farm.errors import ConfigError, FarmError, ForbiddenError, ModelError, NotFoundError, UserError
from farm.sweeps.sources import check, versions_between
from farm.types import MlflowModel
from tests.integration.sweeps.sources.ground import Ground, write_model

pytest.importorskip("mlflow", reason="needs the extra mlflow")

# In a process of its own: MLflow keeps open connections and threads for as long as it is imported.
SCRIPT = """
import json, sys
from mlflow import MlflowClient
uri, artifacts, folders = sys.argv[1], sys.argv[2], sys.argv[3:]
client = MlflowClient(tracking_uri=uri, registry_uri=uri)
experiment = client.create_experiment("net", artifact_location=artifacts)
client.create_registered_model("net")
runs = []
for folder in folders:
    run = client.create_run(experiment).info
    client.log_artifacts(run.run_id, folder, "model")
    client.create_model_version("net", source=f"{run.artifact_uri}/model", run_id=run.run_id)
    runs.append(run.run_id)
client.set_registered_model_alias("net", "champion", "1")
client.create_registered_model("astray")
client.create_model_version("astray", source="/etc")
print(json.dumps(runs))
"""


@pytest.fixture
def runs(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """The runs of three versions; the head knows where the registry is."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    folders = [tmp_path / f"version-{number}" for number in (1, 2, 3)]
    for folder in folders:
        write_model(folder, folder.name.encode())
        (folder / "model.pkl").write_bytes(b"cos\nsystem\n")
    artifacts = (ground.settings.sweep_model_dirs[0] / "mlflow").as_uri()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, uri, artifacts, *map(str, folders)],
        capture_output=True, text=True, check=True, timeout=200, cwd=tmp_path,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def failure(ground: Ground, source: MlflowModel, **settings: object) -> FarmError:
    with pytest.raises(FarmError) as raised:
        ground.prepare(source, **settings)
    return raised.value


@pytest.mark.slow
def test_versions_of_a_registered_model(ground: Ground, runs: Sequence[str]) -> None:
    check(MlflowModel(uri="models:/net@champion"), ground.settings)
    latest = ground.prepare(MlflowModel(uri="models:/net/latest", parity_inputs="parity_inputs.npz"))
    assert latest.version == "3"
    with ground.artifacts.open(latest.model.spec.program.sha256) as file:
        assert file.read() == b"version-3"
    champion = ground.prepare(MlflowModel(uri="models:/net@champion"))
    assert champion.version == "1" and champion.model.id != latest.model.id
    assert ground.prepare(MlflowModel(uri="models:/net"), "1") == champion


@pytest.mark.slow
def test_models_of_runs_and_the_order_of_versions(ground: Ground, runs: Sequence[str]) -> None:
    prepared = ground.prepare(MlflowModel(uri=f"runs:/{runs[0]}/model"))
    assert prepared.version == runs[0]
    with ground.artifacts.open(prepared.model.spec.program.sha256) as file:
        assert file.read() == b"version-1"
    assert versions_between(MlflowModel(uri="models:/net@champion"), "1", "3", ground.settings) == ("2", "3")
    assert versions_between(MlflowModel(uri=f"runs:/{runs[0]}/model"), "1", "3", ground.settings) == ()


@pytest.mark.slow
def test_what_is_not_there_or_not_allowed_is_named(ground: Ground, runs: Sequence[str]) -> None:
    assert isinstance(failure(ground, MlflowModel(uri="models:/net/9")), NotFoundError)
    assert isinstance(failure(ground, MlflowModel(uri="models:/other/latest")), NotFoundError)
    assert isinstance(failure(ground, MlflowModel(uri="models:/net", file="none.onnx")), NotFoundError)
    astray = failure(ground, MlflowModel(uri="models:/astray/1", file="passwd.pt2"))
    assert isinstance(astray, ForbiddenError), "who writes to the registry does not choose what the head reads"
    assert isinstance(failure(ground, MlflowModel(uri="models:/net"), sweep_model_dirs=()), ForbiddenError)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"file": "model.pkl"}, ModelError),
        ({"file": "../../secrets/model.pt2"}, UserError),
        ({"file": "/etc/model.pt2"}, UserError),
        ({"example_inputs": "%2e%2e/example_inputs.npz"}, UserError),
        ({"uri": "models:/net'; drop"}, UserError),
        ({"uri": "models:/"}, UserError),
        ({"uri": "runs:/../x"}, UserError),
        ({"tracking_uri": "http://169.254.169.254/"}, ForbiddenError),
        ({"tracking_uri": "sqlite:////var/lib/other.db"}, UserError),
    ],
)
def test_bad_sources_are_refused_without_a_question(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], kind: type[FarmError]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(kind):
        check(MlflowModel(**{"uri": "models:/net"} | fields), ground.settings)


def test_without_a_server_the_remedy_says_where_to_name_one(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        check(MlflowModel(uri="models:/net"), ground.settings)
