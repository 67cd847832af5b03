"""Custom operators at the API's edge: refused unless an administrator allows them, and again when that changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farm.config import Settings
from farm.recipes import presets
from farm.submission import recipes_for
from farm.types import CustomOperators, Model, RecipeInfo, Run
from tests.integration.server.conftest import LiveFarm, problem, serve
from tests.integration.server.test_routes import spec
from tests.values import NOW, model_spec


def operators(farm: LiveFarm) -> tuple[CustomOperators, ...]:
    return (CustomOperators(runtime="pytorch", kind="python", file=farm.upload(b"import torch", "ops.py")),)


def run_of(model: str, recipe: str) -> str:
    return spec(model=model, recipes=(presets.preset(recipe),)).model_dump_json()


@pytest.fixture(scope="module")
def allowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFarm]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("farm"), allow_custom_operators=True)
    with serve(settings) as live:
        live.add_device()
        yield live


def test_they_are_refused_by_default_naming_the_setting(standing_farm: LiveFarm) -> None:
    refused = model_spec(custom_operators=operators(standing_farm))
    with standing_farm.client() as http:
        found = problem(http.post("/models", content=refused.model_dump_json()), 403, "forbidden")
    assert "ops.py" in found.detail
    assert "allow_custom_operators" in found.remedy


def test_where_they_are_allowed_the_runtimes_that_they_are_for_take_the_model(allowing: LiveFarm) -> None:
    allowing.add_model(name="customized", custom_operators=[one.model_dump() for one in operators(allowing)])
    with allowing.client() as http:
        taken = http.post("/runs", content=run_of("customized", "torchscript"))
        assert Run.model_validate_json(taken.content).model_name == "customized"
        refused = http.post("/runs", content=run_of("customized", "onnxruntime"))
    assert "custom operators for pytorch, and none for onnxruntime" in problem(refused, 422, "bad-recipe").detail


def test_a_farm_that_stopped_allowing_them_runs_them_no_more(standing_farm: LiveFarm) -> None:
    with standing_farm.store.transaction() as transaction:
        transaction.add_model(model_spec("earlier", custom_operators=operators(standing_farm)), "ada", NOW)
    with standing_farm.client() as http:
        problem(http.post("/runs", content=run_of("earlier", "pytorch")), 403, "forbidden")


def test_files_of_operators_must_have_been_uploaded(allowing: LiveFarm) -> None:
    (own,) = operators(allowing)
    lost = own.model_copy(update={"file": own.file.model_copy(update={"sha256": "0" * 64})})
    with allowing.client() as http:
        response = http.post("/models", content=model_spec(custom_operators=(lost,)).model_dump_json())
    assert "was not uploaded" in problem(response, 422, "bad-model").detail


def test_all_recipes_are_those_that_have_the_operators(allowing: LiveFarm) -> None:
    added = allowing.add_model(name="all", custom_operators=[one.model_dump() for one in operators(allowing)])
    with allowing.client() as http:
        infos = [RecipeInfo.model_validate(info) for info in http.get("/recipes").json()]
        model = http.get(f"/models/{added['id']}").json()
    runtimes = {recipe.runtime for recipe in recipes_for(Model.model_validate(model), infos, "x")}
    assert runtimes
    assert runtimes <= {"pytorch", "torchscript", "pytorch-mobile"}
