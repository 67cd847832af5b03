"""Programs that were made to do harm, or that are broken: refused with a reason, and never run."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from farm.errors import ModelError, RecipeError
from farm.packaging import package
from farm.recipes import archive
from tests.integration.recipes.workshop import SHAPE, images, small_net

pytestmark = pytest.mark.real_models

GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
SAMPLE = "data/sample_inputs/model.pt"


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "good.pt2"
    torch.export.save(torch.export.export(small_net(), (torch.zeros(SHAPE),), strict=False), str(path))
    return path


def changed(source: Path, target: Path, member: str, change: Callable[[bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item.filename, change(content) if item.filename.endswith(member) else content)
    return target


def changed_json(source: Path, target: Path, member: str, change: Callable[[dict], None]) -> Path:
    def apply(content: bytes) -> bytes:
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return changed(source, target, member, apply)


def with_member(source: Path, target: Path, name: str, content: bytes, **options: int) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            new.writestr(item.filename, old.read(item))
        root = old.namelist()[0].split("/")[0]
        new.writestr(f"{root}/{name}", content, **options)
    return target


def loads_unchecked(path: Path, **environment: str) -> None:
    """What torch alone does with the file, in a process of its own."""
    code = "import sys, torch; torch.export.load(sys.argv[1]).module()(torch.zeros(1, 3, 32, 32))"
    subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, timeout=120, check=False
    )


def as_python(marker: Path) -> str:
    return f"__import__('pathlib').Path('{marker}').touch()"


def pickled_weight(source: Path, target: Path, marker: Path) -> Path:
    def change(document: dict) -> None:
        next(iter(document["config"].values()))["use_pickle"] = True

    middle = changed_json(source, target.with_suffix(".middle"), WEIGHTS, change)
    return changed(middle, target, "data/weights/weight_0", lambda _: pickled(marker))


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Payload(marker),), {}), buffer)
    return buffer.getvalue()


def code_in_size(source: Path, target: Path, marker: Path) -> Path:
    def change(document: dict) -> None:
        values = document["graph_module"]["graph"]["tensor_values"]
        expression = {"as_expr": {"expr_str": as_python(marker), "hint": None}}
        next(iter(values.values()))["sizes"][0] = expression

    return changed_json(source, target, GRAPH, change)


def refusal(workshop, path: Path, **package_options: object) -> ModelError:
    sample = (images(1)[0],)
    spec = workshop.put(package(path, sample, **package_options))
    with pytest.raises(ModelError) as caught:
        workshop.build(spec, "pytorch")
    return caught.value


@pytest.mark.parametrize(("make", "says"), [(pickled_weight, "pickle"), (code_in_size, "could run code")])
def test_code_hidden_in_a_program_is_refused_and_not_run(workshop, program, tmp_path, make, says):
    marker = tmp_path / "marker"
    evil = make(program, tmp_path / "evil.pt2", marker)
    with pytest.raises(ModelError, match=says):
        archive.clean_pt2(evil, tmp_path / "clean.pt2")
    assert says in refusal(workshop, evil).message
    assert not marker.exists()
    loads_unchecked(evil)
    assert marker.exists(), "the payload was no threat, so this test showed nothing"


def test_code_in_guards_and_sample_inputs_is_dropped(workshop, program, tmp_path):
    guard, sample = tmp_path / "guard", tmp_path / "sample"
    code = f"({as_python(guard)} or True)"
    middle = changed_json(program, tmp_path / "m.pt2", GRAPH, lambda document: document.update(guards_code=[code]))
    evil = changed(middle, tmp_path / "evil.pt2", SAMPLE, lambda _: pickled(sample))
    spec = workshop.put(package(evil, (images(1)[0],)))
    built = workshop.fetch(workshop.build(spec, "pytorch"), tmp_path)
    archive.clean_pt2(evil, tmp_path / "clean.pt2")
    for path in (built, tmp_path / "clean.pt2"):
        loads_unchecked(path)
    assert not guard.exists()
    assert not sample.exists()
    loads_unchecked(evil)
    assert guard.exists()
    assert sample.exists()


def _operator(name: str) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = name

    return change


def _renamed(document: dict) -> None:
    text = json.dumps(document).replace('"conv2d"', '"conv2d=print()"')
    document.clear()
    document.update(json.loads(text))


def _with_enum(document: dict) -> None:
    context = json.dumps([{"__enum__": True, "fqn": "os:path", "name": "x"}])
    tree = {"type": "builtins.dict", "context": context, "children_spec": []}
    document["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, tree])


@pytest.mark.parametrize(
    "change",
    [
        _operator("torch.os.system"),
        _operator("torch.hub.load"),
        _operator("torch.ops.aten.from_file.default"),
        _operator("torch.ops.higher_order.triton_kernel_wrapper_functional"),
        _operator("_operator.attrgetter"),
        _renamed,
        _with_enum,
    ],
)
def test_graphs_that_no_exporter_writes_are_refused(program, tmp_path, change):
    evil = changed_json(program, tmp_path / "evil.pt2", GRAPH, change)
    with pytest.raises(ModelError, match="could run code"):
        archive.clean_pt2(evil, tmp_path / "clean.pt2")


@pytest.mark.parametrize(
    "member",
    [
        "data/aotinductor/model/model.so",
        "data/aotinductor/model/model.cpp",
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/weights/model.pt",
        "models/other.json",
    ],
)
def test_native_code_and_objects_are_refused(workshop, program, tmp_path, member):
    evil = with_member(program, tmp_path / "evil.pt2", member, pickle.dumps("x"))
    with pytest.raises(ModelError) as caught:
        archive.clean_pt2(evil, tmp_path / "clean.pt2")
    assert member in caught.value.message


def test_an_archive_that_would_grow_is_refused(program, tmp_path):
    bomb = with_member(
        program, tmp_path / "evil.pt2", "data/weights/weight_99", bytes(50 << 20), compress_type=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(ModelError, match="compressed"):
        archive.clean_pt2(bomb, tmp_path / "clean.pt2")


def test_programs_that_do_not_load_say_so(workshop, program, tmp_path):
    (tmp_path / "noise.pt2").write_bytes(b"not a program")
    assert "cannot be read" in refusal(workshop, tmp_path / "noise.pt2").message
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(program.read_bytes()[:-200])
    assert "no .pt2 program" in refusal(workshop, cut).message
    unknown = changed_json(program, tmp_path / "op.pt2", GRAPH, _operator("torch.ops.aten.no_such_operator.default"))
    error = refusal(workshop, unknown)
    assert "does not load" in error.message
    assert "no_such_operator" in error.message
    assert "no_such_operator" in error.details["log_tail"]


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ((np.zeros((1, 3, 8, 8), np.float32),), "float32[1, 3, 32, 32]"),
        ((np.zeros(SHAPE, np.float64),), "float32[1, 3, 32, 32]"),
        ((np.zeros(SHAPE, np.float32),) * 2, "takes 1 inputs"),
    ],
)
def test_inputs_that_do_not_fit_the_program_are_named(workshop, program, sample, says):
    spec = workshop.put(package(program, sample))
    with pytest.raises(ModelError) as caught:
        workshop.build(spec, "pytorch")
    assert says in caught.value.message


def test_torchscript_that_touches_files_is_refused_and_not_run(workshop, tmp_path):
    marker = tmp_path / "marker"

    class Writer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.path = str(marker)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, self.path)
            return x

    class Reader(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("/etc/hostname", False, 4).sum()

    for module, word in ((Reader(), "from_file"), (Writer(), "save")):
        path = tmp_path / "evil.pt"
        torch.jit.script(module.eval()).save(str(path))
        spec = workshop.put(package(path, (torch.zeros(1, 2),)))
        with pytest.raises(ModelError) as caught:
            workshop.build(spec, "torchscript")
        assert word in caught.value.message
    assert not marker.exists()


def test_torchscript_with_control_flow_builds_but_is_not_lifted(workshop, tmp_path):
    class Branch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = x
            while bool(total.sum() < 10.0):
                total = total + 1.0
            return total

    path = tmp_path / "branch.pt"
    torch.jit.script(Branch().eval()).save(str(path))
    spec = workshop.put(package(path, (torch.zeros(1, 2),)))
    assert workshop.build(spec, "torchscript").size_bytes > 0
    with pytest.raises(RecipeError, match="cannot be lifted"):
        workshop.build(spec, "onnxruntime")


def test_onnx_with_weights_elsewhere_is_refused(workshop, tmp_path):
    path = tmp_path / "split.onnx"
    torch.onnx.export(small_net(), (torch.zeros(SHAPE),), str(path), dynamo=True, external_data=True)
    spec = workshop.put(package(path, (images(1)[0],)))
    with pytest.raises(ModelError, match="other files"):
        workshop.build(spec, "onnxruntime")
