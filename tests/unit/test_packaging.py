import collections
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farm.errors import ModelError
from farm.packaging import package
from farm.recipes import samples
from farm.types import ModelFormat

torch = pytest.importorskip("torch")

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


class Scale(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, features, factor):
        return {"scaled": self.dropout(self.linear(features)) * factor, "raw": features}


def scale():
    torch.manual_seed(3)
    return Scale()


def arrays(made, blob):
    return samples.read(made.files[blob.sha256], "test")


def test_a_module_becomes_a_program_with_inputs_and_reference_outputs():
    model, factor = scale(), np.array(2, np.int64)
    with package(model, (torch.from_numpy(X), factor), parity_inputs=[(X, factor), (X + 1, factor)]) as made:
        spec = made.spec
        assert (spec.name, spec.format) == ("Scale", ModelFormat.PT2)
        assert [str(given) for given in spec.inputs] == ["features: float32[2, 4]", "factor: int64[]"]
        assert spec.calibration_inputs is None
        assert set(made.files) == {
            blob.sha256 for blob in (spec.program, spec.example_inputs, spec.parity_inputs, spec.reference_outputs)
        }
        np.testing.assert_array_equal(arrays(made, spec.parity_inputs)[1][0], X + 1)
        program = torch.export.load(str(made.files[spec.program.sha256]))
        answers = arrays(made, spec.reference_outputs)
        for shift, (scaled, raw) in enumerate(answers):
            given = torch.from_numpy(X) + shift
            found = program.module()(given, torch.from_numpy(factor))
            np.testing.assert_allclose(found["scaled"].detach(), scaled, atol=1e-6)
            np.testing.assert_array_equal(raw, given)
        assert program.example_inputs is None


def test_the_model_is_left_as_it_was():
    model = scale().train()
    model.linear.eval()
    with package(model, (X, np.float32(2).reshape(()))):
        pass
    assert model.training
    assert model.dropout.training
    assert not model.linear.training


def test_the_same_model_has_the_same_id_and_files_go_with_the_package():
    with package(scale(), (X, X[0, 0].reshape(()))) as one, package(scale(), (X, X[0, 0].reshape(()))) as two:
        assert one.spec.id == two.spec.id
        paths = list(one.files.values())
        assert all(path.is_file() for path in paths)
    assert not any(path.exists() for path in paths)


def test_example_inputs_do_not_drag_their_storage_along():
    huge = torch.zeros(1000, 1000)
    with package(torch.nn.Flatten(), (huge[:2, :4],)) as made:
        assert made.spec.program.size_bytes < 100_000


def test_samples_may_be_given_as_single_tensors_or_files(tmp_path):
    samples.write(tmp_path / "calibration.npz", [(X,), (X * 2,)])
    inputs = torch.from_numpy(X)
    with package(
        torch.nn.ReLU(), inputs, name="net", parity_inputs=[inputs, X], calibration_inputs=tmp_path / "calibration.npz"
    ) as made:
        assert made.spec.inputs[0].name == "input"
        assert len(arrays(made, made.spec.calibration_inputs)) == 2
        assert len(arrays(made, made.spec.reference_outputs)) == 2


def test_outputs_of_own_classes_are_flattened():
    pair = collections.namedtuple("pair", "first second")

    class Pairs(torch.nn.Module):
        def forward(self, x):
            return pair(x + 1, x * 2)

    with package(Pairs(), (X,)) as made:
        program = torch.export.load(str(made.files[made.spec.program.sha256]))
        assert type(program.module()(torch.from_numpy(X))) is tuple
        assert len(arrays(made, made.spec.reference_outputs)[0]) == 2


