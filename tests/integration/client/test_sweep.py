"""``farm sweep`` and the client's methods against a real head."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import farm
from farm.cli.app import main
from farm.types import NightState
from tests.integration.client.test_cli import SAMPLES

TEXT = "name: {name}\nmodel: net\nrecipes: [pytorch]\ndevices: platform=linux\nschedule: 0 2 * * *\n"


@pytest.fixture
def run_farm(head, monkeypatch, capsys):
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def file(head, tmp_path: Path, request) -> Path:
    head.end(head.submit("pytorch"))  # there is a model, and a device
    path = tmp_path / "sweep.yaml"
    path.write_text(TEXT.format(name=request.node.name[:40].replace("[", "-").replace("]", "")))
    return path


def name_of(file: Path) -> str:
    return file.read_text().split()[1]


def test_apply_shows_the_plan_and_changes_nothing_unasked(run_farm, file: Path) -> None:
    name = name_of(file)
    code, out, err = run_farm("sweep", "apply", str(file))
    assert code == 2
    assert "new" in out
    assert "1 on 1 devices" in out
    assert "nobody to ask" in err
    assert "--yes" in err
    code, out, _ = run_farm("sweep", "apply", str(file), "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["plans"][name]["is_new"]
    assert name not in run_farm("sweep", "list")[1]
    code, out, _ = run_farm("sweep", "apply", str(file), "--yes")
    assert (code, f"Applied: {name}." in out) == (0, True)
    assert name in run_farm("sweep", "list")[1]
    assert run_farm("sweep", "apply", str(file))[0] == 0, "the same once more needs no answer"
    file.write_text(file.read_text().replace("0 2", "0 3"))
    code, out, _ = run_farm("sweep", "apply", str(file), "--dry-run")
    assert "schedule.cron: 0 2 * * * → 0 3 * * *" in out


def test_a_mistake_points_at_its_line(run_farm, file: Path) -> None:
    file.write_text(file.read_text().replace("recipes", "recipies"))
    code, _, err = run_farm("sweep", "apply", str(file), "--yes")
    assert code == 2
    assert f"{file}, line 3: recipies is no key there. Did you mean recipes" in err


def test_two_files_with_one_name(run_farm, file: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(file.read_text())
    code, _, err = run_farm("sweep", "apply", str(file), str(tmp_path / "other.yaml"), "--yes")
    assert code == 2
    assert "both have a sweep" in err


def test_its_life(run_farm, file: Path) -> None:
    name = name_of(file)
    run_farm("sweep", "apply", str(file), "--yes")
    assert "0 2 * * *" in run_farm("sweep", "show", name)[1]
    assert json.loads(run_farm("sweep", "show", name, "--json")[1])["spec"]["name"] == name
    assert "is paused" in run_farm("sweep", "pause", name)[1]
    assert "paused" in run_farm("sweep", "show", name)[1]
    assert "goes on" in run_farm("sweep", "resume", name)[1]
    assert "no night yet" in run_farm("sweep", "history", name)[1]
    assert "is due" in run_farm("sweep", "run", name)[1]
    code, _, err = run_farm("sweep", "run", name)
    assert (code, "waits already" in err) == (2, True)
    (night,) = json.loads(run_farm("sweep", "history", name, "--json")[1])
    assert (night["trigger"], night["state"]) == ("manual", "waiting")
    assert "no two nights" in run_farm("sweep", "diff", name)[2]
    assert "is removed" in run_farm("sweep", "remove", name)[1]
    code, _, err = run_farm("sweep", "show", name)
    assert (code, "No sweep" in err) == (2, True)


def test_two_nights_side_by_side(run_farm, head, file: Path) -> None:
    name = name_of(file)
    run_farm("sweep", "apply", str(file), "--yes")
    nights = []
    for slower in (1.0, 1.5, 1.0):
        run = head.submit("pytorch")
        head.measure(head.jobs(run)[0], [sample * slower for sample in SAMPLES])
        head.end(run)
        with head.store.transaction() as tx:
            night = tx.add_night(name, datetime.now(UTC), "manual", "ann")
            assert night is not None
            tx.set_night(night.id, [NightState.WAITING], state=NightState.EXAMINED, run_id=run.id)
            nights.append(night.id)
    changes = json.loads(run_farm("sweep", "diff", name, str(nights[1]), "--json")[1])["changes"]
    (change,) = [each for each in changes if each["metric"] == "latency_p50"]
    assert change["change"] == pytest.approx(1.5, rel=0.01)
    code, out, _ = run_farm("sweep", "diff", name)
    assert code == 0
    assert "worse" not in out
    assert "better" in out
    assert "no night 99999" in run_farm("sweep", "diff", name, "99999")[2]


def test_the_client_has_all_of_it(head, file: Path) -> None:
    name = name_of(file)
    with farm.Client(head.url, token=head.token()) as client:
        assert client.plan_sweep(file).is_new
        sweep = client.apply_sweep(file)
        assert client.apply_sweep(sweep.spec) == sweep == client.sweep(name)
        assert name in [each.spec.name for each in client.sweeps()]
        night = client.run_sweep(name)
        assert client.nights(name) == [night]
        assert client.pause_sweep(name).paused
        assert not client.resume_sweep(name).paused
        client.remove_sweep(name)
