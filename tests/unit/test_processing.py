"""Declared steps where a model is uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import farm
from farm import EvaluationSet, steps
from farm.packaging import package
from farm.recipes import samples
from farm.types import ModelSpec

PHOTO = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
BEFORE = [
    steps.Resize(height=4, width=4, where="host"),
    steps.Scale(factor=1 / 255),
    steps.Transpose(axes=(2, 0, 1)),
    {"kind": "expand"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"the farm looks into it when it builds")
    return path


def packed(file: Path, **options: Any) -> tuple[ModelSpec, dict[str, samples.Sample]]:
    with package(file, **{"example_inputs": (PHOTO,), "preprocessing": BEFORE} | options) as made:
        spec = made.spec
        blobs = {"example": spec.example_inputs, "raw": spec.raw_example}
        if spec.evaluation:
            blobs["evaluation"] = spec.evaluation.inputs
        return spec, {name: samples.read(made.files[blob.sha256], name)[0] for name, blob in blobs.items() if blob}


def test_builds_get_what_the_program_takes_and_devices_what_their_steps_take(file: Path) -> None:
    photos = EvaluationSet(np.stack([PHOTO, PHOTO]), [0, 1])
    spec, sent = packed(file, evaluation=photos, postprocessing=[steps.Softmax(), steps.TopK(k=2, where="host")])
    assert str(spec.inputs[0]) == "input_0: float32[1, 3, 4, 4]"
    assert str(spec.raw_inputs[0]) == "input_0: uint8[8, 8, 3]"
    assert (sent["raw"][0].shape, sent["raw"][0].dtype) == ((4, 4, 3), np.uint8)
    wanted = (sent["raw"][0] * np.float32(1 / 255)).transpose(2, 0, 1)[None]
    assert np.allclose(sent["example"][0], wanted)
    assert np.array_equal(sent["evaluation"][0], sent["example"][0])
    assert spec.host_preprocess_seconds is not None
    assert 0 < spec.host_preprocess_seconds < 1
    assert [step.kind for step in spec.postprocessing] == ["softmax", "top-k"]
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_time_of_host_steps_is_no_part_of_a_models_address(file: Path) -> None:
    first, _ = packed(file)
    second, _ = packed(file)
    assert first.id == second.id
    assert first.id != packed(file, preprocessing=BEFORE[1:], example_inputs=(PHOTO[:4, :4],))[0].id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": [{"kind": "rotate"}]}, r"preprocessing 0: .*rotate"),
        ({"preprocessing": [{"kind": "normalize", "mean": [0], "std": [0]}]}, r"preprocessing 0.*std.*greater than 0"),
        ({"preprocessing": [{"kind": "normalize", "mean": [0, 1], "std": [1]}]}, "2 means and 1 standard deviations"),
        ({"preprocessing": [steps.Scale(factor=2), steps.Expand(where="host")]}, "a host step does not come before"),
        ({"postprocessing": [steps.Softmax(where="host"), steps.TopK(k=1)]}, "a host step does not come after"),
        (
            {"preprocessing": [steps.Crop(height=20, width=20)]},
            r"Sample 0 of the example inputs: Step 0 \(crop\) cannot be taken with \(uint8\[8, 8, 3\]\)",
        ),
        (
            {"parity_inputs": [(PHOTO,), (PHOTO[:4],)]},
            r"Sample 1 of the parity inputs: input_0 is uint8\[4, 8, 3\], the model takes",
        ),
    ],
)
def test_steps_that_cannot_be_are_refused_before_anything_is_sent(
    file: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(farm.ModelError, match=message) as caught:
        packed(file, **options)
    assert caught.value.remedy


@pytest.mark.real_models
def test_steps_that_are_part_of_the_model_are_exported_with_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(4, 3).eval()
    whole = farm.with_steps(net, before=[lambda x: x / 255], after=[torch.nn.Softmax(-1)])
    x = torch.full((1, 4), 51.0)
    assert not whole.training
    assert torch.equal(whole(x), torch.softmax(net(x / 255), -1))
    with package(whole, (x,)) as made:
        spec, path = made.spec, made.files[made.spec.program.sha256]
        assert spec.inputs[0].shape == (1, 4)
        program = torch.export.load(path).module()
        assert torch.allclose(program(x), whole(x))


@pytest.mark.real_models
def test_steps_after_a_live_model_are_tried_on_its_answer() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(farm.ModelError, match=r"After the model: Step 0 \(top-k\) .* there are 3 values, not 5"):
        package(torch.nn.Linear(4, 3), (torch.ones(1, 4),), postprocessing=[steps.TopK(k=5)])
