"""The root of a virtual phone: which programs, views and folders it has. Pure but for reading this machine's tools."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from agents.virtual.phone.profile import Profile
from agents.virtual.phone.sandbox import Plan
from agents.virtual.phone.services import COMMANDS
from farm.errors import ConfigError

Abi = Literal["arm64-v8a", "x86_64"]
SPOOL = "/dev/world"
REQUESTS = f"{SPOOL}/requests"
VIEWS = "/.views"
PATH = "/product/bin:/apex/com.android.runtime/bin:/system/bin:/vendor/bin"
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/",
    "USER": "shell",
    "LOGNAME": "shell",
    "SHELL": "/system/bin/sh",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_ROOT": "/system",
    "ANDROID_DATA": "/data",
    "EXTERNAL_STORAGE": "/sdcard",
    "HOSTNAME": "localhost",
}

# One question to the world: its words go into the request pipe, the answer comes by a pipe of one's own; the first
# line of the answer is exit code and descriptor.
ASK = f"""#!/system/bin/sh
answer={SPOOL}/$$
mkfifo "$answer" || exit 125
{{ printf '%s\\037' "$$" "${{0##*/}}" "$@"; printf '\\036'; }} | cat > {REQUESTS}
{{ read -r code to; cat >&"$to"; }} < "$answer"
rm -f "$answer"
exit "$code"
"""
# What Debian's busybox lacks.
SCRIPTS = {
    "nohup": """#!/system/bin/sh
