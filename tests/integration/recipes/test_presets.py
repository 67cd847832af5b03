"""Every preset builds a real network, and its artifact answers what PyTorch answers."""

import numpy as np
import pytest
import torch

from farm.errors import RecipeSpecError
from farm.packaging import package
from farm.recipes import presets, samples, specification
from farm.types import ModelFormat
from farm.types.recipes import FP32
from tests.integration.recipes import engines
from tests.integration.recipes.workshop import SHAPE, images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


def cosine(found, expected):
    a, b = (np.concatenate([np.ravel(part) for part in parts]).astype(float) for parts in (found, expected))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def assert_parity(found, expected, limits):
    assert cosine(found, expected) >= limits.min_cosine
    if limits.max_abs_error_ratio is not None:
        error = max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))
        assert error <= limits.max_abs_error_ratio * max(np.abs(b).max() for b in expected)


# Nothing here runs these, or they differ from another by an option: test_coreml.py, test_executorch.py and
# test_onnxruntime.py build them.
ELSEWHERE = ("coreml", "executorch-coreml", "executorch-vulkan", "executorch-portable")
# What changes the program is tested on one that has learned something: test_compression.
LEARNED = {"prune", "palettize", "distill"}
NAMES = [
    name
    for name in presets.names()
    if not name.startswith(ELSEWHERE)
    and not LEARNED & {made.kind for made in presets.preset(name).transforms}
    and presets.preset(name).options.get("provider", "cpu") == "cpu"
]


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_builds_what_pytorch_computes(workshop, spec, name, tmp_path):
    recipe = presets.preset(name)
    if missing := set(specification.tools(recipe)) - specification.installed(specification.tools(recipe)).keys():
        pytest.skip(f"{', '.join(sorted(missing))} is not installed here")
    if recipe.runtime not in engines.ENGINES and specification.toolchains.of_tools(specification.tools(recipe)):
        pytest.skip("its engine lives in a toolchain: see the tests of toolchains")
    artifact = workshop.build(spec, name)
    parity = images(8, seed=2)
    with torch.inference_mode():
        expected = [small_net()(torch.from_numpy(image)).numpy() for image in parity]
    found = engines.outputs(recipe.runtime, workshop.fetch(artifact, tmp_path), parity)
    assert_parity(found, expected, recipe.parity)
    report = artifact.report
    assert report.seconds > 0
    assert report.peak_rss_bytes > 50 * 2**20
    assert report.tool_versions["torch"].startswith(torch.__version__.split("+")[0])
    corrected = (
        "executorch-xnnpack-int8",
        "onnxruntime-int8",
        "litert-int8",
        "pytorch-compile-int8",
        "aotinductor-int8",
    )
    if recipe.name in corrected:
        notes = " ".join(report.notes)
        assert "16 calibration inputs" in notes
        assert "Bias corrected in 3 layers" in notes
        fused = "2 activations fused into the layer before them." in report.notes
        assert fused == (recipe.runtime == "executorch")
    if recipe.runtime == "executorch":
        backend = {"xnnpack": "XnnpackBackend", "openvino": "OpenvinoBackend"}[recipe.options["backend"]]
        assert report.delegation is not None
        assert set(report.delegation.operators) == {backend}
    assert not any("Not delegated" in note for note in report.notes)


def test_reference_is_what_the_model_itself_answers(workshop, spec, tmp_path):
    artifact = workshop.build(spec, "reference")
    rows = samples.read(workshop.fetch(artifact, tmp_path), "reference outputs")
    with torch.inference_mode():
        expected = [small_net()(torch.from_numpy(image)).numpy() for image in images(8, seed=2)]
    assert len(rows) == len(expected)
    for (row,), answer in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, answer, atol=1e-6)


def test_int8_without_calibration_inputs_says_so(workshop):
    bare = workshop.put(package(small_net(), (images(1)[0],), name="bare"))
    artifact = workshop.build(bare, "onnxruntime-int8")
    assert "No calibration inputs were given: calibrated with the example inputs alone." in artifact.report.notes


@pytest.fixture(scope="module")
def script(workshop, tmp_path_factory):
    path = tmp_path_factory.mktemp("upload") / "small.pt"
    torch.jit.trace(small_net(), torch.zeros(SHAPE)).save(str(path))
    return workshop.put(package(path, (images(1)[0],), parity_inputs=images(4), input_names=["image"]))


@pytest.mark.parametrize("name", ["torchscript", "pytorch-mobile", "onnxruntime"])
def test_torchscript_uploads_build_directly_or_lifted(workshop, script, name, tmp_path):
    assert script.format == ModelFormat.TORCHSCRIPT
    artifact = workshop.build(script, name)
    with torch.inference_mode():
        expected = [small_net()(torch.from_numpy(image)).numpy() for image in images(4)]
    found = engines.outputs(presets.preset(name).runtime, workshop.fetch(artifact, tmp_path), images(4))
    assert_parity(found, expected, FP32)


def test_torchscript_uploads_have_a_reference(workshop, script, tmp_path):
    rows = samples.read(workshop.fetch(workshop.build(script, "reference"), tmp_path), "reference outputs")
    assert [row[0].shape for row in rows] == [(1, 10)] * 4


def test_onnx_uploads_go_to_onnxruntime_and_nowhere_else(workshop, spec, tmp_path):
    made = workshop.fetch(workshop.build(spec, "onnxruntime"), tmp_path)
    upload = workshop.put(package(made, (images(1)[0],), parity_inputs=images(4), calibration_inputs=images(8)))
    expected = engines.outputs("onnxruntime", made, images(4))
    for name in ("onnxruntime", "onnxruntime-int8"):
        (tmp_path / name).mkdir()
        artifact = workshop.fetch(workshop.build(upload, name), tmp_path / name)
        assert_parity(engines.outputs("onnxruntime", artifact, images(4)), expected, presets.preset(name).parity)
    rows = samples.read(workshop.fetch(workshop.build(upload, "reference"), tmp_path), "reference outputs")
    np.testing.assert_allclose(rows[0][0], expected[0], atol=1e-6)
    with pytest.raises(RecipeSpecError, match="onnx format"):
        workshop.build(upload, "litert")
