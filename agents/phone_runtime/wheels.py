"""Wheels by ``pip download``: never a source distribution, never a dependency, nothing is run."""

from __future__ import annotations

import email
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from agents.phone_runtime.archive import File
from agents.phone_runtime.bundle import Abi
from agents.phone_runtime.fetching import run
from agents.phone_runtime.lock import Wheel
from farm.errors import InfrastructureError

MACHINES: dict[Abi, str] = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}
GLIBC = range(17, 37)  # 2.N: what wheels may ask for; bookworm has 2.36
TIMEOUT_SECONDS = 1_800.0
MAX_WHEEL_BYTES = 300 * 10**6  # torch for the CPU: 146 to 192 MB; with CUDA: 420 MB and more


def download(requirements: Iterable[str], abi: Abi, folder: Path) -> list[Path]:
    """Each requirement's wheel for Python 3.11 and ``abi``; requirements may carry hashes. Raises
    InfrastructureError."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    wanted.write_text("".join(f"{line}\n" for line in requirements))
    machine = MACHINES[abi]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in reversed(GLIBC)] + [f"manylinux2014_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
    command += [f"--platform={platform}" for platform in platforms]
    run([*command, f"--requirement={wanted}", f"--dest={folder}"], "pip", timeout_seconds=TIMEOUT_SECONDS)
    return sorted(folder.glob("*.whl"))


def locked(name: str, wheel: Wheel) -> str:
    """As a requirement that no other file fulfils."""
    return f"{name}=={wheel.version} --hash=sha256:{wheel.sha256}"


def check(path: Path) -> None:
    """Raises InfrastructureError for a build that holds CUDA, or that is as large as one that does."""
    with zipfile.ZipFile(path) as wheel:
        cuda = next((name for name in wheel.namelist() if re.search(r"/lib[^/]*cuda[^/]*\.so", name)), None)
    size_bytes = path.stat().st_size
    if cuda or size_bytes > MAX_WHEEL_BYTES:
        raise InfrastructureError(
            f"{path.name} is no build for the CPU alone ({size_bytes / 1e6:.0f} MB, {cuda or 'more than any'}).",
            remedy="Let pip find the CPU build: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.",
        )


def version(path: Path) -> str:
    with zipfile.ZipFile(path) as wheel:
        return str(_metadata(wheel)["Version"])


def files(path: Path) -> Mapping[str, File]:
    """Of what an installer would put into site-packages; scripts and headers are left out."""
    wheel = zipfile.ZipFile(path)
    found = {}
    for member in wheel.infolist():
        name = None if member.is_dir() else _installed(PurePosixPath(member.filename))
        if name is not None:
            found[name] = File(partial(wheel.open, member), member.file_size)
    return found


def _installed(path: PurePosixPath) -> str | None:
    first, *rest = path.parts
    if first.endswith(".data"):
        return str(PurePosixPath(*rest[1:])) if rest[0] in ("purelib", "platlib") else None
    if first.endswith(".dist-info"):
        # The version is asked for at run time, licences travel with what they license.
        wanted = rest[0] in ("METADATA", "licenses") or re.match(r"(LICEN[CS]E|NOTICE|COPYING)", rest[0])
        return str(path) if wanted else None
    return str(path)


def _metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    name = next(name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
    return email.message_from_bytes(wheel.read(name))
