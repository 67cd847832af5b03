import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farm.errors import InfrastructureError, RecipeSpecError
from farm.recipes import keys, presets, specification
from farm.types import ModelFormat, ParityLimits, Quantize, Recipe
from farm.types.recipes import FAMILIES, FP32


def test_every_listed_recipe_parses_to_itself_in_every_spelling():
    for name in presets.names():
        recipe = presets.preset(name)
        assert presets.parse(name) == presets.parse(recipe) == presets.parse(recipe.model_dump(mode="json")) == recipe


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeSpecError, match="Did you mean onnxruntime") as caught:
        presets.parse("onxruntime")
    assert "executorch-xnnpack-int8" in caught.value.remedy


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"name": "x", "runtime": "onxruntime"}, "Did you mean onnxruntime"),
        ({"name": "x", "runtime": "executorch", "options": {"backend": "metal"}}, "xnnpack"),
        ({"name": "x", "runtime": "executorch", "options": {"bakend": "xnnpack"}}, "Did you mean backend"),
        ({"name": "x", "runtime": "onnxruntime", "transforms": [{"kind": "quantize"}, {"kind": "fuse"}]}, "before it"),
        ({"name": "x", "runtime": "onnxruntime", "transforms": [{"kind": "quantise"}]}, "transforms"),
        ({"name": "x", "runtime": "pytorch", "transforms": [{"kind": "plugin", "name": "zip"}]}, "no transform 'zip'"),
        ({"name": "x", "runtime": "executorch", "transforms": [{"kind": "channels-last"}]}, "choose the lay"),
        ({"name": "x", "runtime": "aotinductor", "transforms": [{"kind": "channels-last"}]}, "Inductor chooses"),
        ({"name": "x", "runtime": "pytorch-mobile", "transforms": [{"kind": "quantize", "mode": "dynamic"}]}, "tools"),
        ({"name": "x", "runtime": "torchscript", "transforms": [{"kind": "quantize"}]}, "FX graph mode"),
        ({"name": "x", "runtime": "litert", "transforms": [{"kind": "dynamic-batch"}]}, "symbols"),
        ({"name": "x", "runtime": "pytorch", "transforms": [{"kind": "cast"}, {"kind": "batch", "size": 2}]}, "first"),
        ({"name": "x", "runtime": "reference"}, "no runtime"),
        ({"name": "litert", "runtime": "onnxruntime"}, "another name"),
    ],
)
def test_a_recipe_that_cannot_be_built_says_why(recipe, says):
    with pytest.raises(RecipeSpecError) as caught:
        presets.parse({"parity": {"min_cosine": 0.99}} | recipe)
    assert says in str(caught.value)


def test_a_malformed_recipe_names_the_field():
    with pytest.raises(RecipeSpecError, match=r"parity\.min_cosine"):
        presets.parse({"name": "x", "runtime": "litert", "parity": {"min_cosine": 7}})


def test_own_recipe_with_own_limits_is_accepted():
    loose = Recipe(name="loose", runtime="onnxruntime", transforms=(Quantize(),), parity=ParityLimits(min_cosine=0.9))
    assert presets.parse(loose) == loose.model_copy(update={"options": {"provider": "cpu"}})


def test_onnx_goes_to_onnxruntime_only():
    specification.check_accepts(presets.preset("onnxruntime-int8"), ModelFormat.ONNX)
    specification.check_accepts(presets.REFERENCE, ModelFormat.ONNX)
    with pytest.raises(RecipeSpecError, match="onnx format") as caught:
        specification.check_accepts(presets.preset("litert"), ModelFormat.ONNX)
    assert "onnxruntime" in caught.value.remedy
    for name in presets.names():
        specification.check_accepts(presets.preset(name), ModelFormat.PT2)


def test_what_is_left_out_is_filled_in():
    recipe = presets.parse({"runtime": "executorch", "transforms": [{"kind": "quantize"}]})
    assert recipe.options == {"backend": "xnnpack"}
    assert recipe.name == "executorch-int8-static"
    assert recipe.parity == FAMILIES["int8"]
    assert presets.parse({"runtime": "litert"}).parity == FP32


def test_infos_list_the_presets_and_not_the_reference():
    infos = presets.infos()
    assert [info.recipe.name for info in infos] == presets.names()
    for info in infos:
        assert info.usable == (not info.missing)
        assert info.summary


def test_listing_recipes_imports_no_heavy_library():
    heavy = "{'torch', 'onnx', 'onnxruntime', 'executorch', 'litert_torch', 'ray', 'scipy'}"
    code = f"import sys; from farm.recipes import presets, keys; presets.infos(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_an_sdk_that_no_package_index_has_is_a_tool_like_others(tmp_path, monkeypatch):
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)
    info = next(info for info in presets.infos() if info.recipe.name == "executorch-qnn")
    assert not info.usable
    assert "$QNN_SDK_ROOT" in info.missing
    with pytest.raises(InfrastructureError, match="QNN_SDK_ROOT") as caught:
        keys.tool_versions(info.recipe)
    assert "set QNN_SDK_ROOT to the folder of its SDK" in caught.value.remedy
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path / "2.37.0"))
    assert specification.installed(["$QNN_SDK_ROOT"]) == {}  # there is no such folder
    (tmp_path / "2.37.0").mkdir()
    assert specification.installed(["$QNN_SDK_ROOT"]) == {"$QNN_SDK_ROOT": "2.37.0"}
    assert specification.sdks(["torch", "$QNN_SDK_ROOT"]) == {"QNN_SDK_ROOT": (tmp_path / "2.37.0").resolve()}


def test_a_transform_can_be_refused_with_one_option_alone():
    static = {"name": "x", "runtime": "executorch", "transforms": [{"kind": "quantize"}]}
    assert presets.parse(static).options["backend"] == "xnnpack"
    with pytest.raises(RecipeSpecError, match="backend vulkan computes that in floating point"):
        presets.parse(static | {"options": {"backend": "vulkan"}})


def test_what_is_installed_meanwhile_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert specification.installed(["late-comer"]) == {}
    for version in ("1.0", "1.1"):
        for old in tmp_path.glob("*.dist-info"):
            shutil.rmtree(old)
        metadata = tmp_path / f"late_comer-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: late-comer\nVersion: {version}\n")
        assert specification.installed(["late-comer"]) == {"late-comer": version}
