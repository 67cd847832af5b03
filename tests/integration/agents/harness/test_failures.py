"""What bad inputs, files and machines get: an error record that names the difference, the remedy and the side."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from agents.harness import tensors
from agents.harness.failure import Failure
from agents.harness.runtimes import aotinductor, find, onnxruntime

from .conftest import Measure, job, start
from .programs import FILES, RUNTIMES, Model, each

pytestmark = pytest.mark.real_models

TELLS_SHAPES = tuple(runtime for runtime in RUNTIMES if runtime not in ("torchscript", "pytorch-mobile"))


def inputs(folder: Path, *samples: list[np.ndarray]) -> Path:
    path = folder / "inputs.npz"
    np.savez(path, **{f"{n}.{i}": array for n, sample in enumerate(samples) for i, array in enumerate(sample)})
    return path


IMAGE = np.zeros((1, 3, 32, 32), np.float32)


@pytest.mark.parametrize("runtime", each())
def test_another_number_of_inputs(classifier: Model, measure: Measure, tmp_path: Path, runtime: str) -> None:
    error = measure(classifier, runtime, example_inputs=inputs(tmp_path, [IMAGE] * 2)).error
    assert (error.code, error.fault) == ("wrong-input-count", "user")
    assert "2 inputs given, the program takes 1" in error.message


def test_no_inputs_at_all(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    error = measure(classifier, "onnxruntime", example_inputs=inputs(tmp_path)).error
    assert (error.code, error.fault) == ("bad-tensors", "user")
    assert "it has nothing" in error.message


@pytest.mark.parametrize("runtime", each(TELLS_SHAPES))
def test_another_shape(classifier: Model, measure: Measure, tmp_path: Path, runtime: str) -> None:
    refuses_size(16, classifier, measure, tmp_path, runtime)


def test_a_larger_shape(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    """ExecuTorch tells the largest shape only: a smaller one is tried before it is refused."""
    refuses_size(64, classifier, measure, tmp_path, "executorch")


def refuses_size(size: int, classifier: Model, measure: Measure, tmp_path: Path, runtime: str) -> None:
    wrong = inputs(tmp_path, [np.zeros((1, 3, size, size), np.float32)])
    error = measure(classifier, runtime, example_inputs=wrong).error
    assert (error.code, error.fault) == ("wrong-input-shape", "user")
    assert f"is float32[1, 3, {size}, {size}], the program takes float32[1, 3, 32, 32]" in error.message


@pytest.mark.parametrize("runtime", each(TELLS_SHAPES))
def test_another_dtype(classifier: Model, measure: Measure, tmp_path: Path, runtime: str) -> None:
    error = measure(classifier, runtime, example_inputs=inputs(tmp_path, [IMAGE.astype(np.float64)])).error
    assert (error.code, error.fault) == ("wrong-input-dtype", "user")
    assert "is float64[1, 3, 32, 32], the program takes float32[1, 3, 32, 32]" in error.message


@pytest.mark.parametrize("runtime", ["torchscript", "pytorch-mobile"])
def test_a_format_without_shapes_gives_the_runtimes_own_reason(
    classifier: Model, measure: Measure, tmp_path: Path, runtime: str
) -> None:
    wrong = inputs(tmp_path, [np.zeros((1, 5, 32, 32), np.float32)])
    error = measure(classifier, runtime, example_inputs=wrong).error
    assert error.code == "first-inference-failed"
    assert "to have 3 channels, but got 5 channels" in error.message


def test_a_wrong_parity_input_is_found_before_anything_is_measured(
    classifier: Model, measure: Measure, tmp_path: Path
) -> None:
    wrong = inputs(tmp_path, [IMAGE], [IMAGE[:, :, 1:]], [IMAGE])
    outcome = measure(classifier, "onnxruntime", parity_inputs=wrong)
    assert outcome.error.message.startswith("Parity input 1: input 0 (image) is float32[1, 3, 31, 32]")
    assert "warmup" not in {record["kind"] for record in outcome.records}


@pytest.mark.parametrize("runtime", ["litert", "mnn"])
def test_an_integer_that_the_runtime_cannot_hold(tagger: Model, measure: Measure, tmp_path: Path, runtime: str) -> None:
    with np.load(tagger.folder / "example.npz") as example:
        sample = [example[f"0.{index}"] for index in range(len(example.files))]
    sample[0] = np.full_like(sample[0], 2**40)
    error = measure(tagger, runtime, example_inputs=inputs(tmp_path, sample)).error
    assert error.code == "wrong-input-range"
    assert str(2**40) in error.message


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([np.zeros((1, 10))] * 2, "wrong-output-count: The program returned 1 outputs, PyTorch 2"),
        ([np.zeros((1, 9))], "wrong-output-shape: Output 0 is float32[1, 10], PyTorch's is float64[1, 9]"),
    ],
)
def test_outputs_unlike_pytorchs(
    classifier: Model, measure: Measure, tmp_path: Path, answer: list[np.ndarray], expected: str
) -> None:
    error = measure(classifier, "onnxruntime", reference_outputs=inputs(tmp_path, *[answer] * 3)).error
    assert f"{error.code}: {error.message}".startswith(expected)
    assert error.fault == "recipe"


def test_as_many_references_as_parity_inputs(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    error = measure(classifier, "onnxruntime", reference_outputs=inputs(tmp_path, [np.zeros((1, 10))])).error
    assert (error.code, error.fault) == ("wrong-reference-count", "user")
    assert "3 parity inputs and 1 reference" in error.message


@pytest.mark.parametrize("field", ["example_inputs", "parity_inputs", "reference_outputs", "files"])
def test_a_missing_file_is_named(classifier: Model, measure: Measure, tmp_path: Path, field: str) -> None:
    gone = tmp_path / "gone"
    value = {"model.onnx": str(gone)} if field == "files" else gone
    error = measure(classifier, "onnxruntime", **{field: value}).error
    assert (error.code, error.fault) == ("missing-file", "device")
    assert str(gone) in error.message


def test_an_artifact_of_another_runtime(classifier: Model, measure: Measure) -> None:
    error = measure(classifier, "litert", files={"model.onnx": str(classifier.file("onnxruntime"))}).error
    assert (error.code, error.fault) == ("missing-file", "recipe")
    assert "litert needs model.tflite; the job came with model.onnx" in error.message


@pytest.mark.parametrize("runtime", each())
def test_an_artifact_that_is_damaged(classifier: Model, measure: Measure, tmp_path: Path, runtime: str) -> None:
    damaged = tmp_path / FILES[runtime]
    damaged.write_bytes(b"no model" * 100)
    files = classifier.files(runtime) | {damaged.name: damaged}
    error = measure(classifier, runtime, files={name: str(path) for name, path in files.items()}).error
    assert (error.code, error.fault) == ("load-failed", "recipe")
    assert damaged.name in error.message
    assert "Traceback" in error.traceback


def test_an_unknown_runtime(classifier: Model, measure: Measure) -> None:
    error = measure(classifier, "caffe2", files={"model.onnx": str(classifier.file("onnxruntime"))}).error
    assert (error.code, error.fault) == ("unknown-runtime", "device")
    assert "litert" in error.message


@pytest.mark.parametrize(
    ("runtime", "package"),
    [
        ("pytorch", "torch"),
        ("torchscript", "torch"),
        ("pytorch-mobile", "torch"),
        ("executorch", "executorch"),
        ("onnxruntime", "onnxruntime"),
        ("litert", "ai_edge_litert"),
        ("openvino", "openvino"),
        ("ncnn", "ncnn"),
        ("mnn", "MNN"),
    ],
)
def test_a_runtime_that_is_not_installed(
    classifier: Model, measure: Measure, tmp_path: Path, runtime: str, package: str
) -> None:
    shadow = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    error = measure(classifier, runtime, environment=shadowed(tmp_path, package, shadow)).error
    assert (error.code, error.fault) == ("runtime-missing", "device")
    assert f"'{package}'" in error.message
    assert f"torchfarm[{find(runtime).extra}]" in error.remedy


def test_a_runtime_whose_libraries_are_broken(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    shadow = 'raise ImportError("libgomp.so.1: cannot open")'
    error = measure(classifier, "onnxruntime", environment=shadowed(tmp_path, "onnxruntime", shadow)).error
    assert (error.code, error.fault) == ("import-failed", "device")
    assert "libgomp.so.1" in error.message


def shadowed(folder: Path, package: str, program: str) -> dict[str, str]:
    """An environment in which importing ``package`` runs ``program`` instead."""
    (folder / "first").mkdir()
    (folder / "first" / f"{package}.py").write_text(program)
    return {"PYTHONPATH": f"{folder / 'first'}:{Path(__file__).parents[4]}"}


def test_tensorrt_where_it_is_not_installed(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    files = {name: classifier.file("onnxruntime") for name in find("tensorrt").files}
    environment = shadowed(tmp_path, "tensorrt", "raise ModuleNotFoundError(\"No module named 'tensorrt'\")")
    error = measure(classifier, "tensorrt", environment=environment, files={n: str(p) for n, p in files.items()}).error
    assert (error.code, error.fault) == ("runtime-missing", "device")
    assert "torchfarm[tensorrt]" in error.remedy


def test_an_openvino_device_that_is_not_here(classifier: Model, measure: Measure) -> None:
    error = measure(classifier, "openvino", options={"device": "npu"}).error
    assert (error.code, error.fault) == ("backend-missing", "recipe")
    assert "has no device NPU here; it has CPU" in error.message


@pytest.mark.parametrize(
    ("backend", "code", "says"),
    [
        ("vulkan", "backend-missing", "XnnpackBackend"),  # what it has instead
        ("coreml", "needs-apple", "Core ML backend"),
        ("qnn", "backend-missing", "libQnnHtp.so"),
    ],
)
def test_a_backend_that_executorch_does_not_have_here(
    classifier: Model, measure: Measure, backend: str, code: str, says: str
) -> None:
    error = measure(classifier, "executorch", options={"backend": backend}).error
    assert (error.code, error.fault) == (code, "recipe")
    assert says in error.message


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_openvino_in_executorch_is_not_let_loose_on_more_cpus_than_threads(classifier: Model, measure: Measure) -> None:
    cpus = sorted(os.sched_getaffinity(0))[-2:]
    error = measure(classifier, "executorch", options={"backend": "openvino"}, cpus=cpus).error
    assert error.code == "threads-not-pinned"
    assert "1 threads and uses 2" in error.message


def test_core_ml_needs_apple(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    package = tmp_path / "model.mlpackage.zip"
    package.write_bytes(b"is not looked at")
    error = measure(classifier, "coreml", files={package.name: str(package)}).error
    assert (error.code, error.fault) == ("needs-apple", "recipe")
    assert "Linux" in error.message


def test_an_execution_provider_that_this_build_does_not_have(classifier: Model, measure: Measure) -> None:
    error = measure(classifier, "onnxruntime", options={"provider": "nnapi"}).error
    assert (error.code, error.fault) == ("backend-missing", "recipe")  # the device is well
    assert "no NnapiExecutionProvider; it has" in error.message
    assert "CPUExecutionProvider" in error.message


def test_an_execution_provider_that_takes_nothing(classifier: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's, which is in every wheel, takes operators that call a service and no others."""
    provider = "AzureExecutionProvider"
    monkeypatch.setitem(onnxruntime.PROVIDERS, "nnapi", provider)
    runtime = onnxruntime.Runtime(threads=1)
    files = {"model.onnx": classifier.file("onnxruntime")}
    with pytest.raises(Failure, match=f"{provider} took none .* CPUExecutionProvider [1-9]") as caught:
        runtime.load(files, {"provider": "nnapi"})
    assert (caught.value.code, caught.value.fault) == ("backend-unused", "recipe")
    assert runtime.load(files, {"provider": "cpu"}).inputs[0].shape == (1, 3, 32, 32)


