"""What the transforms of the PyTorch program make of it: the same answers, smaller or in another layout or batch."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from farm.errors import ModelError, RecipeSpecError
from farm.packaging import package
from farm.recipes import transforms
from farm.recipes.program import CALIBRATION, EXAMPLES, PARITY, PROGRAM, Program
from farm.recipes.transforms import eager_int
from farm.types import Batch, Cast, ChannelsLast, DynamicBatch, Quantize
from tests.integration.recipes.workshop import images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


class Encoder(torch.nn.Module):
    """What text models do with numbers: a table of embeddings, a mask at the end of float32's range, positions that
    are made inside, normalization, several outputs of several types."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 64)
        self.register_buffer("bias", torch.randn(64))
        self.norm = torch.nn.LayerNorm(64)
        self.query, self.value = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64, bias=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        positions = torch.arange(ids.shape[1], dtype=torch.float32) / ids.shape[1]
        x = self.norm(self.embedding(ids) + positions[:, None] + torch.zeros(64) + self.bias)
        hidden = (1.0 - mask)[:, None, :] * torch.finfo(torch.float32).min
        weights = torch.softmax(self.query(x) @ x.transpose(1, 2) / 8 + hidden, dim=-1)
        means = (weights @ self.value(x)).mean(1) * (mask.sum(1, dtype=torch.float32) / 4)[:, None]
        return {"scores": means, "lengths": (ids > 0).sum(1), "share": (ids > 0).sum(1) / ids.shape[1]}


def encoder() -> Encoder:
    torch.manual_seed(3)
    return Encoder().eval()


def texts(count: int) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(5)
    masks = [np.array([[1.0] * 5 + [index % 2] * 3], dtype=np.float32) for index in range(count)]
    return [(rng.integers(1, 100, (1, 8)), mask) for mask in masks]


def program_of(module: torch.nn.Module, samples: list, folder: Path, **options: object) -> Program:
    made = package(module, samples[0], parity_inputs=samples, calibration_inputs=samples, **options)
    with made:
        names = {PROGRAM: made.spec.program, EXAMPLES: made.spec.example_inputs, PARITY: made.spec.parity_inputs}
        for name, blob in {**names, CALIBRATION: made.spec.calibration_inputs}.items():
            shutil.copyfile(made.files[blob.sha256], folder / name)
        return Program(made.spec, folder)


def answers(module: torch.nn.Module, samples: list) -> list[list[np.ndarray]]:
    with torch.inference_mode():
        outputs = [module(*map(torch.from_numpy, sample)) for sample in samples]
        return [[leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(output)] for output in outputs]


def assert_near(found: list, expected: list, cosine: float) -> None:
    for position in range(len(expected[0])):
        a, b = (np.concatenate([np.ravel(row[position]) for row in rows]) for rows in (found, expected))
        assert a.dtype == b.dtype
        assert np.isfinite(a).all()
        a, b = a.astype(float), b.astype(float)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= cosine


def apply(program: Program, transform: object) -> tuple[Program, tuple[str, ...]]:
    applied = transforms.find(transform).apply(program, transform)
    return applied.program, applied.notes


def stored_bytes(exported: object) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in exported.state_dict.values())


@pytest.mark.parametrize(("dtype", "cosine"), [("float16", 0.9999), ("bfloat16", 0.999)])
@pytest.mark.parametrize(("make", "samples"), [(small_net, [(i,) for i in images(4)]), (encoder, texts(4))])
def test_half_precision_computes_the_same_and_keeps_the_types_outside(make, samples, dtype, cosine, tmp_path):
    program = program_of(make(), samples, tmp_path)
    cast, _ = apply(program, Cast(dtype=dtype))
    assert_near(answers(cast.module(), samples), answers(make(), samples), cosine)
    half = getattr(torch, dtype)
    floats = {t.dtype for t in cast.exported().state_dict.values() if t.is_floating_point()}
    assert floats == {half}
    values = [node.meta["val"] for node in cast.exported().graph.nodes if node.op == "call_function"]
    wide = [value for value in values if getattr(value, "dtype", None) == torch.float32]
    outputs = sum(array.dtype == np.float32 for array in answers(make(), samples)[0])
    # Only what leaves, and what is made of integers or for a constant on its way to half precision.
    assert len(wide) <= outputs + 4
    assert stored_bytes(cast.exported()) < 0.51 * stored_bytes(program.exported())


def test_weights_beyond_half_precision_become_the_largest_there_is(tmp_path):
    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, -1e9, -float("inf")]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x + self.mask, -1)

    cast, notes = apply(program_of(Masked(), [(np.ones((1, 3), np.float32),)], tmp_path), Cast())
    assert notes == ("1 weights were beyond ±65504 and are that now.",)
    (mask,) = cast.exported().buffers()
    assert mask.tolist() == [0, -65504, -float("inf")]


@pytest.mark.parametrize(
    ("transform", "cosine", "ratio"),
    [
        (Quantize(mode="dynamic"), 0.999, 0.3),
        (Quantize(mode="weight-only"), 0.999, 0.3),
        (Quantize(dtype="int4", mode="weight-only"), 0.99, 0.25),
    ],
)
def test_linear_layers_become_integers_and_small(transform, cosine, ratio, tmp_path):
    samples = texts(4)
    program = program_of(encoder(), samples, tmp_path)
    quantized, (note,) = apply(program, transform)
    assert note == f"{transform.label}: 2 linear layers with 8,192 of 14,784 parameters."
    assert_near(answers(quantized.module(), samples), answers(encoder(), samples), cosine)
    left = stored_bytes(quantized.exported()) - (14_784 - 8_192 + 64) * 4
    assert left < ratio * 8_192 * 4


