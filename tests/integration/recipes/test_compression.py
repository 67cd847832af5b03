"""Programs that are made smaller first and then built: really smaller, still right enough, and trainings that survive
the death of their worker."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import farm
from examples import digits
from farm.errors import RecipeError, RecipeSpecError
from farm.packaging import package
from farm.recipes import presets, transforms
from farm.recipes.build import stage_model
from farm.recipes.program import Program
from farm.types import Recipe
from tests.integration.recipes import engines
from tests.integration.recipes.test_ends import SCRIPT
from tests.integration.recipes.test_presets import cosine
from tests.integration.recipes.workshop import images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]

DATA = digits.load_digits()
LONG = Recipe("pytorch", transforms=[farm.prune(0.5), farm.distill(steps=1_000_000, batch_size=4)])


@pytest.fixture(scope="module")
def trained():
    return digits.load_model(DATA)


@pytest.fixture(scope="module")
def known(workshop, trained):
    return workshop.put(
        package(
            trained,
            (DATA.example,),
            name="digits",
            parity_inputs=DATA.parity,
            calibration_inputs=DATA.calibration,
            training_inputs=DATA.training_inputs,
        )
    )


def answers(workshop, artifact, runtime, tmp_path):
    path = workshop.fetch(artifact, tmp_path)
    return [found.ravel() for found in engines.outputs(runtime, path, digits.samples(DATA.evaluation))]


def accuracy(found):
    return np.mean([row.argmax() == label for row, label in zip(found, DATA.labels, strict=True)])


def test_the_example_knows_the_digits(trained):
    with torch.inference_mode():
        assert accuracy(trained(torch.from_numpy(DATA.evaluation)).numpy()) > 0.97


def test_a_distilled_program_is_smaller_and_right_again(workshop, known, tmp_path):
    pruned = workshop.build(known, "onnxruntime-pruned50-structured")
    distilled = workshop.build(known, "onnxruntime-distilled")
    whole = workshop.build(known, "onnxruntime")
    assert distilled.size_bytes < pruned.size_bytes + 2_000 < whole.size_bytes / 2
    assert [step.label for step in distilled.report.lineage] == ["prune50-structured", "distilled", "onnxruntime"]
    assert distilled.report.lineage[0].parameters == distilled.report.parameters < 23_034 / 3
    notes = " ".join(distilled.report.notes)
    assert "23,034 parameters became" in notes
    assert "Trained on 1136 training and 64 calibration inputs." in notes
    assert "200 steps on cpu: the loss went from" in notes
    before = answers(workshop, pruned, "onnxruntime", tmp_path)
    after = answers(workshop, distilled, "onnxruntime", tmp_path)
    assert accuracy(before) + 0.2 < accuracy(after) > 0.95


def test_shared_weights_stay_shared_on_the_way_into_onnx(workshop, known, tmp_path):
    import onnx

    recipe = Recipe("onnxruntime", transforms=[farm.palettize(2), farm.distill(steps=20)])
    artifact = workshop.build(known, recipe)
    model = onnx.load(str(workshop.fetch(artifact, tmp_path)))
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) > 1]
    # The exporter folds batch norms, so that a channel of a convolution has values of its own.
    counts = [
        max(len(np.unique(part)) for part in weight) if weight.ndim == 4 else len(np.unique(weight))
        for weight in weights
    ]
    assert len(weights) == 5
    assert max(counts) <= 4


def transformed(workshop, spec, folder, *steps):
    """The program after these transforms, and their notes; in this process."""
    stage_model(spec, workshop.store, folder)
    program, notes = Program(spec, folder), []
    for step in steps:
        applied = transforms.find(step).apply(program, step)
        program = applied.program
        notes += applied.notes
    return program, notes


def test_folding_and_pruning_one_after_the_other(workshop, spec, tmp_path):
    program, notes = transformed(workshop, spec, tmp_path, farm.fuse(), farm.prune(0.25))
    assert "2 of 2 batch norms folded into the layer before them." in notes
    assert any(note.startswith("184 of 736 weights of 3 layers are zero (25.0%)") for note in notes)
    (image,) = program.tensors()
    whole = small_net()
    with torch.no_grad():
        torch.testing.assert_close(program.original.module()(image), whole(image))  # no transform changes the teacher
        assert not torch.allclose(program.module()(image), whole(image))


def test_a_program_with_nothing_to_fold_stays_as_it_is(workshop, tmp_path):
    plain = workshop.put(
        package(torch.nn.Sequential(torch.nn.Linear(4, 2)), (np.zeros((1, 4), np.float32),), name="plain")
    )
    program, notes = transformed(workshop, plain, tmp_path, farm.fuse())
    assert program is program.original
    assert "Nothing to fuse" in notes[0]


@pytest.mark.parametrize("name", ["executorch-xnnpack-pruned50-structured", "litert-pruned50-structured"])
def test_other_runtimes_take_the_smaller_program(workshop, known, name, tmp_path):
    """It answers what PyTorch answers when it was pruned in the same way."""
    recipe = presets.preset(name)
    same = answers(workshop, workshop.build(known, "pytorch-pruned50-structured"), "pytorch", tmp_path)
    assert cosine(answers(workshop, workshop.build(known, name), recipe.runtime, tmp_path), same) > 0.9999


# --- distillation: users' own, errors ------------------------------------------------------------------------


OWN_LOSS = """
def loss(student, teacher):
    return sum((ours - theirs).abs().mean() for ours, theirs in zip(student, teacher))
