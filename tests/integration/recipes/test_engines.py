"""What OpenVINO, ncnn, MNN and TensorRT need beyond a conversion."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from agents.harness.runtimes import find
from farm.cluster.labels import has_gpu
from farm.errors import RecipeError
from farm.packaging import package
from farm.recipes import presets, specification
from farm.recipes.program import Program
from farm.recipes.runtimes import BUILDERS, Built, openvino, tensorrt
from farm.types import Delegation
from tests.integration.recipes import engines
from tests.integration.recipes.workshop import images

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


class Compare(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1).gt(0.5)


class Dense(torch.nn.Module):
    """A layer whose activations OpenVINO quantizes when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture
def program(workshop, spec, tmp_path):
    return workshop.program(spec, tmp_path / "staged")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """In a build it is the build's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


def built(program: Program, name: str, folder: Path) -> tuple[Path, Built]:
    """By the preset's builder, in this process."""
    folder.mkdir()
    recipe = presets.preset(name)
    builder = BUILDERS[recipe.runtime]
    return folder / builder.FILES[0], builder.build(program, recipe, folder)


def test_layers_that_ncnn_does_not_have_are_named(workshop, tmp_path):
    spec = workshop.put(package(Compare(), (np.ones((1, 8), np.float32),), name="compare"))
    with pytest.raises(RecipeError) as caught:
        built(workshop.program(spec, tmp_path / "staged"), "ncnn", tmp_path / "ncnn")
    assert "ncnn has no layer for torch.gt" in caught.value.message


def test_openvino_and_mnn_take_onnx(workshop, program, tmp_path):
    made, _ = built(program, "onnxruntime", tmp_path / "onnx")
    upload = workshop.put(package(made, (images(1)[0],)))
    expected = engines.outputs("onnxruntime", made, images(4))
    for name in ("openvino", "mnn"):
        path, _ = built(workshop.program(upload, tmp_path / f"{name}-staged"), name, tmp_path / name)
        np.testing.assert_allclose(engines.outputs(name, path, images(4)), expected, atol=1e-5)


def test_only_dynamic_quantization_quantizes_openvinos_activations(workshop, tmp_path):
    torch.manual_seed(3)
    sample = torch.randn(4, 256)
    program = workshop.program(workshop.put(package(Dense(), (sample,), name="dense")), tmp_path / "staged")
    answers = []
    for name in ("openvino-int8-weight-only", "openvino-int8-dynamic"):
        path, made = built(program, name, tmp_path / name)
        loaded = find("openvino")(1).load({file: path.with_name(file) for file in openvino.FILES}, {})
        answers += loaded.outputs(loaded.bind([sample.numpy()])())
        assert made.delegation == Delegation(operators={"CPU f32": 2})  # of the kernels, not of the weights
        assert path.with_suffix(".bin").stat().st_size < 4 * 256 * 512 * 2 / 3
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.05


def test_tensorrt_gets_types_and_ranges_in_the_network(program, tmp_path):
    path = tmp_path / "network.onnx"
    assert tensorrt.write_onnx(program, presets.preset("tensorrt-fp16"), path) == ()
    graph = onnx.load(str(path)).graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}
    assert [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)] == [onnx.TensorProto.FLOAT] * 2

    (note,) = tensorrt.write_onnx(program, presets.preset("tensorrt-int8"), path)
    assert note == "Calibrated with 16 calibration inputs."
    graph = onnx.load(str(path)).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zero_points = [values[node.input[2]] for node in graph.node if node.op_type == "DequantizeLinear"]
    assert len(zero_points) > 6
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zero_points)  # all that TensorRT takes


def test_tensorrt_says_what_is_missing(program, tmp_path):
    (info,) = (info for info in presets.infos() if info.recipe.name == "tensorrt")
    assert "NVIDIA GPU" in info.summary
    if specification.installed(["tensorrt"]):
        pytest.skip("TensorRT is installed here")
    assert info.missing == ("tensorrt",)
    with pytest.raises(RecipeError, match="needs the tensorrt package and an NVIDIA GPU") as caught:
        tensorrt.build(program, info.recipe, tmp_path)
    assert "farm agent" in caught.value.remedy


@pytest.mark.skipif(
    not (specification.installed(["tensorrt"]) and has_gpu()), reason="needs tensorrt and an NVIDIA GPU"
)
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-fp16", "tensorrt-int8"])
def test_tensorrt_engines_answer_as_pytorch_does(workshop, spec, tmp_path, name):
    from tests.integration.recipes.test_presets import assert_parity
    from tests.integration.recipes.workshop import small_net

    workshop.fetch(workshop.build(spec, name), tmp_path)
    loaded = find("tensorrt")(1).load({file: tmp_path / file for file in tensorrt.FILES}, {})
    found = [loaded.outputs(loaded.bind([image])())[0] for image in images(8, seed=2)]
    with torch.inference_mode():
        expected = [small_net()(torch.from_numpy(image)).numpy() for image in images(8, seed=2)]
    assert_parity(found, expected, presets.preset(name).parity)
