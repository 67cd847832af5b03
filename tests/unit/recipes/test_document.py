import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import RecipeSpecError
from farm.recipes import document, presets
from farm.types import Quantize

TEXT = """
- onnxruntime
- runtime: executorch
  options: {backend: xnnpack}
  transforms:
    - {kind: quantize, dtype: int8, mode: static}
  parity: {min_cosine: 0.98}
"""


def test_names_and_recipes_spelled_out_can_be_mixed():
    first, second = document.recipes(TEXT, "mine.yaml")
    assert first == presets.preset("onnxruntime")
    assert second.transforms == (Quantize(),)
    assert second.parity.min_cosine == 0.98


@given(st.lists(st.sampled_from(presets.names()), min_size=1, max_size=5))
def test_every_preset_survives_being_written_down(names):
    spelled = [presets.preset(name).model_dump(mode="json") for name in names]
    assert document.recipes(yaml.safe_dump(spelled), "x") == tuple(map(presets.preset, names))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "- onnxruntime\n- onxruntime\n",
            "mine.yaml, line 2: There is no recipe .* Did you mean onnxruntime",
        ),
        ("- runtime: litert\n\n- runtime: litert\n  option: {}\n", "mine.yaml, line 3: .*option"),
        ("recipes: [litert]\n", "no list"),
        ("", "no list"),
        ("- 5\n", "line 1: 5 is no recipe"),
        ("- {a: b: c}\n", "no YAML.*line 1"),
    ],
)
def test_errors_point_at_the_line(text, says):
    with pytest.raises(RecipeSpecError, match=f"(?s){says}"):
        document.recipes(text, "mine.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeSpecError, match=r"none\.yaml"):
        document.read(tmp_path / "none.yaml")