"""
OWN_TRAINING = """
import torch

def train(student, teacher, data, session):
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    for step in range(session.resume(optimizer), session.settings.steps):
        (image,) = data[step]
        optimizer.zero_grad()
        loss = (student(image) - teacher(image).detach()).square().mean()
        loss.backward()
        optimizer.step()
        session.done(step, float(loss), optimizer)
"""


@pytest.mark.parametrize(
    ("source", "says"),
    [(OWN_LOSS, "The loss is the recipe's own."), (OWN_TRAINING, "Trained by the recipe's own function.")],
)
def test_own_losses_and_trainings(workshop, spec, source, says, tmp_path):
    steps = farm.prune(0.5), farm.distill(steps=3, source=source)
    program, notes = transformed(workshop, spec, tmp_path, *steps)
    assert says in " ".join(notes)
    assert any(note.startswith("3 steps on cpu") for note in notes)
    weights = torch.cat([tensor.flatten() for tensor in program.exported().parameters() if tensor.ndim > 1])
    assert int((weights == 0).sum()) == len(weights) // 2


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("def loss(a, b):\n    return a +\n", RecipeSpecError, "in line 2"),
        ("x = 1\n", RecipeSpecError, "neither train"),
        ("def loss(a, b):\n    return a[5]\n", RecipeError, "distillation.py:2, in loss"),
    ],
)
def test_what_is_wrong_with_own_sources_is_said_with_its_line(workshop, spec, source, kind, says, tmp_path):
    with pytest.raises(kind, match=says):
        transformed(workshop, spec, tmp_path, farm.prune(0.5), farm.distill(steps=3, source=source))


def test_a_model_without_data_and_a_student_that_is_the_teacher_are_refused(workshop, spec, tmp_path):
    bare = workshop.put(package(small_net(), (images(1)[0],), name="bare"))
    with pytest.raises(RecipeSpecError, match="nothing to learn from"):
        transformed(workshop, bare, tmp_path, farm.prune(0.5), farm.distill())
    with pytest.raises(RecipeSpecError, match="nothing to repair"):
        transformed(workshop, spec, tmp_path, farm.distill())


# --- distillation: what survives -----------------------------------------------------------------------------


def test_a_training_goes_on_where_its_killed_worker_was(workshop, spec, tmp_path):
    recipe = Recipe("pytorch", transforms=[farm.prune(0.5), farm.distill(steps=800, batch_size=8)])
    request = workshop.request(spec, recipe)
    (tmp_path / "request.json").write_text(request.model_dump_json())
    (kept,) = workshop.checkpoints(spec, recipe)
    worker = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "request.json"), "0"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while not kept.exists() and worker.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert kept.exists()
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    report = workshop.build(spec, recipe).report
    (note,) = (note for note in report.notes if "resumed at step" in note)
    assert note.startswith("800 steps on cpu, resumed at step ")


def told(artifact):
    """What its report says of its steps."""
    return [note for note in artifact.report.notes if "the loss went from" in note]


def test_a_student_is_trained_once_for_all_recipes(workshop, spec, tmp_path):
    student = farm.prune(0.4), farm.distill(steps=6)
    first = workshop.build(spec, Recipe("pytorch", transforms=student))
    second = workshop.build(spec, Recipe("onnxruntime", transforms=student))
    (one,), (other,) = told(first), told(second)
    assert other == one.replace("6 steps on cpu", "An earlier build trained it, in 6 steps on cpu") != one
    outputs = [
        engines.outputs(runtime, workshop.fetch(artifact, tmp_path), images(3))
        for runtime, artifact in (("pytorch", first), ("onnxruntime", second))
    ]
    assert cosine(*outputs) > 0.99999

    (kept,) = workshop.checkpoints(spec, Recipe("pytorch", transforms=student))
    kept.write_bytes(kept.read_bytes()[:1000])
    (third,) = told(workshop.build(spec, Recipe("torchscript", transforms=student)))
    assert third.startswith(one)
    assert "What an earlier build had left was discarded." in third
    assert "earlier build trained it" in told(workshop.build(spec, Recipe("openvino", transforms=student)))[0]


def test_a_program_may_be_distilled_twice(workshop, spec):
    once = farm.prune(0.3), farm.distill(steps=4)
    twice = *once, farm.prune(0.6), farm.distill(steps=5)
    workshop.build(spec, Recipe("pytorch", transforms=once))
    first, second = told(workshop.build(spec, Recipe("pytorch", transforms=twice)))
    assert first.startswith("An earlier build trained it, in 4 steps on cpu")
    assert second.startswith("5 steps on cpu: ")
    assert all(path.exists() for path in workshop.checkpoints(spec, Recipe("pytorch", transforms=twice)))


@pytest.mark.slow
def test_a_training_that_takes_too_long_keeps_what_it_has(workshop, spec):
    with pytest.raises(RecipeError, match="What it had trained is kept") as caught:
        workshop.build(spec, LONG, timeout_seconds=20.0)
    assert "distill_timeout_seconds" in caught.value.remedy
    assert workshop.checkpoints(spec, LONG)[0].exists()
    assert 'farm.progress: {"step": ' in caught.value.details["log_tail"]
