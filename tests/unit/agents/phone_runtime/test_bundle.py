from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.phone_runtime import archive, bundle, shelf
from agents.phone_runtime.archive import File
from agents.phone_runtime.bundle import Abi, Bundle, Layer
from farm.errors import InfrastructureError, InternalError, RecipeError


def layer(
    folder: Path, name: str, content: bytes = b"", *runtimes: str, requires: tuple[str, ...] = ("base",)
) -> Layer:
    packed = archive.pack({f"site/{name}": File.of_bytes(content or name.encode())}, folder / "layers")
    return Layer(
        name=name,
        sha256=packed.sha256,
        size_bytes=packed.size_bytes,
        unpacked_bytes=packed.unpacked_bytes,
        distributions={name: "1"},
        runtimes=runtimes,
        requires=requires,
    )


def made(folder: Path, abi: Abi = "arm64-v8a", content: bytes = b"", at: int = 0) -> Bundle:
    layers = [
        layer(folder, "base", content, requires=()),
        layer(folder, "torch", b"", "torchscript", "pytorch-mobile"),
        layer(folder, "executorch", b"", "executorch", requires=("base", "torch")),
        layer(folder, "onnxruntime", b"", "onnxruntime"),
    ]
    one = Bundle.of(folder, abi, "3.11.2", layers)
    path = folder / "bundles" / f"{one.digest}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(one.model_dump_json())
    if at:
        os.utime(path, (at, at))
    return one


def test_a_runtime_takes_its_layers_and_those_they_require(tmp_path: Path) -> None:
    one = made(tmp_path)
    assert one.runtimes == ("torchscript", "pytorch-mobile", "executorch", "onnxruntime")
    assert [each.name for each in one.layers_for("onnxruntime")] == ["base", "onnxruntime"]
    assert [each.name for each in one.layers_for("executorch")] == ["base", "torch", "executorch"]
    with pytest.raises(RecipeError, match="has no litert"):
        one.layers_for("litert")


def test_the_command_begins_with_the_loader_and_brings_its_whole_environment(tmp_path: Path) -> None:
    folders = {name: f"/data/layers/{name}" for name in ("base", "onnxruntime", "harness")}
    command, environment = made(tmp_path).command(
        folders, "onnxruntime", ["-m", "agents.harness", "job.json"], work_folder="/data/1"
    )
    assert command[0] == "/data/layers/base/lib/ld-linux-aarch64.so.1"
    assert command[command.index("--library-path") + 1] == "/data/layers/base/lib:/data/layers/onnxruntime/lib"
    python = command.index("/data/layers/base/bin/python3.11")
    assert {"-B", "-s", "-P"} == set(command[python + 1 : python + 4])
    assert command[python + 4 :] == ["-m", "agents.harness", "job.json"]
    sites = [f"/data/layers/{name}/site" for name in ("harness", "base", "onnxruntime")]
    assert environment["PYTHONPATH"].split(":") == sites
    assert environment["HOME"] == environment["TMPDIR"] == "/data/1"
    assert environment["PYTHONHOME"] == "/data/layers/base"
    with pytest.raises(InternalError, match="harness"):
        made(tmp_path).command({"base": "/b", "onnxruntime": "/o"}, "onnxruntime", [], work_folder="/w")


def test_the_newest_complete_bundle_of_the_abi_is_found(tmp_path: Path) -> None:
    assert bundle.find(tmp_path, "arm64-v8a") is None
    old, new = made(tmp_path, at=1000), made(tmp_path, content=b"newer", at=2000)
    made(tmp_path, "x86_64", at=3000)
    assert bundle.find(tmp_path, "arm64-v8a") == new
    new.archive(new.layers[0]).unlink()
    assert not new.complete()
    assert bundle.find(tmp_path, "arm64-v8a") == old
    assert bundle.find(tmp_path, "riscv64") is None


def test_damage_is_told_by_the_layer(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.verify()
    path = one.archive(one.layers[1])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert one.complete()  # the size is right
    with pytest.raises(InfrastructureError, match="Layer torch"):
        one.verify()
    path.unlink()
    with pytest.raises(InfrastructureError, match="No such file"):
        one.verify()


def test_a_manifest_of_another_version_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    one = made(tmp_path)
    path = tmp_path / "bundles" / f"{one.digest}.json"
    path.write_text(path.read_text().replace('"abi"', '"machine"'))
    with pytest.raises(InfrastructureError, match="cannot be read"):
        Bundle.read(tmp_path, path)
    assert shelf.bundles(tmp_path) == []


def test_the_digest_is_of_all_that_is_in_it(tmp_path: Path) -> None:
    digests = {made(tmp_path).digest, made(tmp_path, content=b"x").digest, made(tmp_path, "x86_64").digest}
    assert len(digests) == 3
    assert made(tmp_path).digest in digests


def test_old_bundles_go_and_what_others_have_stays(tmp_path: Path) -> None:
    first, second, third = (made(tmp_path, content=bytes([n]), at=1000 * n) for n in (1, 2, 3))
    other = made(tmp_path, "x86_64", at=500)
    harness = bundle.harness_layer(tmp_path)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / ("0" * 64)).write_bytes(b"12345")
    for path in [*(tmp_path / "layers").iterdir(), *(tmp_path / "downloads").iterdir()]:
        if harness.sha256 not in path.name:
            os.utime(path, (1000, 1000))
    freed_bytes = shelf.prune(tmp_path)
    assert freed_bytes > first.layers[0].size_bytes + 5
    assert set(map(str, shelf.bundles(tmp_path))) == {str(third), str(second), str(other)}
    for kept in (second, third, other):
        kept.verify()
    assert not first.archive(first.layers[0]).exists()
    assert second.archive(harness).exists()  # used a moment ago
    assert list((tmp_path / "downloads").iterdir()) == []
    assert shelf.prune(tmp_path) == 0


def test_a_bundle_is_removed_by_how_its_digest_begins(tmp_path: Path) -> None:
    one, other = made(tmp_path), made(tmp_path, "x86_64")
    start = next(n for n in range(1, 65) if one.digest[:n] != other.digest[:n])
    assert shelf.remove(tmp_path, one.digest[:start]) == [one]
    assert shelf.bundles(tmp_path) == [other]


def test_the_harness_is_a_layer_of_the_same_content_every_time(tmp_path: Path) -> None:
    one, two = bundle.harness_layer(tmp_path / "a"), bundle.harness_layer(tmp_path / "b")
    assert one == two
    assert one.name == "harness"
    assert one.distributions == {}
