import re

import pytest

from farm.cli.recipes import _row
from farm.errors import InfrastructureError, NotFoundError
from farm.recipes import keys, presets, specification, toolchains
from farm.recipes.toolchains.environments import COMPLETE, USED, Environments

QNN = "onnxruntime-qnn-int8"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(toolchains.DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", toolchains.declared())
def test_everything_is_pinned_with_its_hashes(name):
    text = toolchains.find(name).requirements.read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line


def test_an_unknown_one_is_named():
    with pytest.raises(NotFoundError, match="no toolchain 'qmm'"):
        toolchains.find("qmm")


def test_the_key_is_that_of_the_declaration(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("a==1\n")
    second.write_text("a==1\n")
    assert toolchains.Toolchain("a", first).key == toolchains.Toolchain("b", second).key
    second.write_text("a==2\n")
    assert toolchains.Toolchain("a", first).key != toolchains.Toolchain("b", second).key


def test_a_recipe_waits_for_its_toolchain(folder):
    info = next(info for info in presets.infos() if info.recipe.name == QNN)
    assert not info.usable
    assert "toolchain:qnn" in info.missing
    with pytest.raises(InfrastructureError) as caught:
        keys.tool_versions(info.recipe)
    assert "farm toolchains make qnn" in caught.value.remedy


def test_once_made_it_is_a_tool_with_its_key_as_version(folder):
    qnn = toolchains.find("qnn")
    path = Environments(folder).path(qnn)
    path.mkdir()
    assert specification.installed(["toolchain:qnn"]) == {}  # half made
    (path / USED).touch()
    (path / COMPLETE).write_text('{"size_bytes": 1, "seconds": 1.0}')
    assert specification.installed(["toolchain:qnn"]) == {"toolchain:qnn": qnn.key}


def test_the_list_of_recipes_says_what_to_do():
    info = next(info for info in presets.infos() if info.recipe.name == QNN)
    lacking = info.model_copy(update={"usable": False, "missing": ("toolchain:qnn",)})
    assert str(_row(lacking)[1]) == "after: farm toolchains make qnn"
    more = lacking.model_copy(update={"missing": ("onnx", "toolchain:qnn")})
    assert str(_row(more)[1]) == "missing: onnx, toolchain:qnn"