[ $# -gt 0 ] || { echo 'nohup: Needs 1 argument (see "nohup --help")' >&2; exit 1; }
trap '' HUP
[ -t 1 ] && exec >> nohup.out
[ -t 2 ] && exec 2>&1
exec "$@"
""",
    "nice": """#!/system/bin/sh
level=10
[ "$1" = -n ] && { level=$2; shift 2; }
renice -n "$level" -p $$ > /dev/null && exec "$@"
""",
    "pgrep": """#!/system/bin/sh
full=; [ "$1" = -f ] && { full=1; shift; }
found=1
for folder in /proc/[0-9]*; do
  pid=${folder#/proc/}; [ "$pid" = $$ ] && continue
  if [ "$full" ]; then name=$(tr '\\0' ' ' < "$folder/cmdline"); else name=$(cat "$folder/comm"); fi 2> /dev/null
  case $name in *"$1"*) echo "$pid"; found=0 ;; esac
done
exit $found
""",
    "printenv": """#!/system/bin/sh
[ $# -eq 0 ] && exec env
eval "value=\\${$1-}"; [ "$value" ] && printf '%s\\n' "$value"
""",
}


def properties(profile: Profile, abi: Abi, serial: str) -> dict[str, str]:
    """Those of getprop. ``ro.torchfarm.virtual`` is always there: nobody is to take this for a phone."""
    arm = {"ro.product.cpu.abilist": "arm64-v8a", "ro.product.cpu.abilist64": "arm64-v8a"}
    intel = {"ro.product.cpu.abilist": "x86_64", "ro.product.cpu.abilist64": "x86_64"}
    return {
        **profile.properties,
        **(arm if abi == "arm64-v8a" else intel),
        "ro.product.cpu.abi": abi,
        "ro.serialno": serial,
        "ro.build.display.id": f"torchfarm-virtual-{profile.name}",
        "ro.build.fingerprint": f"torchfarm/virtual/{profile.name}:user/test-keys",
        "ro.debuggable": "0",
        "ro.secure": "1",
        "sys.boot_completed": "1",
        "dev.bootcomplete": "1",
        "ro.torchfarm.virtual": "1",
        "ro.torchfarm.profile": profile.name,
    }


def plan(profile: Profile, abi: Abi, cpus: list[int], folder: Path, *, busybox: Path | None = None) -> Plan:
    """``profile`` has no more cores than ``cpus`` (``Profile.on``). A copy of the shell's program is left in ``folder``
    (host). Raises ConfigError where a tool is missing."""
    shell = busybox or _tool("busybox", "Install busybox-static, or name a static busybox.")
    program = shell.read_bytes()
    ours = {*COMMANDS, *SCRIPTS}
    applets = [name for name in applet_names(program) if name not in ours and name != "busybox"]
    toybox = folder / "toybox"
    toybox.write_bytes(without_applets(program, ours))
    made = Plan(
        cpus=cpus,
        data_bytes=min(int(profile.data_gib * 2**30), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2),
        qemu=None if abi == "x86_64" else str(_tool("qemu-aarch64-static", "Install qemu-user-static.")),
        spool=SPOOL,
    )
    made.copies.append(("/system/bin/toybox", 0o555, str(toybox)))
    made.links += [(f"/system/bin/{name}", "toybox") for name in applets]
    made.files.append(("/system/bin/.ask", 0o555, ASK))
    made.links += [(f"/system/bin/{name}", ".ask") for name in COMMANDS]
    made.files += [(f"/system/bin/{name}", 0o555, text) for name, text in SCRIPTS.items()]
    made.links += [
        ("/bin", "/system/bin"),
        ("/sdcard", "/data/local/tmp"),
        ("/system/xbin", "bin"),
        ("/etc", "/system/etc"),
    ]
    # What is kept current from outside, or mounted over; the mount is read-only for the phone.
    made.folders += [(folder, 0o755) for folder in ("/proc", "/dev", "/data", "/sys", VIEWS)]
    made.folders += [(folder, 0o555) for folder in ("/system", "/system/bin", "/system/etc", "/vendor", "/vendor/bin")]
    made.folders += [(folder, 0o555) for folder in ("/product", "/apex", "/mnt")]
    made.data_folders += [("/data/local", 0o111), ("/data/local/tmp", 0o771)]
    views = {
        "cpuinfo": cpuinfo(profile, abi, cpus),
        "version": f"Linux version {profile.kernel} (virtual) #1 SMP PREEMPT\n",
    }
    views["meminfo"] = meminfo(profile.memory_kib, profile.memory_kib)
    for name, text in views.items():
        made.files.append((f"{VIEWS}/{name}", 0o644, text))
        made.binds.append((f"{VIEWS}/{name}", f"/proc/{name}"))
    return made


def applet_names(program: bytes) -> list[str]:
    """Of a busybox, from its own table: names in order, each ended by a zero. Raises ConfigError for other files."""
    start = program.find(b"\0[\0[[\0")
    end = program.find(b"\0\0", start + 1)
    names = program[start + 1 : end].decode("ascii", "replace").split("\0") if start >= 0 else []
    if "sh" not in names:
        raise ConfigError("This is no busybox with a shell.", remedy="Install busybox-static.")
    return names


def without_applets(program: bytes, names: Collection[str]) -> bytes:
    """The busybox with these applets renamed.

    Debian's shell runs an applet before it looks along PATH, so ours of the same name would never be found. The new
    names are as long, and in their place in the table, which is searched in order.
    """
    table = applet_names(program)
    changed = [f"{name[:-1]}{chr(ord(name[-1]) + 1)}" if name in names else name for name in table]
    if changed != sorted(changed, key=str.encode):
        raise ConfigError(
            "This busybox's table of applets is not understood.", remedy="Install Debian's busybox-static."
        )
    old, new = ("\0".join(kind).encode() for kind in (table, changed))
    return program.replace(old, new, 1)


def cpuinfo(profile: Profile, abi: Abi, cpus: list[int]) -> str:
    """/proc/cpuinfo: on x86_64 the host's kind of lines, reduced to what a phone is asked for."""
    kinds = [cluster for cluster in profile.clusters for _ in range(cluster.cores)]
    blocks = []
    for number, cluster in zip(cpus, kinds, strict=False):
        if abi == "x86_64":
            blocks.append(f"processor\t: {number}\nvendor_id\t: virtual\nmodel name\t: {profile.name} {cluster.name}\n")
        else:
            features = (
                "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
            )
            blocks.append(
                f"processor\t: {number}\nBogoMIPS\t: 38.40\nFeatures\t: {features}\n"
                f"CPU implementer\t: {cluster.implementer}\nCPU architecture: 8\nCPU variant\t: 0x1\n"
                f"CPU part\t: {cluster.part}\nCPU revision\t: 0\n"
            )
    hardware = profile.properties.get("ro.soc.model") or profile.properties.get("ro.hardware", "virtual")
    return "\n".join(blocks) + f"\nHardware\t: {hardware} (torchfarm virtual)\n"


def meminfo(total_kib: int, available_kib: int) -> str:
    """/proc/meminfo: the lines that are asked for, always of the same length."""
    rows = {"MemTotal": total_kib, "MemFree": available_kib, "MemAvailable": available_kib}
    rows |= dict.fromkeys(("Buffers", "Cached", "SwapTotal", "SwapFree"), 0)
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in rows.items())


def _tool(name: str, remedy: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ConfigError(f"A virtual phone needs {name}.", remedy=remedy)
    return Path(found)
