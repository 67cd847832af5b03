"""The parts of pruning, weight sharing and distillation that are exact, on networks of a few layers."""

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from farm.errors import RecipeError
from farm.recipes.transforms import channels, fuse, layers, lesson, palettize, prune
from farm.recipes.transforms.session import Constraints, Session
from farm.recipes.transforms.snapshot import Snapshot
from farm.types import Distill
from tests.integration.recipes.workshop import SHAPE, small_net
from tests.unit.recipes.test_layers import CASES, Tied

CPU = torch.device("cpu")
IMAGE = torch.rand(SHAPE, generator=torch.Generator().manual_seed(3))


def taken(model, *inputs):
    return layers.of(torch.export.export(model.eval(), inputs, strict=False))


# --- reshapes ------------------------------------------------------------------------------------------------


@st.composite
def reshapes(draw):
    """A shape, and another of as many elements that joins, splits, adds and drops axes of it."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    factors = [
        factor for size in shape for factor in ([2, size // 2] if size in (4, 6) and draw(st.booleans()) else [size])
    ]
    cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    parts = [factors[a:b] for a, b in zip([0, *cuts], [*cuts, len(factors)], strict=True)]
    return tuple(shape), tuple(math.prod(part) for part in parts)


@given(reshapes())
def test_groups_of_a_reshape_hold_each_axis_once_and_as_many_elements(case):
    before, after = case
    groups = channels.grouped(before, after)
    assert [axis for taken, _ in groups for axis in taken] == list(range(len(before)))
    assert [axis for _, given in groups for axis in given] == list(range(len(after)))
    for old, new in groups:
        assert math.prod(before[axis] for axis in old) == math.prod(after[axis] for axis in new)


def test_a_reshape_follows_the_channels_that_are_left():
    assert channels.resized((1, 16, 4, 4), (1, 256), (1, 8, 4, 4)) == [1, 128]
    assert channels.resized((1, 16, 1, 1), (1, 16), (1, 3, 1, 1)) == [1, 3]
    assert channels.resized((1, 7, 32), (1, 7, 4, 8), (1, 7, 16)) is None  # fewer heads, or smaller ones?


# --- structured pruning --------------------------------------------------------------------------------------


def test_what_is_left_computes_what_the_whole_would_without_the_rest():
    model = small_net()
    whole = small_net()
    module = taken(model, IMAGE)
    prune._structured(module, (IMAGE,), 0.5)
    rows = whole.stem[0].weight.flatten(1)
    kept = [
        next(i for i, row in enumerate(rows) if torch.equal(row, ours))
        for ours in module.get_parameter("stem.0.weight").flatten(1)
    ]
    assert len(set(kept)) == len(kept) == 8
    gone = [index for index in range(16) if index not in kept]
    with torch.no_grad():
        whole.head.weight[:, gone] = 0
        torch.testing.assert_close(module(IMAGE), whole(IMAGE))


class Written(nn.Module):
    """Sizes are written into the program, as ``x.view(x.size(0), ...)`` does at export."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
        self.hidden, self.out = nn.Linear(8 * 28 * 28, 20), nn.Linear(20, 5)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        x = x.view(x.size(0), x.size(1) * x.size(2) * x.size(3))
        return self.out(torch.relu(self.hidden(x)))


def test_written_sizes_follow():
    module = taken(Written(), IMAGE)
    prune._structured(module, (IMAGE,), 0.5)
    assert module.get_parameter("hidden.weight").shape == (10, 4 * 28 * 28)
    assert module(IMAGE).shape == (1, 5)


def test_attention_embeddings_and_outputs_keep_their_channels():
    module = taken(Tied(), *CASES["transformer"][1])
    before = {name: parameter.shape for name, parameter in module.named_parameters()}
    notes = prune._structured(module, CASES["transformer"][1], 0.5)
    changed = {name for name, parameter in module.named_parameters() if parameter.shape != before[name]}
    assert changed == {"block.linear1.weight", "block.linear1.bias", "block.linear2.weight"}
    assert "unflatten" in notes[1]