def test_a_cpu_that_does_not_exist(classifier: Model, measure: Measure) -> None:
    error = measure(classifier, "onnxruntime", cpus=[4000]).error
    assert (error.code, error.fault) == ("cpus-not-pinned", "device")


def test_records_of_an_earlier_attempt_are_left_alone(classifier: Model, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("earlier")
    process = start(job(tmp_path, classifier, "onnxruntime"))
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "records.jsonl" in log
    assert (tmp_path / "records.jsonl").read_text() == "earlier"


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_hidden_in_a_pt2_is_not_executed(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    import torch

    mark, poisoned = tmp_path / "executed", tmp_path / "model.pt2"
    pickled = io.BytesIO()
    torch.save(Payload(mark), pickled)
    with zipfile.ZipFile(classifier.file("pytorch")) as source, zipfile.ZipFile(poisoned, "w") as target:
        names = source.namelist()
        [samples] = [name for name in names if "sample_inputs" in name and name.endswith(".pt")]
        for name in names:
            target.writestr(name, pickled.getvalue() if name == samples else source.read(name))
    error = measure(classifier, "pytorch", files={"model.pt2": str(poisoned)}).error
    assert error.code == "load-failed"
    assert not mark.exists()
    torch.load(io.BytesIO(pickled.getvalue()), weights_only=False)
    assert mark.exists()  # the payload does work where it is let


def test_torch_compile_without_a_compiler_says_what_to_install(classifier: Model, measure: Measure) -> None:
    bare = {"PATH": "/nonexistent", "CXX": "no-such-compiler"}
    error = measure(classifier, "pytorch", options={"mode": "compile"}, environment=bare).error
    assert (error.code, error.fault) == ("compiler-missing", "recipe")  # nothing is said against the device
    assert "apt install g++" in error.remedy


def test_a_batch_that_the_program_does_not_take_is_refused(classifier: Model, measure: Measure) -> None:
    error = measure(classifier, "onnxruntime", batch=2).error
    assert error.code == "wrong-input-shape"
    assert "float32[2, 3, 32, 32]" in error.message


def test_outputs_without_a_batch_cannot_be_told_apart() -> None:
    with pytest.raises(Failure, match=r"output 1 is float32\[3\]"):
        tensors.unstacked([np.zeros((4, 2)), np.zeros(3, np.float32)], 2)
    with pytest.raises(Failure, match="an input is a number"):
        tensors.stacked([[np.zeros(())]], 2)


def test_a_package_for_another_cpu_is_not_loaded() -> None:
    metadata = {"AOTI_MACHINE": "x86_64", "farm_cpu_flags": "avx2 avx512f"}
    aotinductor.check_cpu(metadata, "x86_64", {"avx2", "avx512f", "fma"})
    with pytest.raises(Failure, match="a CPU with avx512f, which this one lacks") as caught:
        aotinductor.check_cpu(metadata, "x86_64", {"avx2", "fma"})
    assert (caught.value.code, caught.value.fault) == ("wrong-cpu", "recipe")
    with pytest.raises(Failure, match="compiled for x86_64, this machine is aarch64"):
        aotinductor.check_cpu(metadata, "aarch64", set())
