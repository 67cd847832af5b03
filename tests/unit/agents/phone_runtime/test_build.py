"""Builds of small packages that come out of a folder, and what goes wrong with those that are fetched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.phone_runtime import build, lock, unpacking, wheels
from agents.phone_runtime.build import Builder, chosen
from agents.phone_runtime.bundle import ABIS, Bundle, find
from agents.phone_runtime.lock import Lock
from agents.phone_runtime.parts import PARTS
from farm.errors import ConfigError, InfrastructureError, UserError

from . import parts

ROOT = Path(__file__).parents[4]


@pytest.fixture
def packages(tmp_path: Path) -> tuple[Path, Lock]:
    return tmp_path / "packages", parts.make(tmp_path / "packages")


def names(bundle: Bundle, layer: int) -> set[str]:
    with tarfile.open(bundle.archive(bundle.layers[layer])) as tar:
        return {member.name for member in tar if member.isreg() and not member.name.endswith(".pyc")}


def test_a_bundle_holds_what_a_phone_needs_and_no_more(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    built = Builder(tmp_path / "made", packages[1], packages=packages[0]).build(["ncnn"])
    assert built.made == ("base", "ncnn")
    assert built.bundle.python_version == "3.11.2"
    assert built.bundle.runtimes == ("ncnn",)
    assert built.bundle.layers[0].distributions["numpy"] == "2.3.5"
    base = {name for name in names(built.bundle, 0) if not name.startswith(("licenses/", "site/numpy-"))}
    assert base == {
        *("bin/python3.11", "lib/python3.11/os.py", "site/numpy/__init__.py"),
        *("lib/ld-linux-aarch64.so.1", "lib/libc.so.6", "lib/libz.so.1"),
    }
    assert "licenses/python3.11-minimal" in names(built.bundle, 0)
    assert names(built.bundle, 1) == {
        *("site/ncnn/__init__.py", "site/extra.py", "site/ncnn-1.0.20261020.dist-info/METADATA"),
    }
    with tarfile.open(built.bundle.archive(built.bundle.layers[0])) as tar:
        loader = tar.getmember("lib/ld-linux-aarch64.so.1")
        content = tar.extractfile(loader)
        assert content is not None
        assert content.read() == b"\x7fELF loader"
        assert loader.mode & 0o111
        content = tar.extractfile("lib/libc.so.6")
        assert content is not None
        assert content.read() == b"\x7fELF libc"
    assert find(tmp_path / "made", "arm64-v8a") == built.bundle
    built.bundle.verify()


def test_the_same_parts_make_the_same_bundle_and_are_taken_once(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    first = Builder(tmp_path / "one", packages[1], packages=packages[0]).build(["ncnn"])
    other = Builder(tmp_path / "two", packages[1], packages=packages[0]).build(["ncnn"])
    assert (first.bundle.digest, first.bundle.layers) == (other.bundle.digest, other.bundle.layers)
    again = Builder(tmp_path / "one", packages[1]).build(["ncnn"])  # all is there: nothing is fetched
    assert (again.bundle, again.made) == (first.bundle, ())
    less = Builder(tmp_path / "one", packages[1]).build([])
    assert less.bundle.layers == first.bundle.layers[:1]
    assert find(tmp_path / "one", "arm64-v8a") == less.bundle


def test_a_layer_that_was_lost_is_made_anew(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    builder = Builder(tmp_path / "made", packages[1], packages=packages[0])
    first = builder.build(["ncnn"]).bundle
    first.archive(first.layers[1]).unlink()
    assert find(tmp_path / "made", "arm64-v8a") is None
    again = builder.build(["ncnn"])
    assert (again.bundle, again.made) == (first, ("ncnn",))


def test_two_builders_make_each_layer_once(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    def one(_: int) -> build.Built:
        return Builder(tmp_path / "made", packages[1], packages=packages[0]).build(["ncnn"])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert first.bundle == second.bundle
    assert sorted([first.made, second.made]) == [(), ("base", "ncnn")]


def test_a_killed_builder_leaves_nothing_that_counts(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    (tmp_path / "lock.json").write_text(packages[1].model_dump_json())
    code = (
        "import os, sys; from pathlib import Path; from agents.phone_runtime import archive, build, lock; "
        "archive.hashlib.file_digest = lambda *_: os.kill(os.getpid(), 9); "  # the layer is written, not yet named
        "here = Path(sys.argv[1]); build._digest = lambda path: build.hashlib.sha256(path.read_bytes()).hexdigest(); "
        "build.Builder(here / 'made', lock.Lock.read(here / 'lock.json'), packages=here / 'packages').build([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    made = tmp_path / "made"
    assert find(made, "arm64-v8a") is None
    assert list((made / "layers").glob(".*.part"))
    built = Builder(made, packages[1], packages=packages[0]).build([])
    assert built.made == ("base",)
    assert list(made.glob(".fetch-*")) + list(made.glob("*/.*.part")) == []


def test_another_file_of_the_same_name_is_not_built(
    tmp_path: Path, packages: tuple[Path, Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pinned = packages
    filename = pinned.wheels["ncnn"].filename
    (folder / filename).write_bytes(parts.wheel("ncnn", "1.0.20261020", {"ncnn/__init__.py": b"import evil\n"}))
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with pytest.raises(InfrastructureError, match="HASHES") as caught:
        Builder(tmp_path / "made", pinned, packages=folder).build(["ncnn"])
    assert "not the one that was locked" in caught.value.remedy
    assert find(tmp_path / "made", "arm64-v8a") is None


def test_a_wheel_that_no_index_has(
    tmp_path: Path, packages: tuple[Path, Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pinned = packages
    (folder / pinned.wheels["ncnn"].filename).unlink()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(InfrastructureError, match="pip did not deliver") as caught:
        Builder(tmp_path / "made", pinned, packages=folder).build(["ncnn"])
    assert "--packages" in caught.value.remedy


def test_a_package_and_no_apt(tmp_path: Path, packages: tuple[Path, Lock], monkeypatch: pytest.MonkeyPatch) -> None:
    (packages[0] / "libc6_1_arm64.deb").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureError, match="no apt-get"):
        Builder(tmp_path / "made", packages[1], packages=packages[0]).build([])


def test_a_package_that_debian_replaced(
    tmp_path: Path, packages: tuple[Path, Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages[0] / "libc6_1_arm64.deb").unlink()
    programs = tmp_path / "programs"
    programs.mkdir()
    newer = f"'http://x/libc6_2_arm64.deb' libc6_2_arm64.deb 7 SHA256:{'a' * 64}"
    for name, script in {"apt-get": f'#!/bin/sh\necho "{newer}"\n', "apt-config": "#!/bin/sh\n"}.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "keys.gpg").touch()
    monkeypatch.setattr("agents.phone_runtime.debian.KEYRING", tmp_path / "keys.gpg")
    with pytest.raises(InfrastructureError, match=r"libc6 1 \(now 2\)") as caught:
        Builder(tmp_path / "made", packages[1], packages=packages[0]).build([])
    assert "snapshot.debian.org" in caught.value.remedy


def test_a_full_disk(tmp_path: Path, packages: tuple[Path, Lock], monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build.archive, "pack", full)
    with pytest.raises(InfrastructureError, match="No space left") as caught:
        Builder(tmp_path / "made", packages[1], packages=packages[0]).build([])
    assert "FARM_PHONE_RUNTIME_DIR" in caught.value.remedy


def test_a_given_cpython_takes_the_place_of_debians(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    given = tmp_path / "cpython-3.11.13+20260101-aarch64-unknown-linux-gnu-install_only.tar.gz"
    members: dict[str, bytes | str] = {
        "python/bin/python3.11": b"\x7fELF other",
        "python/bin/python3": "python3.11",
        "python/lib/python3.11/os.py": b"import sys  # other\n",
        "python/lib/python3.11/test/x.py": b"",
        "python/lib/libpython3.11.so.1.0": b"\x7fELF library",
        "python/include/python3.11/Python.h": b"",
    }
    given.write_bytes(parts.tar(members, "gz"))
    for name in ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"):
        (packages[0] / f"{name}_1_arm64.deb").unlink()  # they are not asked for
    built = Builder(tmp_path / "made", packages[1], packages=packages[0], python_archive=given).build([])
    assert built.bundle.python_version == "3.11.13"
    found = {name for name in names(built.bundle, 0) if not name.startswith(("licenses/", "site/", "lib/l"))}
    assert found == {"bin/python3.11", "lib/python3.11/os.py"}
    assert "lib/libpython3.11.so.1.0" in names(built.bundle, 0)
    given.write_bytes(parts.tar({"install/bin/python3": b""}, "gz"))
    with pytest.raises(InfrastructureError, match=r"holds no python/bin/python3.11"):
        Builder(tmp_path / "made", packages[1], packages=packages[0], python_archive=given).build([])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive at all",
        b"!<arch>\n" + b"x" * 60,
        parts.deb({"./usr/bin/python3.11": b"x"})[:-40],
        parts.deb({"../../etc/passwd": b"x"}),
        parts.deb({"/etc/passwd": b"x"}),
    ],
)
def test_a_damaged_or_hostile_package_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.deb").write_bytes(content)
    with pytest.raises(InfrastructureError, match="cannot be unpacked"):
        unpacking.deb(tmp_path / "x.deb")


def test_links_in_circles_and_out_of_the_package_bring_no_file(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "./lib/libz.so.1": "libm.so.6",
        "./lib/libm.so.6": "libz.so.1",
        "./lib/libdl.so.2": "../../../etc/passwd",
        "./lib/libc.so.6": b"x",
    }
    (tmp_path / "x.deb").write_bytes(parts.deb(members))
    assert set(unpacking.deb(tmp_path / "x.deb")) == {"lib/libc.so.6"}


@pytest.mark.parametrize("name", ["torch/lib/libtorch_cuda.so", "torch/lib/libc10_cuda.so"])
def test_a_build_with_cuda_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    path.write_bytes(parts.wheel("torch", "2.13.0", {name: b""}))
    with pytest.raises(InfrastructureError, match="CPU alone") as caught:
        wheels.check(path)
    assert "PIP_EXTRA_INDEX_URL" in caught.value.remedy
    path.write_bytes(
        parts.wheel("torch", "2.13.0+cpu", {"torch/lib/libtorch_cpu.so": b"", "torch/cuda/__init__.py": b""})
    )
    wheels.check(path)


def test_layers_come_with_those_they_require() -> None:
    assert [part.name for part in chosen([])] == ["base"]
    assert [part.name for part in chosen(["executorch", "litert"])] == ["base", "litert", "torch", "executorch"]
    with pytest.raises(UserError, match="tensorrt") as caught:
        chosen(["tensorrt"])
    assert "onnxruntime" in caught.value.remedy


@pytest.mark.parametrize("abi", ABIS)
def test_the_committed_locks_name_all_parts(abi: str) -> None:
    pinned = Lock.read(lock.FOLDER / f"{abi}.json")
    assert pinned.abi == abi
    assert set(pinned.debs) == {name for part in PARTS for name in part.debs}
    wanted = {requirement for part in PARTS for requirement in part.requirements(pinned.abi)}
    assert {f"{name}=={wheel.version}" for name, wheel in pinned.wheels.items()} == wanted


def test_a_lock_that_cannot_be_used(tmp_path: Path, packages: tuple[Path, Lock]) -> None:
    with pytest.raises(ConfigError):
        Lock.read(tmp_path / "none.json")
    packages[1].write(tmp_path / "lock.json")
    assert Lock.read(tmp_path / "lock.json") == packages[1]
    with pytest.raises(InfrastructureError, match="does not name ai-edge-litert"):
        Builder(tmp_path / "made", packages[1], packages=packages[0]).build(["litert"])