@pytest.mark.parametrize("mode", ["dynamic", "weight-only"])
def test_quantizing_nothing_is_refused(mode, tmp_path):
    class Bare(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu()

    program = program_of(Bare(), [(np.ones((1, 3), np.float32),)], tmp_path)
    with pytest.raises(RecipeSpecError, match="no linear layers"):
        apply(program, Quantize(mode=mode))
    with pytest.raises(RecipeSpecError, match="no float32 weights"):
        apply(program, Cast())
    with pytest.raises(RecipeSpecError, match="no 2-d convolutions"):
        apply(program, ChannelsLast())


def test_int4_takes_groups_of_32_alone(tmp_path):
    program = program_of(small_net(), [(image,) for image in images(1)], tmp_path)
    with pytest.raises(RecipeSpecError, match="no multiple of 32"):
        apply(program, Quantize(dtype="int4", mode="weight-only"))


def test_channels_last_turns_weights_and_answers_the_same(tmp_path):
    samples = [(image,) for image in images(4)]
    program = program_of(small_net(), samples, tmp_path)
    turned, (note,) = apply(program, ChannelsLast())
    assert note == "2 convolutions with weights in channels-last."
    assert_near(answers(turned.module(), samples), answers(small_net(), samples), 0.999999)
    path = tmp_path / "saved.pt2"
    torch.export.save(turned.exported(), path)
    weight = torch.export.load(path).state_dict["stem.0.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_batches_come_of_a_model_with_a_batch_of_any_size(tmp_path):
    samples = [(image,) for image in images(6)]
    program = program_of(small_net(), samples, tmp_path, dynamic_batch=True)
    expected = np.concatenate([row[0] for row in answers(small_net(), samples)])
    assert [size for (_, shape, _) in _inputs(program) for size in shape] == [1, 3, 32, 32]

    batched, _ = apply(program, Batch(size=4))
    assert [size for (_, shape, _) in _inputs(batched) for size in shape] == [4, 3, 32, 32]
    assert [row[0].shape for row in (batched.example, *batched.calibration)] == [(4, 3, 32, 32)] * 3
    assert [str(spec) for spec in batched.spec.inputs] == ["image: float32[4, 3, 32, 32]"]
    found = np.concatenate([row[0] for row in answers(batched.module(), batched.calibration)])
    np.testing.assert_allclose(found[:6], expected, atol=1e-6)
    np.testing.assert_array_equal(found[6:], found[[5, 5]])

    dynamic, _ = apply(program, DynamicBatch(max_size=8))
    assert [size for (_, shape, _) in _inputs(dynamic) for size in shape] == [None, 3, 32, 32]
    for then in (Cast(), ChannelsLast(), Quantize(mode="dynamic")):
        after, _ = apply(dynamic, then)
        assert _inputs(after)[0][1][0] is None
        stacked = np.concatenate([image for (image,) in samples])
        assert_near(answers(after.module(), [(stacked,)]), [[expected]], 0.999)


def _inputs(program: Program) -> list:
    from farm.recipes import shapes

    return shapes.inputs(program.exported())


def test_a_model_of_one_size_takes_no_batches(tmp_path):
    program = program_of(small_net(), [(image,) for image in images(1)], tmp_path)
    for transform in (Batch(size=4), DynamicBatch()):
        with pytest.raises(RecipeSpecError, match="dynamic_batch=True"):
            apply(program, transform)


class _Fixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 12) * 2  # this line is named


class _Mixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(0)


@pytest.mark.parametrize(
    ("module", "shape", "says"),
    [
        (_Fixed(), (1, 3, 4), r"does not run on a batch of three samples.*test_torch_transforms.py:\d+, in forward"),
        (_Mixed(), (1, 3), r"\[3\] for one sample and \[3\] for three: its first dimension is no batch"),
        (torch.nn.Identity(), (4, 3), r"has 1 as the first dimension of every input, but .*\[4, 3\]"),
    ],
)
def test_models_that_take_no_batch_are_refused_where_they_are_exported(module, shape, says):
    with pytest.raises(ModelError, match=says):
        package(module, (np.ones(shape, np.float32),), dynamic_batch=True)


def test_a_torchscript_file_cannot_be_submitted_for_batches(tmp_path):
    path = tmp_path / "small.pt"
    torch.jit.trace(small_net(), torch.zeros(1, 3, 32, 32)).save(str(path))
    with pytest.raises(ModelError, match=r"no \.pt2"):
        package(path, (images(1)[0],), dynamic_batch=True)


class _OwnConvolution(torch.nn.Conv2d):
    """As many vision libraries have one; Inductor's quantizer goes by the class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(torch.nn.functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_static_int8_finds_every_layer_and_keeps_no_floating_weights(dynamic_batch, tmp_path):
    pytest.importorskip("torchao")
    torch.manual_seed(7)
    net = torch.nn.Sequential(_OwnConvolution(3, 64, 3), torch.nn.Hardtanh(0, 6), torch.nn.Conv2d(64, 64, 3)).eval()
    samples = [(image,) for image in images(4)]
    program = program_of(net, samples, tmp_path, dynamic_batch=dynamic_batch)
    quantized = eager_int.static(program)
    assert "2 of 2 convolutions and linear layers in int8." in quantized.notes
    assert_near(answers(quantized.program.module(), samples), answers(net, samples), 0.99)
    assert stored_bytes(quantized.program) < 0.35 * stored_bytes(program.exported())


def test_static_int8_of_no_layers_is_refused(tmp_path):
    program = program_of(torch.nn.ReLU(), [(np.ones((1, 3), np.float32),)], tmp_path)
    with pytest.raises(RecipeSpecError, match="would quantize nothing"):
        eager_int.static(program)
