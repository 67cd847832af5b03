import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

import farm
from farm.cli.app import main
from farm.store.devices import DeviceChange
from farm.store.transaction import JobChange
from farm.types import DeviceCheck, DeviceHealth, DeviceState, JobState, JobWait, Role
from tests.integration.client.head import coordinator

SAMPLES = [0.010 + 0.0001 * (index % 7) for index in range(200)]


@pytest.fixture
def run_farm(head, monkeypatch, capsys):
    """Run a command line; returns exit code, stdout, stderr."""
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def measured(head):
    run = head.submit("pytorch", "onnxruntime")
    first, second = head.jobs(run)
    head.measure(first, SAMPLES)
    with head.store.transaction() as transaction:
        transaction.set_jobs([JobChange(second.id, JobState.FAILED, reason="The harness crashed.")])
    head.end(run)
    return run


@pytest.mark.parametrize("words", [("devices",), ("devices", "list"), ("devices", "--selector", "platform=linux")])
def test_devices(run_farm, measured, words):
    code, out, _ = run_farm(*words)
    assert code == 0
    assert "local-cpu" in out
    for line in ((*words, "--json"), (words[0], "--json", *words[1:])):
        code, out, err = run_farm(*line)
        assert (code, err) == (0, "")
        assert [device["id"] for device in json.loads(out)] == ["local-cpu"]


def test_a_device(run_farm, measured):
    assert "AMD EPYC 7B13" in run_farm("devices", "show", "local-cpu")[1]
    assert json.loads(run_farm("devices", "show", "local-cpu", "--json")[1])["device"]["facts"]["cpu_count"] == 2
    code, out, err = run_farm("devices", "show", "local-gpu")
    assert (code, out) == (2, "")
    assert "local-gpu" in err


def test_how_a_device_is_and_who_has_it(run_farm, head, monkeypatch):
    run = head.submit("pytorch")
    at = datetime.now(UTC)
    with head.store.transaction() as transaction:
        change = DeviceChange(
            "local-cpu", DeviceState.LEASED, DeviceHealth.BAD, "reboot: no answer", 3, maintenance="new battery"
        )
        transaction.set_devices([change])
        check = {"at": at, "step": "power-cycle", "passed": False, "detail": "no answer", "seconds": 61.5}
        transaction.add_device_check(DeviceCheck(device_id="local-cpu", **check))
        held = transaction.add_attempt(head.jobs(run)[0].id, 1, "local-cpu", "local", at)
    try:
        code, out, _ = run_farm("devices", "reserve", "local-cpu", "--for", "1h30m", "--reason", "battery drain")
        assert code == 0
        until = out.split(" until ")[1].strip(" .\n")
        assert (
            run_farm("devices", "list")[1]
            .split("\n")[1]
            .endswith(f"drains: new battery; reserved by {_name(run_farm)} until {until} (battery drain)")
        )
        shown = " ".join(run_farm("devices", "show", "local-cpu")[1].split())
        for part in (
            "health bad: reboot: no answer",
            "failures in a row 3",
            "maintenance new battery",
            f"until {until} (battery drain)",
            f"held by job {head.jobs(run)[0].id} since",
            "power-cycle failed 61.5 s no answer",
        ):
            assert part in shown
        reserved = json.loads(run_farm("devices", "show", "local-cpu", "--json")[1])["reservation"]
        begin, end = (datetime.fromisoformat(reserved[key]) for key in ("created_at", "until"))
        assert end - begin == timedelta(minutes=90)
        assert run_farm("devices", "drain", "local-cpu")[0] == 2, "for admins"
        assert run_farm("devices", "release", "local-cpu")[0] == 0
        assert run_farm("devices", "release", "local-cpu")[0] == 2
    finally:
        with head.store.transaction() as transaction:
            transaction.end_attempt(held, "finished", at)


def _name(run_farm):
    with farm.Client() as client:
        return client.whoami()["name"]


