import json

import httpx
import numpy as np
import pytest

import farm
from farm.cli.app import main
from farm.types import DeviceState
from tests.unit.analysis.outcomes import AT, device

HERE = device("local-cpu", runtimes=("pytorch", "executorch", "onnxruntime")).model_copy(
    update={"state": DeviceState.ONLINE}
)


@pytest.fixture
def client(head):
    with head.store.transaction() as transaction:
        transaction.upsert_device(HERE, AT)
    with farm.Client(head.url, token=head.token()) as client:
        yield client


@pytest.fixture
def file(tmp_path):
    """The farm does not look into a program before it builds."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(b"a program" + tmp_path.name.encode())
    return path


def head_client(head):
    return httpx.Client(base_url=head.url, headers={"Authorization": f"Bearer {head.token()}"}, trust_env=False)


INPUTS = (np.ones((1, 3), np.float32),)


def test_a_file_is_uploaded_and_expands_into_jobs(client, file):
    run = client.submit(
        file,
        example_inputs=INPUTS,
        recipes=["onnxruntime", "onnxruntime-int8"],
        devices="platform=linux",
        scenarios=[farm.Scenario("single-stream", threads=2), farm.Scenario("single-stream", threads=1)],
        protocol=farm.Protocol(max_seconds=3),
        name="nightly",
        model_name="tiny-net",
    )
    assert sum(run.jobs.values()) == 4
    assert (run.info.spec.name, run.info.model_name) == ("nightly", "tiny-net")
    assert run.info.spec.protocol.max_seconds == 3
    assert {str(outcome.job.scenario) for outcome in run.outcomes()} == {"single-stream/1t", "single-stream/2t"}


def test_an_uploaded_model_is_submitted_by_name_id_and_object(client, file):
    model = client.add_model(file, INPUTS, name="again")
    assert client.add_model(file, INPUTS, name="again").id == model.id
    for reference in ("again", model.id, model.id[:12], model):
        run = client.submit(reference, recipes=["onnxruntime"], devices="platform=linux")
        assert run.info.model_id == model.id


def test_inputs_for_an_uploaded_model_are_refused(client, file):
    client.add_model(file, INPUTS, name="has-inputs")
    with pytest.raises(farm.UserError, match="example_inputs came with 'has-inputs'"):
        client.submit("has-inputs", example_inputs=INPUTS, recipes=["onnxruntime"], devices="platform=linux")


def test_what_is_neither_file_nor_model(client):
    with pytest.raises(farm.NotFoundError, match=r"'missing\.pt2' is neither a file here nor a model at"):
        client.submit("missing.pt2", recipes=["onnxruntime"], devices="platform=linux")


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"recipes": ["onnxruntim"]}, farm.RecipeSpecError),
        ({"recipes": []}, farm.RecipeSpecError),
        ({"recipes": [{"name": "x"}]}, farm.RecipeSpecError),
        ({"devices": "platform=="}, farm.SelectorError),
        ({"devices": "platform=none-such"}, farm.SelectorError),
        ({"recipes": ["litert"]}, farm.RecipeSpecError),
        ({"name": "x" * 300}, farm.UserError),
        ({"scenarios": []}, farm.UserError),
        ({"priority": "urgent"}, farm.UserError),
        ({"example_inputs": None}, farm.ModelError),
        ({"parity_inputs": [(np.ones((2, 3), np.float32),)]}, farm.ModelError),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_submission_is_said(client, file, changed, kind):
    good = {"example_inputs": INPUTS, "recipes": ["onnxruntime"], "devices": "platform=linux"}
    with pytest.raises(kind) as caught:
        client.submit(file, **good | changed)
    assert type(caught.value) is kind
    assert caught.value.remedy


def test_a_misspelt_recipe_is_noticed_before_anything_is_uploaded(client, file):
    before = len(client.models())
    with pytest.raises(farm.RecipeSpecError, match="onnxruntime"):
        client.submit(file, example_inputs=INPUTS, recipes=["onnxruntim"], devices="platform=linux")
    assert len(client.models()) == before


def test_all_recipes_are_those_that_take_the_model(client, file):
    run = client.submit(file, example_inputs=INPUTS, recipes="all", devices="platform=linux")
    usable = {info.recipe.name for info in client.recipes() if info.usable and "onnx" in info.accepts}
    assert {recipe.name for recipe in run.info.spec.recipes} == usable


def test_from_the_shell(client, head, file, monkeypatch, capsys):
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())
    np.savez("x.npz", **{"0.0": INPUTS[0]})
    assert main(["models", "add", str(file), "--inputs", "x.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["name"] == "tiny"
    words = ["--recipes", "onnxruntime, onnxruntime-int8", "--devices", "platform=linux", "--threads", "1,2"]
    assert main(["submit", "tiny", *words, "--max-seconds", "2", "--priority", "nightly", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert run["spec"]["priority"] == "nightly"
    assert sum(run["jobs"].values()) == 4
    assert main(["submit", str(file), "--inputs", "x.npz", *words]) == 0
    assert f"farm runs watch {run['id'] + 1}" in capsys.readouterr().out


def test_a_labelled_set_and_declared_inputs_from_the_shell(client, head, file, monkeypatch, capsys):
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())
    np.savez("x.npz", **{"0.0": INPUTS[0]})
    np.savez("set.npz", input_0=np.full((3, 3), [[1, np.nan, 3]], np.float32), digit=[0, 1, 1])
    words = ["--evaluation", "set.npz", "--labels", "digit", "--class-names", "no, yes", "--threshold", "0.5"]
    declared = ["--input", "input_0,minimum=0,maximum=5,fill=interpolate"]
    assert main(["models", "add", str(file), "--inputs", "x.npz", *words, *declared, "--json"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert (spec["evaluation"]["samples"], spec["evaluation"]["class_names"]) == (3, ["no", "yes"])
    assert spec["evaluation"]["threshold"] == 0.5
    assert [(found["of"], found["values"]) for found in spec["filled"]] == [("evaluation inputs", 3)]
    assert main(["models", "show", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "3 samples, classification" in shown
    assert "input_0: float32[1, 3] [0, 5]" in shown
    assert main(["models", "add", str(file), "--inputs", "x.npz", "--labels", "digit"]) != 0
    assert "--labels was given without --evaluation" in capsys.readouterr().err


def test_a_set_of_other_samples_than_it_says_is_refused(client, head, file):
    set_of_three = farm.EvaluationSet(np.ones((3, 3), np.float32), [0, 1, 1])
    model = client.add_model(file, INPUTS, evaluation=set_of_three)
    told = model.spec.evaluation.model_copy(update={"samples": 4})
    spec = model.spec.model_copy(update={"evaluation": told})
    with head_client(head) as http:
        response = http.post("/api/v1/models", content=spec.model_dump_json())
    assert response.status_code == 422
    assert "it holds 3 samples, the model says 4" in response.json()["detail"]


def test_models_fused_from_the_shell(client, head, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())
    for name in ("lens", "eye"):
        program = tmp_path / f"{name}.pt2"
        program.write_bytes(name.encode())
        client.add_model(program, INPUTS)
    assert main(["models", "fuse", "lens", "eye", "--how", "parallel-shared", "--name", "sight"]) == 0
    assert "parallel-shared: lens, eye" in capsys.readouterr().out
    assert client.model("sight").spec.fusion.parts == (client.model("lens").spec, client.model("eye").spec)
    again = client.fuse_models([client.model("lens"), "eye"], how="parallel-shared", name="sight")
    assert again == client.model("sight")
    assert main(["models", "fuse", "lens", "eye", "--how", "stacked"]) == 2
    assert "sequence, parallel, parallel-shared" in capsys.readouterr().err
    with pytest.raises(farm.UserError, match="One model alone"):
        client.fuse_models(["lens"])


@pytest.mark.real_models
def test_a_live_module_is_exported_here_and_answers_its_own_reference(client):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    run = client.submit(
        model,
        example_inputs=(torch.ones(1, 3),),
        recipes=["executorch-xnnpack", "onnxruntime-int8"],
        devices="platform=linux",
        scenarios=[farm.Scenario("single-stream", threads=2)],
    )
    stored = client.model(run.info.model_id)
    assert stored.spec.format == "pt2"
    assert stored.spec.reference_outputs is not None
    assert model.training


@pytest.mark.real_models
def test_a_module_that_does_not_export_names_the_line(client):
    torch = pytest.importorskip("torch")

    class Branching(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(farm.ModelError) as caught:
        client.submit(Branching(), example_inputs=(torch.ones(1, 3),), recipes=["pytorch"], devices="platform=linux")
    assert "test_submit.py" in str(caught.value) + str(caught.value.details)
