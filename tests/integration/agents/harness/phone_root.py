"""A root that holds what a phone has and Debian has not: no libc, no Python, no /tmp, no /etc. In it lie a static
busybox and the layers of a bundle, unpacked by that busybox; arm64 programs run under qemu.

Made of Linux's user namespaces: nothing of the host changes, and root is not needed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agents.phone_runtime.bundle import Bundle, Layer, harness_layer, host_abi

HOME = "/data/local/tmp/torchfarm"
WORK = f"{HOME}/attempts/1"
DEVICES = ("null", "zero", "urandom")
TIMEOUT_SECONDS = 240
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
QEMU = "/usr/bin/qemu-aarch64-static"
# F: the kernel opens qemu now, so that it need not be in the root. Since Linux 6.7 a user namespace has its own.
BINFMT = (
    r":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    rf":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{QEMU}:F"
)
# What Linux says of an arm64 core: the engines look here for what they may use, and the host's says something else.
CORE = """processor\t: {}
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd03
CPU revision\t: 4
"""


@dataclass(frozen=True)
class Root:
    """``path``: on the host. ``bundle``: whose layers are unpacked in it."""

    path: Path
    bundle: Bundle

    @property
    def work(self) -> Path:
        return self.path / WORK.removeprefix("/")

    def python(self, runtime: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the bundle's Python in the root, as a driver does it on a phone."""
        names = [*(layer.name for layer in self.bundle.layers), "harness"]
        folders = {name: f"{HOME}/layers/{name}" for name in names}
        command, environment = self.bundle.command(folders, runtime, arguments, work_folder=WORK)
        assignments = [f"{name}={value}" for name, value in environment.items()]
        return self.shell(shlex.join(["env", "-i", *assignments, *command]))

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        root = shlex.quote(str(self.path))
        lines = ["set -e", f"mount --rbind {root} {root}"]
        lines += [f"mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES]
        lines += [f"mount -t proc proc {root}/proc", f"mount --rbind /sys {root}/sys"]
        if self.bundle.abi == "arm64-v8a" and host_abi() != "arm64-v8a":
            binfmt = "/proc/sys/fs/binfmt_misc"
            (self.path / "cpuinfo").write_text("\n".join(CORE.format(core) for core in range(os.cpu_count() or 1)))
            lines += [f"mount --bind {root}/cpuinfo {root}/proc/cpuinfo"]
            lines += [f"mount -t binfmt_misc none {binfmt}", f"printf %s {shlex.quote(BINFMT)} > {binfmt}/register"]
        chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
        inner = f"export PATH=/system/bin; cd {WORK}; {command}"
        # Not as the first process of its namespace, which no signal of its own ends.
        lines += [f"{chroot} {root} /system/bin/sh -c {shlex.quote(inner)} || exit $?", "exit 0"]
        return subprocess.run(
            [*UNSHARE, "sh", "-c", "\n".join(lines)],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )


def make(path: Path, bundle: Bundle, folder: Path) -> Root:
    """``folder``: of bundles."""
    busybox = shutil.which("busybox")
    assert busybox, "needs Debian's busybox-static"
    root = Root(path, bundle)
    for name in ("dev", "proc", "sys", "system/bin", WORK.removeprefix("/")):
        (path / name).mkdir(parents=True)
    for name in DEVICES:
        (path / "dev" / name).touch()
    shutil.copy(busybox, path / "system/bin/busybox")
    for name in ("sh", "env", "gzip", "tar", "mkdir"):
        (path / "system/bin" / name).symlink_to("busybox")
    for layer in (*bundle.layers, harness_layer(folder)):
        _unpack(root, layer)
    return root


def _unpack(root: Root, layer: Layer) -> None:
    target = f"{HOME}/layers/{layer.name}"
    pushed = root.path / HOME.removeprefix("/") / "layer.tar.gz"
    shutil.copy(root.bundle.archive(layer), pushed)
    done = root.shell(f"mkdir -p {target} && gzip -dc {HOME}/layer.tar.gz | tar -x -C {target}")
    assert done.returncode == 0, done.stderr
    pushed.unlink()