@pytest.mark.parametrize("kind", ["drain", "maintain", "resume", "check", "loop"])
def test_orders(run_farm, measured, head, monkeypatch, kind):
    monkeypatch.setenv("FARM_TOKEN", head.token(Role.ADMIN))
    assert f"Ordered: {kind} local-cpu" in run_farm("devices", kind, "local-cpu")[1]
    made = json.loads(run_farm("devices", kind, "local-cpu", "--reason", "new battery", "--json")[1])
    assert (made["kind"], made["reason"]) == (kind, "new battery")
    with head.store.reading() as reading:
        assert [(order.kind, order.reason) for order in reading.device_orders()][-2:] == [
            (kind, ""),
            (kind, "new battery"),
        ]


def test_why_jobs_wait(run_farm, head, measured):
    run = head.submit("pytorch", "onnxruntime")
    number, (first, second) = str(run.id), head.jobs(run)
    with head.store.transaction() as transaction:
        transaction.set_jobs([JobChange(first.id, JobState.QUEUED, "queued behind run 12")])
    code, out, err = run_farm("runs", "why", number)
    assert code == 0
    assert "queued behind run 12" in out
    assert "its artifact is not built yet" in out
    assert "The coordinator does not answer" in err
    assert "2 of its jobs wait: `farm runs why" in run_farm("runs", "show", number)[1]
    answers = {
        job.id: JobWait(job_id=job.id, text="leased by run 12", starts_in_seconds=seconds, live=True)
        for job, seconds in ((first, 15), (second, 900))
    }
    with coordinator(head.settings.state_dir, answers):
        at = datetime.now().astimezone()
        code, out, err = run_farm("runs", "why", number)
        waits = json.loads(run_farm("runs", "why", number, "--json")[1])
    assert (code, err) == (0, "")
    assert out.count("leased by run 12") == 2
    assert "in 15 s" in out
    assert any(f"{at + timedelta(seconds=900 + late):%H:%M}" in out for late in (0, 60))
    assert [(wait["job_id"], wait["live"]) for wait in waits] == [(first.id, True), (second.id, True)]
    assert "No job of run" in run_farm("runs", "why", str(measured.id))[1]


def test_models(run_farm, measured):
    assert "x: float32[1, 3]" in run_farm("models")[1]
    assert json.loads(run_farm("models", "show", "net", "--json")[1])["spec"]["name"] == "net"
    code, _, err = run_farm("models", "show", "nest", "--json")
    assert code == 2
    assert json.loads(err)["code"] == "not-found"


def test_runs(run_farm, measured):
    number = str(measured.id)
    assert "nightly" in run_farm("runs")[1]
    assert json.loads(run_farm("runs", "list", "--limit", "1", "--json")[1])[0]["id"] == measured.id
    code, out, _ = run_farm("runs", "show", number)
    assert code == 0
    assert "The harness crashed." in out
    assert "10.3 ms" in out
    shown = json.loads(run_farm("runs", "show", number, "--json")[1])
    assert [outcome["job"]["state"] for outcome in shown["outcomes"]] == ["finished", "failed"]


def test_watching_a_run_prints_events_for_machines_and_progress_for_people(run_farm, measured):
    number = str(measured.id)
    code, out, err = run_farm("runs", "watch", number, "--json")
    assert (code, err) == (0, "")
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["run", "run"]
    code, out, err = run_farm("runs", "watch", number)
    assert (code, out) == (0, "")
    assert "1 of 2 jobs measured, 1 failed" in err


def test_a_run_without_any_measurement_exits_with_1(run_farm, head):
    run = head.submit("pytorch")
    head.end(run)
    assert run_farm("runs", "watch", str(run.id))[0] == 1


def test_cancelling_what_is_over_is_a_conflict(run_farm, measured, head, monkeypatch):
    monkeypatch.setenv("FARM_TOKEN", head.token(Role.ADMIN))
    code, out, err = run_farm("runs", "cancel", str(measured.id))
    assert (code, out) == (2, "")
    assert "is finished" in err


def test_comparing(run_farm, measured):
    code, out, _ = run_farm("compare", str(measured.id))
    assert code == 0
    assert "The harness crashed." in out
    rows = json.loads(run_farm("compare", str(measured.id), str(measured.id), "--json")[1])["rows"]
    assert len(rows) == 4


