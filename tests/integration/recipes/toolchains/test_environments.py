"""Isolated environments are made once, whole or not at all, and go when nobody uses them."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from farm.errors import ConflictError, InfrastructureError
from farm.recipes.toolchains import Toolchain
from farm.recipes.toolchains.environments import IN_USE_SECONDS, USED, Environments

LIMIT = 10**9


def toolchain(folder: Path, version: str = "1.0", *, name: str = "small", damaged: bool = False) -> Toolchain:
    """With one package of one module, in a wheel of our own: no network is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"tiny-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = f"tiny-{version}.dist-info"
        archive.writestr("tiny.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(b"" if damaged else wheel.read_bytes()).hexdigest()
    requirements = folder / f"{name}-{version}.txt"
    requirements.write_text(f"tiny @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return Toolchain(name, requirements)


@pytest.fixture
def environments(tmp_path):
    return Environments(tmp_path / "toolchains")


def version(python: Path) -> str:
    done = subprocess.run(
        [str(python), "-c", "import tiny; print(tiny.VERSION)"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_two_at_once_make_it_once_and_it_stays(environments, tmp_path):
    small = toolchain(tmp_path)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Environments(environments.folder).make(small, limit_bytes=LIMIT)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len({made.seconds for made in found}) == 1  # one of them found what the other had made
    assert version(found[0].python) == "1.0"
    assert version(environments.folder / "small" / "bin" / "python") == "1.0"
    assert environments.use(small).path == found[0].path
    newer = environments.make(toolchain(tmp_path, "2.0"), limit_bytes=LIMIT)
    assert version(environments.folder / "small" / "bin" / "python") == "2.0"
    assert len(environments.all()) == 2

    for path in (found[0].path, newer.path):
        os.utime(path / USED, (0, time.time() - 2 * IN_USE_SECONDS))
    os.utime(newer.path / USED)
    third = environments.make(toolchain(tmp_path, "3.0", name="other"), limit_bytes=1)
    assert [made.path for made in environments.all()] == sorted([third.path, newer.path])  # the one used now stays
    assert environments.remove("small") == 1
    assert environments.find(small) is None
    with pytest.raises(InfrastructureError, match="not made on this machine") as caught:
        environments.use(small)
    assert "farm toolchains make small" in caught.value.remedy


MAKING = """
import sys, time
from pathlib import Path
from farm.recipes.toolchains import Toolchain, environments
def half(toolchain, command):
    Path(command[-1]).mkdir()
    (Path(command[-1]) / "half").write_text("made")
    print("begun", flush=True)
    time.sleep(60)
environments._run = half
environments.Environments(Path(sys.argv[1])).make(Toolchain("small", Path(sys.argv[2])), limit_bytes=10**9)
"""


def test_what_a_killed_making_left_is_not_used_and_is_made_anew(environments, tmp_path):
    small = toolchain(tmp_path)
    command = [sys.executable, "-c", MAKING, str(environments.folder), str(small.requirements)]
    root = str(Path(__file__).resolve().parents[4])
    making = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root})
    try:
        assert making.stdout.readline() == b"begun\n"
        with pytest.raises(ConflictError, match="is being made"):
            environments.remove("small")
    finally:
        making.send_signal(signal.SIGKILL)
        making.communicate()
    assert environments.path(small).is_dir()
    assert environments.find(small) is None
    made = environments.make(small, limit_bytes=LIMIT)
    assert version(made.python) == "1.0"
    assert not (made.path / "half").exists()


def test_a_file_that_is_not_the_declared_one_is_not_installed(environments, tmp_path):
    with pytest.raises(InfrastructureError, match="DO NOT MATCH THE HASHES") as caught:
        environments.make(toolchain(tmp_path, damaged=True), limit_bytes=LIMIT)
    assert "could not be made" in caught.value.message
    assert environments.all() == []
    assert not list(environments.folder.glob("small-*"))


def test_one_from_the_package_index(environments, tmp_path):
    requirements = tmp_path / "real.txt"
    requirements.write_text(
        "humanize==4.9.0 --hash=sha256:ce284a76d5b1377fd8836733b983bfb0b76f1aa1c090de2566fcf008d7f6ab16\n"
    )
    try:
        made = environments.make(Toolchain("real", requirements), limit_bytes=LIMIT)
    except InfrastructureError as error:
        if "No matching distribution" in error.message or "onnection" in error.message:
            pytest.skip(f"no package index answers: {error.message[:200]}")
        raise
    code = "import humanize; print(humanize.intcomma(1000))"
    assert subprocess.run([str(made.python), "-c", code], capture_output=True, check=True).stdout == b"1,000\n"
