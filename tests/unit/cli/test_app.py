import json
import subprocess
import sys

import pytest

import farm
from farm.cli.app import main

COMMANDS = [
    ["up"],
    ["agent"],
    ["submit"],
    ["compare"],
    ["report"],
    ["recipes"],
    ["doctor"],
    *(["devices", *command] for command in ([], ["list"], ["show"], ["reserve"], ["release"])),
    *(["devices", order] for order in ("drain", "maintain", "resume", "check", "loop")),
    *(["models", *command] for command in ([], ["add"], ["list"], ["show"])),
    *(["runs", *command] for command in ([], ["list"], ["show"], ["why"], ["watch"], ["cancel"])),
    *(["token", command] for command in ("create", "list", "revoke")),
]


@pytest.fixture(autouse=True)
def no_settings_from_outside(tmp_path, monkeypatch):
    for name in ("FARM_TOKEN", "FARM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FARM_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_json(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*words, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["devices"], 2, "No token for the farm at http://127.0.0.1:1."),
        (["--token", "farm_x", "devices"], 1, "No farm answers at http://127.0.0.1:1."),
        (["--url", "farm.example", "runs"], 2, "'farm.example' is not the URL of a farm."),
        (["token", "list"], 2, "There is no farm in "),
        (["--token", "farm_x", "submit", "net", "--recipes", "no-such", "--devices", "platform=linux"], 2, "no-such"),
        (["--token", "farm_x", "submit", "net", "--recipes", ",", "--devices", "platform=linux"], 2, "No recipe"),
        (["--token", "farm_x", "submit", "net", "--recipes", "all", "--devices", "platform=="], 2, "platform=="),
        (["submit", "net", "--recipes", "all", "--devices", "a=b", "--threads", "1,x"], 2, "--threads 1,x"),
        (["submit", "net", "--recipes", "all", "--devices", "a=b", "--max-seconds", "-1"], 2, "--max-seconds -1"),
        (["devices", "reserve", "host-a", "--for", "ever"], 2, "--for ever is no duration"),
        (["devices", "reserve", "host-a", "--for", ""], 2, "is no duration"),
        (["models", "add", "no.onnx", "--inputs", "no.npz"], 2, "No token"),
        (["--token", "farm_x", "models", "add", "no.onnx", "--inputs", "no.npz"], 2, "no.npz"),
    ],
)
def test_errors_say_what_to_do_on_stderr(words, code, said, capsys):
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "try: " in err
    assert main([*words, "--json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in json.loads(err)["message"]
    assert json.loads(err)["remedy"]


@pytest.mark.parametrize("words", [["nonsense"], ["runs", "show", "seven"], ["submit"], ["devices", "--nonsense"]])
def test_a_line_that_cannot_be_parsed(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err
    assert main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "bad-request"


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"torchfarm {farm.__version__}\n"


def test_a_reader_that_goes_away_is_no_traceback():
    command = [sys.executable, "-m", "farm.cli.app", "doctor", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(30)