def test_what_to_ship(run_farm, measured):
    code, out, _ = run_farm("ship", str(measured.id), "--constraint", "latency_p50<=1s")
    assert (code, "pytorch" in out) == (0, True)
    code, out, _ = run_farm("ship", str(measured.id), "--constraint", "accuracy>=75%", "--json")
    (place,) = json.loads(out)["places"]
    assert (code, place["variant"], place["nearest"]["variant"]) == (1, None, "pytorch")
    assert run_farm("ship", str(measured.id), "--by", "soc", "--format", "markdown")[1].startswith("### Ship for")
    for wrong in (("--by", "colour"), ("--objective", "speed"), ("--constraint", "latency_p50<1")):
        code, out, err = run_farm("ship", str(measured.id), *wrong)
        assert (code, out) == (2, "")
        assert wrong[1].split("<")[0] in err


def test_comparing_over_devices_and_by_several_metrics(run_farm, measured):
    run = str(measured.id)
    found = json.loads(run_farm("compare", run, "--across", "latency_p50", "--json")[1])
    assert [mean["variant"] for mean in found["means"]] == ["pytorch"]
    assert "onnxruntime" in found["variants_left_out"]
    code, out, _ = run_farm("compare", run, "--pareto", "latency_p50,artifact_size", "--device", "local-cpu")
    assert (code, "Pareto front on local-cpu" in out) == (0, True)
    assert run_farm("compare", run, "--pareto", "latency_p50, load", "--format", "markdown")[1].startswith("### Pareto")
    for wrong in (
        ("--pareto", "latency_p50"),
        ("--across", "accuracy"),
        ("--device", "local-cpu"),
        ("--baseline", "pytorch"),
        ("--format", "markdown"),
        ("--across", "load", "--pareto", "load,energy"),
    ):
        code, out, err = run_farm("compare", run, *wrong)
        assert (code, out) == (2, "")
        assert "try:" in err


def test_reporting(run_farm, measured, tmp_path):
    code, out, _ = run_farm("report", str(measured.id), "-o", "out.html")
    assert (code, out) == (0, "out.html\n")
    assert (tmp_path / "out.html").read_text().lower().startswith("<!doctype html>")
    answer = json.loads(run_farm("report", str(measured.id), "--json")[1])
    assert answer == {"path": str(tmp_path / f"report-{measured.id}.html")}


def test_doctor_sees_the_head_and_the_token(run_farm, head, monkeypatch):
    code, out, err = run_farm("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert (code, err) == (0, "")
    assert checks["head"]["status"] == "ok"
    assert "role user" in checks["token"]["found"]
    assert checks["coordinator"]["status"] == "warn"
    monkeypatch.setenv("FARM_TOKEN", "farm_wrong")
    code, out, err = run_farm("doctor")
    assert code == 1
    assert "Needed and missing: token." in err


def test_a_wrong_token_and_a_low_role(run_farm, head, monkeypatch):
    assert run_farm("--token", "farm_wrong", "devices")[0] == 2
    code, _, err = run_farm("--token", head.token(Role.VIEWER), "runs", "cancel", "1", "--json")
    assert code == 2
    assert json.loads(err)["code"] == "forbidden"


def test_a_token_lives_from_create_to_revoke(run_farm, head, monkeypatch):
    folder = str(head.settings.state_dir)
    code, out, _ = run_farm("token", "create", "ci", "--role", "viewer", "--state-dir", folder)
    assert code == 0
    assert run_farm("--token", out.strip(), "runs")[0] == 0
    assert {"name": "ci", "role": "viewer"} in json.loads(run_farm("token", "list", "--state-dir", folder, "--json")[1])
    assert run_farm("token", "create", "ci", "--state-dir", folder)[0] == 2
    assert run_farm("token", "revoke", "ci", "--state-dir", folder)[0] == 0
    assert run_farm("--token", out.strip(), "runs")[0] == 2
    assert run_farm("token", "revoke", "ci", "--state-dir", folder)[0] == 2


def test_ctrl_c_leaves_the_run_and_says_so(run_farm, head):
    run = head.submit("pytorch")
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.cli.app", "runs", "watch", str(run.id)],
        env=os.environ.copy(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    head.event(run, "build", "pytorch", "building")
    assert "build pytorch building" in process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert f"Run {run.id} goes on" in err
    assert "Traceback" not in err
