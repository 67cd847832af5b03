"""``farm tools`` and ``farm devices add-emulator``: what this machine's agent is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from farm.cli.app import main
from farm.cli.submit import _native
from farm.errors import UserError
from farm.types import Scenario


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, object]:
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out or err)


def test_a_tool_is_added_listed_checked_and_removed(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "benchmark_model"
    binary.write_bytes(b"\x7fELF")
    sha256 = hashlib.sha256(binary.read_bytes()).hexdigest()
    words = ("tools", "add", "benchmark_model", "benchmark_model", "--sha256", sha256, "--accelerator", "cpu")
    code, made = said(capsys, *words, "--accelerator", "npu=--use_nnapi=true --nnapi_accelerator_name=x")
    assert code == 0
    assert made["binary"]["source"] == str(binary)  # type: ignore[index]
    (listed,) = said(capsys, "tools", "list")[1]  # type: ignore[misc]
    assert listed["accelerators"] == {"cpu": [], "npu": ["--use_nnapi=true", "--nnapi_accelerator_name=x"]}
    assert said(capsys, "tools", "check")[0] == 0
    binary.write_bytes(b"another")
    next((state / "tools" / "files").iterdir()).write_bytes(b"damaged")
    code, (checked,) = said(capsys, "tools", "check")  # type: ignore[misc]
    assert (code, checked["state"]) == (1, "broken")
    assert sha256 in checked["why"]
    assert said(capsys, "tools", "remove", "benchmark_model")[0] == 0
    assert said(capsys, "tools", "list")[1] == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("other", "x", "--sha256", "0" * 64), "knows no native tool"),
        (("benchmark_model", "x", "--sha256", "0" * 64), "cannot be read"),
        (("benchmark_model", "x", "--sha256", "short"), "cannot be registered"),
        (("benchmark_model", "x", "--sha256", "0" * 64, "--accelerator", "tpu"), "is no accelerator"),
        (("benchmark_model", "ftp://x/y", "--sha256", "0" * 64), "no http"),
    ],
)
def test_what_cannot_be_registered_is_said(
    state: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    assert main(["tools", "add", *words]) != 0
    out = capsys.readouterr()
    assert problem in " ".join((out.out + out.err).split())


def test_an_emulator_without_an_sdk_is_refused_with_what_to_do(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["devices", "add-emulator", "--avd", "pixel"]) == 2
    out = capsys.readouterr()
    assert "sdkmanager" in out.out + out.err
    assert not (state / "avds.json").exists()


def test_submissions_name_accelerators_and_tools() -> None:
    made = _native([Scenario(threads=2)], "cpu,gpu", "benchmark_model")
    assert list(map(str, made)) == ["single-stream/2t/benchmark_model", "single-stream/2t/gpu/benchmark_model"]
    with pytest.raises(UserError, match="cannot be used"):
        _native([Scenario()], "tpu", None)
