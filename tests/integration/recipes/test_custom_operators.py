"""Custom operators from upload over builds to the harness: the worked example of docs/custom-operators.md."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch

from farm.errors import ModelError, RecipeError
from farm.packaging import package
from farm.recipes import keys, presets
from farm.types import Artifact, ModelSpec
from tests.integration.agents.harness.conftest import Measure, measure  # noqa: F401 - a fixture
from tests.integration.agents.harness.programs import Model
from tests.integration.recipes.workshop import Workshop

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]
EXAMPLE = Path(__file__).parents[3] / "examples" / "custom_operator"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("custom_operator_example", EXAMPLE / "model.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    path = tmp_path_factory.mktemp("library") / "libsquash.so"
    flags = ["-std=c++17", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, str(EXAMPLE / "squash.cpp"), "-o", str(path)], check=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    return list(np.random.default_rng(5).normal(size=(3, 1, 64)).astype(np.float32))


@pytest.fixture(scope="module")
def squashed(workshop: Workshop, example: ModuleType, library: Path, inputs: list[np.ndarray]) -> ModelSpec:
    torch.manual_seed(5)
    operators = {"pytorch": EXAMPLE / "ops.py", "onnxruntime": library}
    return workshop.put(
        package(example.Squashed().eval(), (inputs[0],), parity_inputs=inputs, custom_operators=operators)
    )


@pytest.fixture(scope="module")
def onnx_artifact(workshop: Workshop, squashed: ModelSpec) -> Artifact:
    return workshop.build(squashed, "onnxruntime")


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [("pytorch", "python"), ("torchscript", "python"), ("onnxruntime", "library")],
)
def test_a_variant_with_a_custom_operator_is_built_and_measured(
    workshop: Workshop,
    squashed: ModelSpec,
    onnx_artifact: Artifact,
    measure: Measure,  # noqa: F811
    tmp_path: Path,
    recipe: str,
    kind: str,
) -> None:
    artifact = onnx_artifact if recipe == "onnxruntime" else workshop.build(squashed, recipe)
    path = workshop.fetch(artifact, tmp_path)
    own = squashed.operators_for(recipe)
    assert own is not None
    workshop.store.fetch(own.file, tmp_path / "operators")  # named by content on a device: no suffix
    for blob, name in (
        (squashed.example_inputs, "example.npz"),
        (squashed.parity_inputs, "parity.npz"),
        (squashed.reference_outputs, "reference.npz"),
    ):
        assert blob is not None
        workshop.store.fetch(blob, tmp_path / name)
    outcome = measure(
        Model(torch.nn.Identity(), tmp_path, tuple),
        recipe,
        files={path.name: str(path)},
        custom_operators={"kind": kind, "file": str(tmp_path / "operators")},
    )
    assert outcome.facts["parity"]["cosine"] > 0.99999
    assert outcome.facts["parity"]["max_abs_error"] < 1e-5
    assert artifact.report.parameters == 64 * 64 + 64 + 64 * 10 + 10
    assert artifact.report.flops is None
    assert any("example::squash" in note for note in artifact.report.notes)


def test_without_its_operators_a_variant_does_not_load_and_says_why(
    workshop: Workshop,
    squashed: ModelSpec,
    onnx_artifact: Artifact,
    measure: Measure,  # noqa: F811
    tmp_path: Path,
) -> None:
    path = workshop.fetch(onnx_artifact, tmp_path)
    for blob, name in ((squashed.example_inputs, "example.npz"), (squashed.parity_inputs, "parity.npz")):
        workshop.store.fetch(blob, tmp_path / name)
    shutil.copy(tmp_path / "parity.npz", tmp_path / "reference.npz")
    outcome = measure(Model(torch.nn.Identity(), tmp_path, tuple), "onnxruntime", files={path.name: str(path)})
    assert outcome.error.code == "load-failed"
    assert "squash" in outcome.error.message


def test_onnx_uploads_with_custom_operators_are_checked_with_them(
    workshop: Workshop,
    squashed: ModelSpec,
    onnx_artifact: Artifact,
    library: Path,
    inputs: list[np.ndarray],
    tmp_path: Path,
) -> None:
    path = workshop.fetch(onnx_artifact, tmp_path)
    assert ("example", "squash") in {(node.domain, node.op_type) for node in onnx.load(str(path)).graph.node}
    upload = workshop.put(package(path, (inputs[0],), custom_operators={"onnxruntime": library}))
    assert workshop.build(upload, "onnxruntime").files == onnx_artifact.files
    assert workshop.build(upload, "reference").size_bytes > 0
    with pytest.raises(ModelError, match="squash"):
        workshop.build(workshop.put(package(path, (inputs[0],))), "onnxruntime")
    with pytest.raises(RecipeError, match="no custom operators"):
        workshop.build(squashed, "onnxruntime-int8")


def test_only_the_operators_that_were_declared_are_accepted(
    workshop: Workshop, squashed: ModelSpec, tmp_path: Path
) -> None:
    undeclared = squashed.model_copy(update={"custom_operators": ()})
    with pytest.raises(ModelError, match=r"torch\.ops\.example\.squash"):
        workshop.build(undeclared, "pytorch")
    other = tmp_path / "other.py"
    other.write_text((EXAMPLE / "ops.py").read_text().replace("example::squash", "example::squash2"))
    with pytest.raises(ModelError, match=r"torch\.ops\.example\.squash\.default"):
        workshop.build(_with_operators(workshop, squashed, other), "pytorch")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('out of luck')", "out of luck"),
        ("", "registers no operator"),
        ("import torch; torch.library.define('aten::mine', '(Tensor x) -> Tensor')", "aten::"),
    ],
)
def test_operators_that_are_not_what_they_should_be_fail_the_build(
    workshop: Workshop, squashed: ModelSpec, tmp_path: Path, source: str, why: str
) -> None:
    (tmp_path / "ops.py").write_text(source)
    with pytest.raises(ModelError, match=why):
        workshop.build(_with_operators(workshop, squashed, tmp_path / "ops.py"), "pytorch")


def test_builds_are_known_by_their_operators(workshop: Workshop, squashed: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "ops.py").write_text((EXAMPLE / "ops.py").read_text() + "\n# another version\n")
    other = _with_operators(workshop, squashed, tmp_path / "ops.py")
    recipe = presets.parse("pytorch")
    versions = keys.tool_versions(recipe)
    assert keys.build_key(other.id, recipe, versions) != keys.build_key(squashed.id, recipe, versions)


def test_the_sandbox_holds_for_operators_too(workshop: Workshop, squashed: ModelSpec, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    (tmp_path / "ops.py").write_text(f"print(open({str(secret)!r}).read())")
    with pytest.raises(ModelError, match="PermissionError"):
        workshop.build(_with_operators(workshop, squashed, tmp_path / "ops.py"), "pytorch")


def _with_operators(workshop: Workshop, spec: ModelSpec, path: Path) -> ModelSpec:
    own = spec.operators_for("pytorch")
    assert own is not None
    return spec.model_copy(
        update={"custom_operators": (own.model_copy(update={"file": workshop.store.put_file(path)}),)}
    )
