"""Small real packages and wheels, made anew, with the lock that names them."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from agents.phone_runtime.lock import Deb, Lock, Wheel
from agents.phone_runtime.parts import CPYTHON, LIBC, LIBRARIES, part


def tar(members: Mapping[str, bytes | str], compression: str = "xz") -> bytes:
    """Bytes are files; a text is where a symbolic link points."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=f"w:{compression}") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def deb(members: Mapping[str, bytes | str]) -> bytes:
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": tar({"./control": b""}), "data.tar.xz": tar(members)}
    written = b"!<arch>\n"
    for name, content in parts.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        written += header + content + b"\n" * (len(content) % 2)
    return written


def wheel(name: str, version: str, members: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/RECORD", "")
        for path, content in members.items():
            archive.writestr(path, content)
    return written.getvalue()


DEBS: dict[str, Mapping[str, bytes | str]] = {
    "python3.11-minimal": {
        "./usr/bin/python3.11": b"\x7fELF python",
        "./usr/share/doc/python3.11-minimal/copyright": b"PSF",
    },
    "libpython3.11-stdlib": {
        "./usr/lib/python3.11/os.py": b"import sys\n",
        "./usr/lib/python3.11/test/big.py": b"1\n",
        "./usr/lib/python3.11/sitecustomize.py": "/etc/python3.11/sitecustomize.py",
    },
    "libc6": {
        "./lib/aarch64-linux-gnu/ld-linux-aarch64.so.1": b"\x7fELF loader",
        "./lib/ld-linux-aarch64.so.1": "aarch64-linux-gnu/ld-linux-aarch64.so.1",
        "./lib/aarch64-linux-gnu/libc.so.6": b"\x7fELF libc",
        "./usr/lib/aarch64-linux-gnu/gconv/libc.so.6": b"not this one",
    },
    "zlib1g": {
        "./lib/aarch64-linux-gnu/libz.so.1": "libz.so.1.2.13",
        "./lib/aarch64-linux-gnu/libz.so.1.2.13": b"\x7fELF zlib",
    },
}
WHEELS: dict[str, Mapping[str, bytes]] = {
    "numpy": {"numpy/__init__.py": b"x = 1\n", "numpy/tests/test_x.py": b"", "numpy/_core/include/n.h": b""},
    "ncnn": {
        "ncnn/__init__.py": b"",
        "ncnn/model_zoo/big.py": b"",
        "ncnn-1.0.20261020.data/scripts/tool": b"#!",
        "ncnn-1.0.20261020.data/purelib/extra.py": b"",
    },
}


def make(folder: Path) -> Lock:
    """Files for the layers ``base`` and ``ncnn``, as they come from outside, and their lock."""
    folder.mkdir()
    debs, wheels = {}, {}
    for name in CPYTHON + LIBC + LIBRARIES:
        content = deb(DEBS.get(name, {f"./usr/share/doc/{name}/copyright": name.encode()}))
        (folder / f"{name}_1_arm64.deb").write_bytes(content)
        version = "3.11.2-6" if name in CPYTHON else "1"
        debs[name] = Deb(version=version, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    for requirement in (*part("base").wheels, *part("ncnn").wheels):
        name, _, version = requirement.partition("==")
        content = wheel(name, version, WHEELS[name])
        filename = f"{name}-{version}-cp311-cp311-manylinux_2_28_aarch64.whl"
        (folder / filename).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        wheels[name] = Wheel(version=version, filename=filename, sha256=sha256, size_bytes=len(content))
    return Lock(abi="arm64-v8a", suite="bookworm", debs=debs, wheels=wheels)
