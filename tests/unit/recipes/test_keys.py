from hypothesis import given
from hypothesis import strategies as st

from farm.recipes import keys, presets
from farm.types.recipes import FAMILIES

VERSIONS = {"torch": "2.13.0", "onnx": "1.0"}
MODEL = "a" * 64


def test_key_depends_on_model_recipe_and_tools():
    recipe, other = presets.preset("onnxruntime"), presets.preset("onnxruntime-int8")
    built = {
        keys.build_key(MODEL, recipe, VERSIONS),
        keys.build_key("b" * 64, recipe, VERSIONS),
        keys.build_key(MODEL, other, VERSIONS),
        keys.build_key(MODEL, recipe, VERSIONS | {"onnx": "1.1"}),
        keys.build_key(MODEL, presets.preset("litert"), VERSIONS),
    }
    assert len(built) == 5


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.text("abc", min_size=1, max_size=9))
def test_key_ignores_order_of_tools_and_the_name_of_the_recipe(versions, name):
    recipe = presets.preset("onnxruntime")
    turned = dict(reversed(list(versions.items())))
    renamed = recipe.model_copy(update={"name": name, "parity": FAMILIES["int8"]})
    assert keys.build_key(MODEL, recipe, versions) == keys.build_key(MODEL, renamed, turned)