class Branching(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # depends on data
            return x
        return -x


def test_a_model_that_does_not_export_shows_the_reason_and_the_line():
    with pytest.raises(ModelError) as caught:
        package(Branching(), (X,))
    error = caught.value
    assert error.message.startswith("torch.export cannot export the model: GuardOnDataDependentSymNode")
    line = next(
        number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "# depends on data" in text
    )
    assert f"{__file__}:{line}, in forward" in error.message
    assert "TorchScript or ONNX" in error.remedy


def test_a_model_that_does_not_run_shows_the_reason_and_the_line():
    class Broken(torch.nn.Module):
        def forward(self, x):
            return x @ torch.zeros(7, 7)

    with pytest.raises(ModelError) as caught:
        package(Broken(), (X,))
    assert "does not run on its inputs: RuntimeError: mat1 and mat2 shapes cannot be multiplied" in caught.value.message
    assert f"{__file__}:" in caught.value.message


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        (None, {}, "No example inputs"),
        ((X, X), {}, "does not run"),
        (({"x": X},), {}, "is a dict"),
        ((X.astype(np.complex64),), {}, "complex64"),
        ((torch.zeros(2, 4, dtype=torch.bfloat16),), {}, "cannot be turned into an array"),
        ((X,), {"parity_inputs": [X[:1]]}, "Sample 0 of the parity inputs: input is float32[1, 4]"),
        ((X,), {"calibration_inputs": [X, X.astype(float)]}, "Sample 1 of the calibration inputs"),
        ((X,), {"parity_inputs": X}, "not a list of samples"),
        ((X,), {"input_names": ["a", "b"]}, "2 input names were given for 1 inputs"),
        ((X,), {"name": "my model"}, "cannot be a model's name"),
    ],
)
def test_wrong_inputs_are_named(inputs, options, says):
    with pytest.raises(ModelError) as caught:
        package(torch.nn.ReLU(), inputs, **options)
    assert says in caught.value.message


def test_outputs_that_are_no_tensors_are_named():
    class Count(torch.nn.Module):
        def forward(self, x):
            return x, 3

    with pytest.raises(ModelError, match="Output 1 of the model is a int"):
        package(Count(), (X,))


def test_other_objects_are_refused():
    with pytest.raises(ModelError, match=r"no plain nn\.Module"):
        package(object(), (X,))
    with pytest.raises(ModelError, match=r"no plain nn\.Module"):
        package(torch.jit.script(torch.nn.ReLU()), (X,))


def test_files_are_taken_as_they_are(tmp_path):
    for name in ("net.onnx", "net.pt2"):
        (tmp_path / name).write_bytes(b"content")
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "net.pt"))
    for suffix, expected in (("onnx", "onnx"), ("pt2", "pt2"), ("pt", "torchscript")):
        path = tmp_path / f"net.{suffix}"
        with package(path, (X,)) as made:
            assert (made.spec.name, made.spec.format.value) == ("net", expected)
            assert made.files[made.spec.program.sha256] == path
            assert made.spec.reference_outputs is None
            assert made.spec.inputs[0].name == "input_0"


def test_a_state_dict_is_no_program(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="state dict") as caught:
        package(tmp_path / "weights.pt", (X,))
    assert "hand over the nn.Module" in caught.value.remedy
    with pytest.raises(ModelError, match="no format"):
        package(Path(__file__), (X,))
    with pytest.raises(ModelError, match="no file"):
        package(tmp_path / "none.pt2", (X,))


def test_packaging_a_file_needs_no_torch(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"content")
    code = (
        "import sys, numpy; from farm.packaging import package\n"
        "with package(sys.argv[1], (numpy.zeros(2),)) as made: print(made.spec.name, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "net.onnx")], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "net False\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"litert": "ops.py"}, "Custom operators for litert are not taken"),
        ({"onnxruntime": "ops.py"}, "is of another type"),
        ({"pytorch": "lost.so"}, "does not exist"),
    ],
)
def test_custom_operators_that_cannot_be_any_are_refused(tmp_path, given, why):
    (tmp_path / "ops.py").write_text("")
    operators = {runtime: tmp_path / name for runtime, name in given.items()}
    with pytest.raises(ModelError, match=why):
        package(torch.nn.ReLU(), X, custom_operators=operators)


def test_custom_operators_are_part_of_the_model_and_of_its_id(tmp_path):
    ids = []
    for content in ("# one", "# two"):
        (tmp_path / "ops.py").write_text(content)
        with package(torch.nn.ReLU(), X, custom_operators={"pytorch": tmp_path / "ops.py"}) as made:
            (own,) = made.spec.custom_operators
            assert (own.runtime, own.kind) == ("pytorch", "python")
            assert made.files[own.file.sha256].read_text() == content
            assert own.file in made.spec.blobs
            ids.append(made.spec.id)
    assert ids[0] != ids[1]
