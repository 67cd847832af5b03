"""What ONNX Runtime's own tools make of models, and what they refuse."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import farm
from farm.errors import RecipeError, RecipeSpecError
from farm.recipes import presets, specification
from farm.types import Recipe
from tests.integration.recipes import engines
from tests.integration.recipes.converting import Convolution, Weightless, convert, encoder, sentences, unpacked
from tests.integration.recipes.test_presets import cosine
from tests.integration.recipes.workshop import images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]

DYNAMIC = farm.quantize("int8")
MATRICES = 5  # with constant weights: in and out of attention, two of the feed-forward net, the head


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """The encoder as an ONNX upload, so that it is exported once."""
    folder = tmp_path_factory.mktemp("language")
    convert(unpacked(encoder(), sentences(8), folder), presets.preset("onnxruntime"), folder)
    return unpacked(folder / "model.onnx", sentences(8), folder)


def operators(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    ("transform", "operator", "ratio"),
    [
        (farm.quantize("int8"), "MatMulInteger", 0.5),
        (farm.quantize("int8", weight_only=True), "MatMulNBits", 0.6),
        (farm.quantize("int4", weight_only=True), "MatMulNBits", 0.5),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_linear_layers_of_a_transformer_are_quantized(language, tmp_path, transform, operator, ratio):
    recipe = Recipe("onnxruntime", transforms=[transform])
    built = convert(language, recipe, tmp_path)
    path = tmp_path / "model.onnx"
    assert operators(path)[operator] == MATRICES
    quantized = next(note for note in built.notes if note.startswith("Quantized: "))
    assert f"{MATRICES} x {operator}" in quantized
    with torch.inference_mode():
        expected = [encoder()(torch.from_numpy(ids)).numpy() for ids in sentences(8)]
    assert cosine(engines.outputs("onnxruntime", path, sentences(8)), expected) > recipe.parity.min_cosine
    weights = sum(parameter.numel() for parameter in encoder().parameters()) * 4
    assert path.stat().st_size < ratio * weights
    assert built.delegation is not None
    assert built.delegation.operators["CPUExecutionProvider"] >= MATRICES
    assert built.delegation.left_over == {}


def test_a_program_whose_shapes_onnx_runtime_cannot_follow_is_quantized_all_the_same(tmp_path, capfd):
    """What sentence encoders end with."""

    class Unit(torch.nn.Linear):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(super().forward(values), dim=-1)

    torch.manual_seed(3)
    model, inputs = Unit(16, 8).eval(), [np.full((1, 16), value, np.float32) for value in (0.3, 1.0, -2.0)]
    built = convert(unpacked(model, inputs, tmp_path), Recipe("onnxruntime", transforms=[DYNAMIC]), tmp_path)
    assert "symbolic shape inference failed" in capfd.readouterr().out
    assert any("MatMulInteger" in note for note in built.notes)
    with torch.inference_mode():
        expected = [model(torch.from_numpy(values)).numpy() for values in inputs]
    assert cosine(engines.outputs("onnxruntime", tmp_path / "model.onnx", inputs), expected) > 0.99


def test_what_stays_in_floating_point_is_said(tmp_path):
    program = unpacked(small_net(), images(1), tmp_path)
    built = convert(program, presets.preset("onnxruntime-int8-weight-only"), tmp_path / "made")
    assert built.notes == ("Quantized: 1 x MatMulNBits.", "Left in floating point: 2 x Conv.")


def test_fp16_keeps_the_types_of_inputs_and_outputs(language, tmp_path):
    convert(language, presets.preset("onnxruntime-fp16"), tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [value.type for value in (*session.get_inputs(), *session.get_outputs())] == [
        "tensor(int64)",
        "tensor(float)",
    ]


@pytest.mark.parametrize(
    ("model", "transform", "reason"),
    [
        (Convolution, farm.quantize("int8", weight_only=True), r"covers linear layers .* alone, and the model has 1 x"),
        (Weightless, farm.quantize("int8"), "quantized nothing.*the model has no layers with constant weights"),
        (Weightless, farm.quantize("int8", static=True), "quantized nothing.*no layers with constant weights"),
    ],
)
def test_quantizing_nothing_is_no_success(tmp_path, model, transform, reason):
    program = unpacked(model().eval(), images(2), tmp_path)
    with pytest.raises(RecipeError, match=reason):
        convert(program, Recipe("onnxruntime", transforms=[transform]), tmp_path / "made")


def test_fp16_without_weights_is_no_success(tmp_path):
    program = unpacked(torch.nn.MaxPool2d(2).eval(), images(1), tmp_path)
    with pytest.raises(RecipeError, match="no fp32 weights"):
        convert(program, presets.preset("onnxruntime-fp16"), tmp_path / "made")


@pytest.mark.parametrize(
    "transforms",
    [(), (farm.cast(),), (farm.quantize("int8", static=True),)],
    ids=["fp32", "fp16", "int8-static"],
)
def test_a_batch_of_any_size_stays_one(tmp_path, transforms):
    batch = torch.export.Dim("batch", min=1, max=8)
    example = torch.from_numpy(np.concatenate(images(2)))
    exported = torch.export.export(small_net(), (example,), dynamic_shapes=({0: batch},))
    program = unpacked(small_net(), images(4), tmp_path).replaced(exported)
    convert(program, Recipe("onnxruntime", transforms=transforms), tmp_path / "made")
    session = onnxruntime.InferenceSession(tmp_path / "made" / "model.onnx")
    (taken,) = session.get_inputs()
    assert [isinstance(size, str) for size in taken.shape] == [True, False, False, False]
    several = np.concatenate(images(5))
    with torch.inference_mode():
        expected = small_net()(torch.from_numpy(several)).numpy()
    (found,) = session.run(None, {taken.name: several})
    assert cosine([found], [expected]) > 0.99


def test_only_the_device_knows_what_a_provider_takes(language, tmp_path):
    built = convert(language, presets.preset("onnxruntime-cuda"), tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == language.path.read_bytes()  # any provider runs it
    assert built.delegation is None
    assert any("provider cuda takes shows on the device" in note for note in built.notes)


def test_one_of_its_own_transforms_at_a_time(language, tmp_path):
    both = Recipe("onnxruntime", transforms=[farm.cast(), farm.quantize("int8")])
    with pytest.raises(RecipeSpecError, match="fp16 and int8-dynamic"):
        convert(language, both, tmp_path)


@pytest.mark.parametrize("transform", [farm.cast("bfloat16"), farm.quantize("int4", static=True), farm.channels_last()])
def test_refusals_say_why(transform):
    with pytest.raises(RecipeSpecError, match=rf"cannot be built with {transform.label}: .+\. Leave"):
        specification.complete(Recipe("onnxruntime", transforms=[transform]))