def test_a_program_of_protected_layers_is_refused_with_the_reasons():
    with pytest.raises(RecipeError, match="1 for the outputs"):
        prune._structured(taken(nn.Linear(4, 4), torch.rand(1, 4)), (torch.rand(1, 4),), 0.5)


def test_embeddings_that_keep_their_channels_are_among_the_layers():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
    ids = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(RecipeError, match="2 of 2 layers keep all their channels"):
        prune._structured(taken(model, ids), (ids,), 0.5)


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.mixed, self.out = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.out(torch.relu(torch.channel_shuffle(self.mixed(self.first(x)), 2)))


class Branched(nn.Module):
    """As detectors of the YOLO family are: split, one half goes on, all parts are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.out = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(24, 4, 1)

    def forward(self, x):
        left, right = self.first(x).chunk(2, dim=1)
        return self.out(torch.cat([left, right, torch.relu(self.branch(right))], 1))


def test_split_and_joined_tensors_keep_their_channels_and_with_them_all():
    with pytest.raises(RecipeError, match="1 for chunk, 1 for cat"):
        prune._structured(taken(Branched(), IMAGE), (IMAGE,), 0.5)


def test_operators_that_mix_channels_protect_what_they_take():
    module = taken(Shuffled(), IMAGE)
    found = channels.followed(module).protected
    assert module.get_submodule("mixed") in found
    assert module.get_submodule("first") not in found
    prune._structured(module, (IMAGE,), 0.5)
    assert module(IMAGE).shape == (1, 4, *SHAPE[2:])


# --- single weights, shared weights --------------------------------------------------------------------------


def test_the_smallest_weights_of_all_layers_go():
    module = taken(small_net(), IMAGE)
    whole = torch.cat([layer.weight.abs().flatten() for layer in prune.weighty(module)])
    assert prune._unstructured(module, 0.25).startswith("184 of 736 weights of 3 layers are zero (25.0%)")
    left = torch.cat([layer.weight.flatten() for layer in prune.weighty(module)])
    assert whole[left == 0].max() <= whole[left != 0].min()


@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.float32, (7, 9), elements=st.floats(-10, 10, width=32)), st.sampled_from([2, 4, 16]))
def test_clusters_are_few_lie_within_the_range_and_keep_order(weights, count):
    found = palettize.clustered(weights, count)
    assert found.shape == weights.shape
    assert len(np.unique(found)) <= count
    assert weights.min() - 1e-5 <= found.min() <= found.max() <= weights.max() + 1e-5
    order = np.argsort(weights, axis=None)
    if np.count_nonzero(weights) == weights.size:
        assert (np.diff(found.ravel()[order]) >= 0).all()


def test_pruned_weights_stay_zero_when_the_rest_is_shared():
    weights = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    weights[np.abs(weights) < 0.5] = 0
    found = palettize.clustered(weights, 16)
    assert np.array_equal(found == 0, weights == 0)
    assert len(np.unique(found)) == 16


def test_more_clusters_are_closer():
    weights = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    errors = [np.square(palettize.clustered(weights, 2**bits) - weights).mean() for bits in (1, 2, 4, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.0101  # the best 16 levels for a normal distribution: 0.0095 (Max 1960, table I)


# --- folding -------------------------------------------------------------------------------------------------


def test_batch_norms_are_folded_and_dropout_goes():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ConvTranspose2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(8 * 34 * 34, 6),
        nn.BatchNorm1d(6),
    )
    for norm in (model[1], model[6]):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    module = taken(model, IMAGE)
    assert (fuse._fold(module), fuse._drop(module)) == (2, 1)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    with torch.no_grad():
        torch.testing.assert_close(module(IMAGE), model(IMAGE), atol=1e-5, rtol=1e-4)


# --- training ------------------------------------------------------------------------------------------------


def test_zeros_stay_zero_and_shared_weights_stay_shared():
    weights = np.random.default_rng(0).normal(size=(8, 50)).astype(np.float32)
    weights[np.abs(weights) < 0.4] = 0
    model = nn.Sequential(nn.Linear(50, 8), nn.Linear(8, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(palettize.clustered(weights, 8)))
    constraints = Constraints(model)
    assert len(constraints) == 1  # the second layer is free
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(2, 50)).square().sum().backward()
        optimizer.step()
        constraints.apply()
    found = model[0].weight.detach().numpy()
    assert len(np.unique(found)) == 8
    assert np.array_equal(found == 0, weights == 0)


@given(st.integers(1, 40), st.integers(1, 16), st.integers(0, 5))
@settings(deadline=None, max_examples=20)
def test_all_samples_come_in_turn(count, batch, seed):
    session = Session(nn.Linear(1, 1), Distill(batch_size=batch, seed=seed), Path(), CPU)
    size = min(batch, count)
    seen = [index for step in range(count) for index in session.indices(count, step)]
    assert all(sorted(seen[turn * count : (turn + 1) * count]) == list(range(count)) for turn in range(size))


def trained(path, first, last):
    """The weights after ``last`` steps of 8, of a student whose training begins or resumes with the checkpoint there,
    and what the report says of it."""
    student, teacher = taken(small_net(), IMAGE).requires_grad_(True), taken(small_net(), IMAGE)
    prune._unstructured(student, 0.5)
    settings = Distill(steps=8, batch_size=2, learning_rate=0.01)
    session = Session(student, settings, path, CPU)
    done = session.done

    def stop_early(step, loss, *optimizers):
        done(step, loss, *optimizers)
        if step + 1 == last < 8:
            session.keep(last, *optimizers)
            raise InterruptedError

    session.done = stop_early
    data = [(torch.rand(SHAPE, generator=torch.Generator().manual_seed(n)),) for n in range(5)]
    with contextlib.suppress(InterruptedError):
        lesson.train(student, teacher, data, session)
    assert session.first_step == first
    return [parameter.detach() for parameter in student.parameters()], session.note


def same(ours, theirs):
    return all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


def test_a_training_that_goes_on_ends_where_one_without_a_break_does(tmp_path):
    whole, note = trained(tmp_path / "whole", 0, 8)
    assert note.startswith("8 steps on cpu: the loss went from ")
    trained(tmp_path / "cut", 0, 3)
    again, note = trained(tmp_path / "cut", 3, 8)
    assert same(again, whole)
    assert note.startswith("8 steps on cpu, resumed at step 3: the loss went from ")


def test_what_was_trained_to_the_end_is_not_trained_again(tmp_path):
    whole, before = trained(tmp_path / "kept", 0, 8)
    written = (tmp_path / "kept").stat().st_mtime_ns
    again, after = trained(tmp_path / "kept", 8, 8)
    assert same(again, whole)
    assert after == before.replace("8 steps on cpu", "An earlier build trained it, in 8 steps on cpu")
    assert (tmp_path / "kept").stat().st_mtime_ns == written


def flipped(content):
    """One bit of a weight is another."""
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: b"", "A checkpoint cannot be read"),
        (lambda content: content[: len(content) // 2], "A checkpoint cannot be read"),
        (flipped, "its content is not what was written"),
        (lambda content: safetensors.torch.save({"student.0.weight": torch.ones(1)}), "A checkpoint cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_discarded_and_the_report_says_so(tmp_path, damage, says):
    whole, _ = trained(tmp_path / "kept", 0, 8)
    (tmp_path / "kept").write_bytes(damage((tmp_path / "kept").read_bytes()))
    again, note = trained(tmp_path / "kept", 0, 8)
    assert same(again, whole)
    assert note.startswith("8 steps on cpu: ")
    assert "What an earlier build had left was discarded." in note
    assert says in note
    trained(tmp_path / "kept", 8, 8)


def test_the_checkpoint_of_another_student_is_not_taken(tmp_path):
    Snapshot(2, [1.0], "cpu", {"0.weight": torch.ones(2, 1)}).write(tmp_path / "other")
    with pytest.raises(RecipeError, match="of another student"):
        Snapshot.read(tmp_path / "other", {"0.weight": torch.ones(1, 1)})


def test_a_training_that_diverges_says_so(tmp_path):
    with pytest.raises(RecipeError, match="loss is nan in step 4"):
        Session(nn.Linear(1, 1), Distill(), tmp_path / "none", CPU).done(4, math.nan)
