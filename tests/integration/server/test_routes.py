"""What each route answers, over real HTTP."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import farm as farm_package
from farm.config import Settings
from farm.coordinator.nudge import Nudge
from farm.errors import UserError
from farm.recipes import presets
from farm.server.tokens import issue_token, new_token, token_sha256
from farm.store import samples
from farm.store.artifacts import ArtifactStore
from farm.types import (
    Attempt,
    Build,
    BuildState,
    Device,
    DeviceState,
    JobOutcome,
    JobState,
    Model,
    ModelFormat,
    Parity,
    RecipeInfo,
    Role,
    Run,
    RunSpec,
    RunState,
)
from tests.integration.server.conftest import LiveFarm, problem, serve
from tests.values import NOW, artifact, device, recipe, result


def spec(**changes: object) -> RunSpec:
    fields = {"model": "net", "recipes": (presets.preset("pytorch"), presets.preset("onnxruntime")), "devices": "each"}
    return RunSpec.model_validate(fields | changes)


def submit(farm: LiveFarm, role: Role = Role.USER, **changes: object) -> Run:
    with farm.client(role) as http:
        response = http.post("/runs", content=spec(**changes).model_dump_json())
    assert response.status_code == 201, response.text
    return Run.model_validate(response.json())


@pytest.fixture
def ready(farm: LiveFarm) -> LiveFarm:
    farm.add_device()
    farm.add_model()
    return farm


class TestHealth:
    def test_it_needs_no_token_and_tells_of_the_coordinator(self, farm: LiveFarm) -> None:
        with farm.client(None) as http:
            assert http.get("/health").json() == {
                "status": "ok",
                "version": farm_package.__version__,
                "coordinator": "away",
                "coordinator_seen_seconds": None,
            }
            with farm.store.transaction() as t:
                t.heartbeat("coordinator", datetime.now(UTC))
            alive = http.get("/health").json()
            assert alive["coordinator"] == "running"
            assert 0 <= alive["coordinator_seen_seconds"] < 5
            with farm.store.transaction() as t:
                t.heartbeat("coordinator", datetime.now(UTC) - timedelta(seconds=60))
            assert http.get("/health").json()["coordinator"] == "away"

    def test_it_answers_while_a_writer_holds_the_database(self, farm: LiveFarm) -> None:
        with farm.store.transaction(), farm.client(None) as http:
            assert http.get("/health").status_code == 200


class TestTokens:
    def test_whoami(self, standing_farm: LiveFarm) -> None:
        for role in Role:
            with standing_farm.client(role) as http:
                assert http.get("/whoami").json() == {"name": f"the-{role}", "role": role}

    @pytest.mark.parametrize(
        "header", [None, "Bearer farm_wrong", "Bearer", "Basic dXNlcjpwYXNz", "Bearer \xff\xfe", "Bearer " + "x" * 5000]
    )
    def test_a_missing_or_wrong_token(self, standing_farm: LiveFarm, header: str | None) -> None:
        headers = {"Authorization": header.encode("latin-1")} if header else {}
        with standing_farm.client(None) as http:
            response = http.get("/runs", headers=headers)
        assert "FARM_TOKEN" in problem(response, 401, "unauthorized").remedy
        assert response.headers["www-authenticate"] == "Bearer"

    def test_a_revoked_token_ends_at_once(self, farm: LiveFarm) -> None:
        with farm.client(Role.VIEWER) as http:
            assert http.get("/runs").status_code == 200
            with farm.store.transaction() as t:
                t.revoke_token("the-viewer")
            problem(http.get("/runs"), 401, "unauthorized")

    @pytest.mark.parametrize("name", ["", "a b", "a\0", "x" * 101, "-a"])
    def test_a_token_has_a_proper_name(self, standing_farm: LiveFarm, name: str) -> None:
        with pytest.raises(UserError, match="no name for a token"):
            issue_token(standing_farm.store, name, Role.USER)

    def test_tokens_are_stored_hashed(self, farm: LiveFarm) -> None:
        token = new_token()
        assert token.startswith("farm_")
        assert len(token) >= 5 + 43
        assert token != new_token()
        with farm.store.transaction() as t:
            t.add_token("one", Role.VIEWER, token_sha256(token), NOW)
        stored = b"".join(path.read_bytes() for path in farm.settings.state_dir.glob("farm.db*"))
        assert token.encode() not in stored
        assert token_sha256(token).encode() in stored

    READ = (
        "GET",
        "/models",
        "/models/net",
        "/runs",
        "/runs/1",
        "/runs/1/outcomes",
        "/jobs/1/attempts",
        "/devices",
        "/recipes",
    )

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            *[("GET", path, {Role.VIEWER, Role.USER, Role.ADMIN}) for path in READ[1:]],
            ("GET", "/runs/999999/events", {Role.VIEWER, Role.USER, Role.ADMIN}),
            ("GET", "/jobs/1/samples", {Role.VIEWER, Role.USER, Role.ADMIN}),
            ("GET", "/builds", {Role.VIEWER, Role.USER, Role.ADMIN}),
            ("GET", "/builds/" + "0" * 64, {Role.VIEWER, Role.USER, Role.ADMIN}),
            ("GET", "/builds/" + "0" * 64 + "/log", {Role.VIEWER, Role.USER, Role.ADMIN}),
            ("GET", "/devices/host-a", {Role.VIEWER, Role.USER, Role.ADMIN}),
            ("GET", "/blobs/" + "0" * 64, set(Role)),
            ("HEAD", "/blobs/" + "0" * 64, set(Role)),
            ("PUT", "/blobs/" + "0" * 64 + "?name=m", {Role.USER, Role.AGENT, Role.ADMIN}),
            ("POST", "/models", {Role.USER, Role.ADMIN}),
            ("POST", "/runs", {Role.USER, Role.ADMIN}),
            ("POST", "/runs/1/cancel", {Role.USER, Role.ADMIN}),
            ("DELETE", "/runs/99", {Role.USER, Role.ADMIN}),
            ("GET", "/cluster/join", {Role.AGENT, Role.ADMIN}),
        ],
    )
    def test_what_a_role_may_do(self, standing_farm: LiveFarm, method: str, path: str, allowed: set[Role]) -> None:
        for role in Role:
            with standing_farm.client(role) as http:
                response = http.request(method, path)
            if role in allowed:
                assert response.status_code not in (401, 403)
            elif method == "HEAD":
                assert response.status_code == 403
            else:
                assert role in problem(response, 403, "forbidden").detail


class TestModels:
    def test_register_list_and_find(self, farm: LiveFarm) -> None:
        model = Model.model_validate(farm.add_model())
        assert model.created_by == "the-user"
        assert Model.model_validate(farm.add_model()) == model
        with farm.client(Role.VIEWER) as http:
            assert [Model.model_validate(one) for one in http.get("/models").json()] == [model]
            for ref in (model.id, model.id[:10], "net"):
                assert Model.model_validate(http.get(f"/models/{ref}").json()) == model
            assert "Did you mean net" in problem(http.get("/models/nett"), 404, "not-found").remedy

    def test_a_file_that_was_not_uploaded(self, farm: LiveFarm) -> None:
        model = Model.model_validate(farm.add_model())
        missing = model.spec.program.model_copy(update={"sha256": "0" * 64})
        with farm.client() as http:
            response = http.post(
                "/models", content=model.spec.model_copy(update={"program": missing}).model_dump_json()
            )
            assert (
                "model.pt2 (000000000000) of model net was not uploaded" in problem(response, 422, "bad-model").detail
            )
            shorter = model.spec.program.model_copy(update={"size_bytes": 1})
            response = http.post(
                "/models", content=model.spec.model_copy(update={"program": shorter}).model_dump_json()
            )
            assert "9 bytes, not 1" in problem(response, 422, "bad-model").detail

    def test_inputs_of_the_wrong_shape(self, farm: LiveFarm) -> None:
        model = Model.model_validate(farm.add_model())
        wrong = model.spec.inputs[0].model_copy(update={"shape": (1, 4)})
        with farm.client() as http:
            response = http.post(
                "/models", content=model.spec.model_copy(update={"inputs": (wrong,)}).model_dump_json()
            )
        assert (
            "input 0 of sample 0 is float32[1, 3]; the model takes x: float32[1, 4]"
            in problem(response, 422, "bad-model").detail
        )

    def test_models_become_one(self, farm: LiveFarm) -> None:
        one, two = (Model.model_validate(farm.add_model(name=name)) for name in ("one", "two"))
        with farm.client() as http:
            asked = {"models": ["one", two.id[:12]], "name": "both"}
            fused = Model.model_validate(http.post("/models/fused", json=asked).json())
            again = Model.model_validate(http.post("/models/fused", json=asked).json())
            assert Model.model_validate(http.get("/models/both").json()) == fused == again
            assert fused.spec.fusion is not None
            assert fused.spec.fusion.parts == (one.spec, two.spec)
            assert fused.spec.reference_outputs is None  # which the farm computes
            side = Model.model_validate(http.post("/models/fused", json=asked | {"how": "parallel"}).json())
            assert [spec.name for spec in side.spec.inputs] == ["one.x", "two.x"]
            problem(http.post("/models/fused", json={"models": ["one", "none"]}), 404, "not-found")
            problem(http.post("/models/fused", json={"models": ["one"]}), 422, "bad-request")

    def test_models_that_do_not_fit_each_other(self, farm: LiveFarm) -> None:
        one = Model.model_validate(farm.add_model(name="one"))
        arrays = io.BytesIO()
        np.savez(arrays, **{"0.0": np.zeros((1, 10), np.int64)})
        farm.add_model(name="ten", reference_outputs=farm.upload(arrays.getvalue(), "ten.npz"))
        with farm.client() as http:
            answer = problem(http.post("/models/fused", json={"models": ["ten", "one"]}), 422, "bad-model")
            assert "one cannot follow ten: it takes (x: float32[1, 3]), and ten gives (int64[1, 10])" in answer.detail
            fused = Model.model_validate(http.post("/models/fused", json={"models": ["one", "ten"]}).json()).spec
            missing = fused.program.model_copy(update={"sha256": "0" * 64})
            parts = (fused.fusion.parts[0], fused.fusion.parts[1].model_copy(update={"program": missing}))
            forged = fused.model_copy(update={"fusion": fused.fusion.model_copy(update={"parts": parts})})
            response = http.post("/models", content=forged.model_dump_json())
            assert "(000000000000) of model one-ten was not uploaded" in problem(response, 422, "bad-model").detail
            onnx = one.spec.model_copy(update={"format": ModelFormat.ONNX})
            forged = fused.model_copy(update={"fusion": fused.fusion.model_copy(update={"parts": (onnx, onnx)})})
            response = http.post("/models", content=forged.model_dump_json())
            assert "an ONNX model, which cannot be fused" in problem(response, 422, "bad-model").detail

    @pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "a/b", "a\\b", "a\nb", "", "x" * 201])
    def test_a_file_name_never_leads_elsewhere(self, farm: LiveFarm, name: str) -> None:
        model = Model.model_validate(farm.add_model()).model_dump(mode="json")
        with farm.client() as http:
            response = http.post("/models", json=model["spec"] | {"program": model["spec"]["program"] | {"name": name}})
            problem(response, 422, "bad-request")
            problem(http.put("/blobs/" + "0" * 64, params={"name": name}, content=b"x"), 422, "bad-request")


class TestRuns:
    def test_submit_then_see_it(self, ready: LiveFarm) -> None:
        run = submit(ready, name="nightly")
        assert (run.state, run.created_by, run.model_name) == (RunState.ACTIVE, "the-user", "net")
        assert run.jobs == {JobState.WAITING: 2}
        with ready.client(Role.VIEWER) as http:
            assert Run.model_validate(http.get(f"/runs/{run.id}").json()) == run
            assert [Run.model_validate(one) for one in http.get("/runs").json()] == [run]
            outcomes = [JobOutcome.model_validate(one) for one in http.get(f"/runs/{run.id}/outcomes").json()]
            assert [outcome.job.recipe.name for outcome in outcomes] == ["pytorch", "onnxruntime"]
            assert {outcome.device.id for outcome in outcomes} == {"host-a"}
            first = http.get(f"/runs/{run.id}/outcomes", params={"limit": 1}).json()
            rest = http.get(f"/runs/{run.id}/outcomes", params={"after": outcomes[0].job.id}).json()
            assert [JobOutcome.model_validate(one) for one in first + rest] == outcomes
            build = Build.model_validate(http.get(f"/builds/{outcomes[0].job.build_key}").json())
            assert (build.state, build.recipe.name) == (BuildState.PENDING, "pytorch")

    def test_the_coordinator_is_woken(self, ready: LiveFarm) -> None:
        import asyncio

        async def woken_by(action) -> None:
            woken = asyncio.Event()
            with Nudge(ready.settings.state_dir).listen(woken) as receiver:
                await asyncio.to_thread(action)
                await asyncio.wait_for(woken.wait(), 5)
                asyncio.get_running_loop().remove_reader(receiver.fileno())

        run = submit(ready)
        asyncio.run(woken_by(lambda: submit(ready)))
        with ready.client() as http:
            asyncio.run(woken_by(lambda: http.post(f"/runs/{run.id}/cancel")))

    def test_pages(self, ready: LiveFarm) -> None:
        ids = [submit(ready).id for _ in range(3)]
        with ready.client() as http:
            assert [run["id"] for run in http.get("/runs", params={"limit": 2}).json()] == ids[:0:-1]
            assert [run["id"] for run in http.get("/runs", params={"before": ids[1]}).json()] == [ids[0]]

    def test_the_newest_finished_of_a_name(self, ready: LiveFarm) -> None:
        names = ["main", "ünïted \N{SNOWMAN}", "main", "main", ""]
        first, other, second, active, unnamed = (submit(ready, name=name).id for name in names)
        with ready.store.transaction() as t:
            for id in (first, other, second, unnamed):
                t.set_run(id, RunState.FINISHED, NOW)

        def found(**params: object) -> list[int]:
            with ready.client() as http:
                return [run["id"] for run in http.get("/runs", params=params).json()]

        assert found(model="net", name="main") == [active, second, first]
        assert found(model="net", name="main", state="finished") == [second, first]
        assert found(model="net", name="main", state="finished", limit=1, before=second) == [first]
        assert found(name=names[1]) == [other]
        assert found(name="") == [unnamed]
        assert found(model="another", name="main") == found(name="Main") == found(name="mai%") == []
        with ready.client() as http:
            problem(http.get("/runs", params={"state": "over"}), 422, "bad-request")

    def test_a_second_submission_shares_builds(self, ready: LiveFarm) -> None:
        first, second = submit(ready), submit(ready)
        with ready.store.reading() as r:
            keys = [{job.build_key for job in r.jobs(run.id)} for run in (first, second)]
        assert keys[0] == keys[1]

    def test_an_unset_reference_is_built(self, farm: LiveFarm) -> None:
        farm.add_device()
        farm.add_model(reference_outputs=None)
        run = submit(farm)
        with farm.store.reading() as r:
            (key,) = {job.reference_key for job in r.jobs(run.id)}
            assert key is not None
            assert r.build(key).recipe == presets.REFERENCE

    @pytest.mark.parametrize(
        ("changes", "status", "code", "says"),
        [
            ({"model": "nett"}, 404, "not-found", "nett"),
            ({"model": "a\0b"}, 404, "not-found", ""),
            ({"devices": "platform=ios"}, 422, "bad-selector", "platform=ios excludes 1 of 1 (host-a"),
            ({"devices": "platform="}, 422, "bad-selector", "value is missing"),
            ({"recipes": (recipe("mine", "onnx-runtime"),)}, 422, "bad-recipe", "onnxruntime"),
            ({"recipes": (recipe("onnxruntime", "litert"),)}, 422, "bad-recipe", "preset"),
            ({"recipes": (presets.preset("litert"),) * 2}, 422, "bad-request", "more than once"),
            ({"scenarios": [{"threads": 64}]}, 422, "bad-request", "64 threads are more than the CPUs of host-a (4)"),
        ],
    )
    def test_a_submission_that_cannot_run_queues_nothing(
        self, ready: LiveFarm, changes: dict, status: int, code: str, says: str
    ) -> None:
        with ready.client() as http:
            response = http.post("/runs", content=spec(**changes).model_dump_json())
            assert says in problem(response, status, code).detail
            assert http.get("/runs").json() == []

    def test_cancel_is_for_the_owner_and_admins(self, ready: LiveFarm) -> None:
        run, other = submit(ready), submit(ready, role=Role.ADMIN)
        with ready.client() as http:
            assert Run.model_validate(http.post(f"/runs/{run.id}/cancel").json()) == run
            assert http.post(f"/runs/{run.id}/cancel").status_code == 200
            refused = problem(http.post(f"/runs/{other.id}/cancel"), 403, "forbidden")
            assert "belongs to the-admin" in refused.detail
            problem(http.post("/runs/99/cancel"), 404, "not-found")
        with ready.store.transaction() as t:
            assert t.cancel_requests() == [run.id]
            t.set_run(run.id, RunState.FINISHED, NOW)
        with ready.client(Role.ADMIN) as http:
            assert http.post(f"/runs/{other.id}/cancel").status_code == 200
            problem(http.post(f"/runs/{run.id}/cancel"), 409, "conflict")

    def test_delete_is_for_the_owner_and_admins_of_what_is_over(self, ready: LiveFarm) -> None:
        run, other, active = submit(ready), submit(ready, role=Role.ADMIN), submit(ready)
        with ready.store.transaction() as t:
            t.set_run(run.id, RunState.FINISHED, NOW)
            t.set_run(other.id, RunState.CANCELLED, NOW)
        with ready.client() as http:
            problem(http.delete(f"/runs/{active.id}"), 409, "conflict")
            problem(http.delete(f"/runs/{other.id}"), 403, "forbidden")
            assert http.delete(f"/runs/{run.id}").status_code == 204
            problem(http.delete(f"/runs/{run.id}"), 404, "not-found")
            assert {one["id"] for one in http.get("/runs").json()} == {other.id, active.id}
        with ready.client(Role.ADMIN) as http:
            assert http.delete(f"/runs/{other.id}").status_code == 204


class TestResults:
    def test_samples_attempts_and_the_whole_outcome(self, ready: LiveFarm) -> None:
        run = submit(ready)
        store = ArtifactStore(ready.settings.resolved_store_url)
        raw = store.put([samples.write([0.5], [0.25, 0.125])], "samples.parquet")
        nan = Parity(
            samples=1, max_abs_error=math.nan, max_rel_error=math.inf, reference_abs_max=1, cosine=math.nan, snr_db=-1
        )
        with ready.store.transaction() as t:
            job, other = t.jobs(run.id)
            attempt = t.add_attempt(job.id, 1, "host-a", "local", NOW)
            t.end_attempt(attempt, "finished", NOW, measurement=raw)
            t.set_build(job.build_key, BuildState.BUILT, artifact=artifact(job.build_key))
            t.add_result(result(job.id, parity=nan), raw)
        with ready.client(Role.VIEWER) as http:
            assert http.get(f"/jobs/{job.id}/samples").json() == {
                "latency_seconds": [0.25, 0.125],
                "warmup_seconds": [0.5],
                "thinned": None,
            }
            assert "it is waiting" in problem(http.get(f"/jobs/{other.id}/samples"), 404, "not-found").detail
            (kept,) = [Attempt.model_validate(one) for one in http.get(f"/jobs/{job.id}/attempts").json()]
            assert (kept.id, kept.state, kept.measurement) == (attempt, "finished", raw)
            problem(http.get("/jobs/99/attempts"), 404, "not-found")
            outcome = JobOutcome.model_validate(http.get(f"/runs/{run.id}/outcomes").json()[0])
        assert outcome.artifact == artifact(job.build_key)
        assert outcome.result is not None
        assert outcome.result.parity is not None
        assert math.isnan(outcome.result.parity.max_abs_error)
        assert outcome.result.parity.max_rel_error == math.inf


class TestDevices:
    def test_list_select_and_show(self, farm: LiveFarm) -> None:
        farm.add_device(device("pixel", platform="android", state=DeviceState.OFFLINE))
        farm.add_device(device("host-a"))
        with farm.client() as http:
            assert [Device.model_validate(one).id for one in http.get("/devices").json()] == ["host-a", "pixel"]
            selected = http.get("/devices", params={"selector": "platform=android, any(3)"}).json()
            assert [one["id"] for one in selected] == ["pixel"]
            assert http.get("/devices", params={"selector": "platform=ios"}).json() == []
            pointed = problem(http.get("/devices", params={"selector": "platfrom=ios"}), 422, "bad-selector")
            assert pointed.details["position"] == 0
            shown = Device.model_validate(http.get("/devices/pixel").json())
            assert shown.state is DeviceState.OFFLINE
            problem(http.get("/devices/nokia"), 404, "not-found")

    def test_page_by_page(self, farm: LiveFarm, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("farm.server.routes.devices.PAGE", 2)  # read at once
        for id, platform in {"a": "linux", "b": "android", "c": "linux", "d": "linux", "e": "linux"}.items():
            farm.add_device(device(id, platform=platform))

        def page(**query: object) -> list[str]:
            return [one["id"] for one in http.get("/devices", params=query).json()]

        with farm.client() as http:
            assert page(limit=2) == ["a", "b"]
            assert page(limit=2, after="b") == ["c", "d"]
            assert page(limit=2, after="d") == ["e"]
            assert page(limit=3, selector="platform=linux") == ["a", "c", "d"]
            assert page(limit=3, selector="platform=linux", after="d") == ["e"]
            problem(http.get("/devices", params={"limit": 100_000}), 422, "bad-request")


def test_recipes(farm: LiveFarm) -> None:
    with farm.client() as http:
        infos = [RecipeInfo.model_validate(one) for one in http.get("/recipes").json()]
    assert [info.recipe.name for info in infos] == presets.names()


class TestClusterJoin:
    def test_a_cluster_that_nobody_can_reach_says_how_to_open_it(self, farm: LiveFarm) -> None:
        with farm.client(Role.AGENT) as http:
            assert "--ray-host" in problem(http.get("/cluster/join"), 409, "conflict").remedy

    def test_a_cluster_that_is_not_up(self, tmp_path) -> None:
        with serve(Settings(state_dir=tmp_path, ray_host="127.0.0.2")) as farm, farm.client(Role.AGENT) as http:
            problem(http.get("/cluster/join"), 503, "infrastructure")
