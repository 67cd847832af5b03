"""What LiteRT's own tools make of models, and what they refuse."""

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

import farm
from farm.errors import RecipeError, RecipeSpecError
from farm.recipes import presets, specification
from farm.recipes.transforms import ai_edge
from farm.types import Recipe
from farm.types.recipes import default_parity
from tests.integration.recipes import engines
from tests.integration.recipes.converting import Weightless, convert, encoder, sentences, unpacked
from tests.integration.recipes.test_presets import cosine
from tests.integration.recipes.workshop import images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """The encoder in fp32, converted once."""
    folder = tmp_path_factory.mktemp("language")
    built = convert(unpacked(encoder(), sentences(8), folder), presets.preset("litert"), folder)
    assert built.notes == ("LiteRT takes int64 inputs as int32: ids.",)
    return folder / "model.tflite"


@pytest.mark.parametrize(
    ("transform", "ratio"),
    [
        (farm.cast(), 0.7),
        (farm.quantize("int8"), 0.5),
        (farm.quantize("int8", weight_only=True), 0.5),
        (farm.quantize("int4", weight_only=True), 0.4),
        (farm.quantize("int4"), 0.4),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_layers_of_a_transformer_become_small(language, tmp_path, transform, ratio):
    path = tmp_path / "model.tflite"
    notes = ai_edge.transform(language, path, transform, ())
    assert notes == (f"Weights in {transform.dtype}: 5 x FULLY_CONNECTED, 1 x EMBEDDING_LOOKUP.",)
    with torch.inference_mode():
        expected = [encoder()(torch.from_numpy(ids)).numpy() for ids in sentences(8)]
    narrow = [ids.astype(np.int32) for ids in sentences(8)]
    assert cosine(engines.outputs("litert", path, narrow), expected) > default_parity([transform]).min_cosine
    assert path.stat().st_size < ratio * sum(parameter.numel() for parameter in encoder().parameters()) * 4


def test_static_int8_calibrates_with_integers_and_keeps_the_types_of_inputs_and_outputs(language, tmp_path):
    path = tmp_path / "model.tflite"
    notes = ai_edge.transform(language, path, farm.quantize("int8", static=True), [(ids,) for ids in sentences(8)])
    assert notes[-1] == "Bias corrected in 3 layers."  # the others have none: the converter leaves out zeros
    interpreter = Interpreter(str(path))
    edges = (*interpreter.get_input_details(), *interpreter.get_output_details())
    assert [details["dtype"] for details in edges] == [np.int32, np.float32]
    assert any(details["dtype"] == np.int8 for details in interpreter.get_tensor_details())


def test_operators_are_counted_by_who_takes_them(tmp_path):
    program = unpacked(small_net(), images(2), tmp_path)
    plain = convert(program, presets.preset("litert"), tmp_path / "plain").delegation
    dynamic = convert(program, presets.preset("litert-int8-dynamic"), tmp_path / "dynamic").delegation
    assert plain is not None
    assert dynamic is not None
    assert plain.left_over == {}
    assert plain.operators["XNNPACK"] == _operators(tmp_path / "plain" / "model.tflite")
    # XNNPACK has no depthwise convolution with weights in int8 and activations in floating point.
    assert dynamic.left_over == {"DEPTHWISE_CONV_2D": 1}
    assert dynamic.operators["XNNPACK"] == _operators(tmp_path / "dynamic" / "model.tflite") - 1


def _operators(path):
    return len(Interpreter(str(path))._get_ops_details())  # before allocate_tensors: without delegates


def test_quantizing_nothing_is_no_success(tmp_path):
    program = unpacked(Weightless().eval(), images(2), tmp_path)
    convert(program, presets.preset("litert"), tmp_path)
    for transform in (farm.cast(), farm.quantize("int8"), farm.quantize("int8", static=True)):
        with pytest.raises(RecipeError, match=f"{transform.label} changed nothing.*no layers with constant weights"):
            ai_edge.transform(tmp_path / "model.tflite", tmp_path / "made", transform, [tuple(images(1))])


def test_one_of_its_own_transforms_at_a_time(tmp_path):
    program = unpacked(small_net(), images(2), tmp_path)
    with pytest.raises(RecipeSpecError, match="fp16 and int8-dynamic"):
        convert(program, Recipe("litert", transforms=[farm.cast(), farm.quantize("int8")]), tmp_path)


@pytest.mark.parametrize(
    "transform", [farm.cast("bfloat16"), farm.quantize("int4", static=True), farm.channels_last(), farm.dynamic_batch()]
)
def test_refusals_say_why(transform):
    with pytest.raises(RecipeSpecError, match=rf"cannot be built with {transform.label}: .+\. Leave"):
        specification.complete(Recipe("litert", transforms=[transform]))
