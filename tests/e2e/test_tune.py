"""A search on a real farm with the real engines; the second one finds everything known."""

import json
import os
import subprocess
import sys

import pytest

import farm

pytest.importorskip("optuna", reason="needs the tune extra")
pytestmark = [pytest.mark.real_models, pytest.mark.slow]

QUICK = farm.Protocol(max_seconds=1.0, timeout_seconds=60)


def test_a_search_keeps_the_constraints_and_measures_nothing_twice(client, model, image):
    arguments = {
        "devices": "platform=linux",
        "constraints": {"parity_cosine": ">=0.9999"},
        "budget": 4,
        "protocol": QUICK,
        "before": [],
        "parallel": 2,
        "seed": 5,
    }
    found = client.tune(model, example_inputs=(image,), name="searched", **arguments)
    assert len(found.candidates) == 4
    assert found.front
    for candidate in found.front:
        assert candidate.full
        assert candidate.figures["parity_cosine"] >= 0.9999
    assert found.best.figures["latency_p50"] == min(c.figures["latency_p50"] for c in found.front)
    for candidate in found.candidates:
        assert candidate.full or candidate.why
    jobs = max(job for candidate in found.candidates for job in candidate.jobs)

    again = client.tune("searched", **arguments | {"parallel": 1})
    tried = {(candidate.recipe.digest, candidate.threads) for candidate in found.candidates if candidate.full}
    for candidate in again.candidates:
        if (candidate.recipe.digest, candidate.threads) in tried:
            assert candidate.reused
            assert max(candidate.jobs) <= jobs
    assert any(candidate.reused for candidate in again.candidates)


def test_what_is_wrong_is_said_before_anything_is_built(client, model, image):
    runs = len(client.runs())
    with pytest.raises(farm.UserError, match="latency_p50"):
        client.tune(model, devices="platform=linux", objective="latency_p51", example_inputs=(image,))
    with pytest.raises(farm.UserError, match="cannot be read"):
        client.tune(model, devices="platform=linux", constraints={"parity_cosine": "0.9"}, example_inputs=(image,))
    with pytest.raises(farm.UserError, match="No device matches"):
        client.tune(model, devices="platform=ios", example_inputs=(image,))
    assert len(client.runs()) == runs


def test_the_command_says_when_nothing_keeps_the_constraints(client, model, image):
    client.add_model(model, (image,), name="impossible")
    command = [
        sys.executable, "-m", "farm.cli.app", "tune", "impossible", "--devices", "platform=linux", "--budget", "1",
        "--constraint", "artifact_bytes<=10", "--max-seconds", "0.5", "--json",
    ]  # fmt: skip
    environment = os.environ | {"FARM_URL": client.url, "FARM_TOKEN": client.connection.token}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1, done.stderr
    (candidate,) = json.loads(done.stdout)
    assert not candidate["on_front"]
    assert "artifact_bytes" in candidate["why"]
