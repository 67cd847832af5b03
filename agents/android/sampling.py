"""Reads a phone's meters on the phone itself: a shell script beside the harness, not chatty adb.

``plan`` finds out what the phone lets its shell read. ``Plan.script`` is POSIX sh for mksh (Android's) and busybox ash.
Between its records it starts no process but ``dumpsys`` every ``SLOW_SECONDS``: ``read <file`` is a built-in, and so is
a ``read -t`` from a pipe that nobody writes to, which costs a third of what a ``sleep`` does; where shell or phone have
no such thing, it is a ``sleep``. ``agents.android.samples`` reads what it writes. Its folder is an attempt's: it waits
for ``pid`` (the harness's, on one line), samples while that lives, goes on for the idle time after ``exit`` is there or
the process is gone, and ends. Start it detached, ``idle_seconds`` before the harness. Phases in its records:

    0 before the harness   1 while it runs   2 after it
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from agents.android.parsers import cpufreq, odpm, powersupply
from agents.android.parsers.absent import Absent, refusal
from agents.android.phone import Phone
from farm.types import CpuCluster, Frozen

SLOW_SECONDS = 10.0  # between two dumpsys: each costs tens of milliseconds of processor time
SAMPLES = "samples.tsv"

_SUPPLY = "/sys/class/power_supply/battery"
_CPUS = "/sys/devices/system/cpu"


class _Source(NamedTuple):
    """``key``: its name in a record."""

    key: str
    file: str


_GAUGE = {
    "current": _Source("i", f"{_SUPPLY}/current_now"),
    "voltage": _Source("v", f"{_SUPPLY}/voltage_now"),
    "charge": _Source("q", f"{_SUPPLY}/charge_counter"),
}
_CHECKS = {"current": powersupply.current, "voltage": powersupply.volts, "charge": powersupply.charge_coulombs}
_MARK = "#torchfarm "
_RAILS = "/sys/bus/iio/devices/iio:device*/energy_value"

# Everything that may be denied, tried once: the answer or the refusal of each, between marks.
PROBE_COMMAND = (
    f"for f in {' '.join(source.file for source in _GAUGE.values())} {_RAILS} /proc/stat; do "
    f'echo "{_MARK}$f"; cat "$f" 2>&1; done; '
    f'echo "{_MARK}clusters"; {cpufreq.COMMAND}; '
    f'echo "{_MARK}limit"; cat {_CPUS}/cpu0/cpufreq/scaling_cur_freq {_CPUS}/cpu0/cpufreq/scaling_max_freq 2>&1; '
    f'echo "{_MARK}end"'
)


class Plan(Frozen):
    """What a phone's shell may read; ``absent`` says why it may not read the rest. To be kept per device and build."""

    gauge: tuple[str, ...]  # of "current", "voltage", "charge"
    rails: tuple[str, ...]  # files
    load: bool
    clusters: tuple[CpuCluster, ...]  # none: frequencies cannot be read
    absent: dict[str, str]

    @property
    def measures_energy(self) -> bool:
        """Whether an idle baseline is worth its time."""
        return bool(self.rails) or "charge" in self.gauge or {"current", "voltage"} <= set(self.gauge)

    def script(
        self,
        period_seconds: float,
        folder: str,
        *,
        cpus: Sequence[int],
        idle_seconds: float,
        limit_seconds: float,
    ) -> str:
        """The sampler for one attempt in ``folder``. ``cpus``: those the harness is pinned to (none: any); it keeps off
        them, on the slowest CPU that is left, and reads their frequencies. ``limit_seconds``: its longest life."""
        watched = [cluster.cpus[0] for cluster in self.clusters if not cpus or set(cpus) & set(cluster.cpus)]
        readings = [(_GAUGE[name].key, _GAUGE[name].file) for name in self.gauge] + [
            reading
            for cpu in watched
            for reading in (
                (f"f{cpu}", f"{_CPUS}/cpu{cpu}/cpufreq/scaling_cur_freq"),
                (f"m{cpu}", f"{_CPUS}/cpu{cpu}/cpufreq/scaling_max_freq"),
            )
        ]
        keys = [key for key, _ in readings] + (["s", "o"] if self.load else [])
        free = [cpu for cluster in self.clusters for cpu in cluster.cpus if cpu not in cpus]
        return _SCRIPT.format(
            folder=shlex.quote(folder),
            samples=SAMPLES,
            keys=",".join(keys) or "-",
            period=f"{period_seconds:g}",
            limit=int(limit_seconds),
            idle=int(idle_seconds),
            pin=f"taskset -p {1 << free[0]:x} $$ >/dev/null 2>&1" if free else ":",
            slow_ticks=max(1, round(SLOW_SECONDS / period_seconds)),
            rail_ticks=max(1, round(1 / period_seconds)),
            readings="\n".join(f'  read -r x <{file} && r="$r${{T}}{key}=$x"' for key, file in readings),
            load=_LOAD if self.load else "",
            rails="\n".join(
                f'  while read -r x; do put "rail${{T}}$up${{T}}{number}${{T}}$x"; done <{file}'
                for number, file in enumerate(self.rails)
            )
            or "  :",
        )


# In the order of its records: what a tick reads comes first, so that one record is one moment.
_SCRIPT = """\
cd {folder} || exit 1
exec >{samples} 2>/dev/null </dev/null
set -f
T='\t'
N='
'
n=0 pid= phase=0 ticks=0 until=
put() {{ echo "$n$T$1$T;"; n=$((n+1)); }}
spent() {{ read -r x </proc/$$/stat && x=${{x##*) }} && set -- $x && put "cpu$T$up$T${{12}},${{13}},${{14}},${{15}}"; }}
say() {{
  IFS=$N
  for x in $out; do IFS=' '; put "$1$T$up$T$ticks$T$x"; done
  IFS=' '
}}
slow() {{
  out=$(dumpsys battery 2>&1); out=${{out%%"$N$N"*}}; say battery
  out=$(dumpsys thermalservice 2>&1); say thermal
  spent
}}
rails() {{
{rails}
}}
nap() {{ sleep {period}; }}
if mkfifo nap && (exec 8<>nap); then
  exec 8<>nap
  echo y >&8
  read -t 1 x <&8 && [ "$x" = y ] && nap() {{ read -t {period} x <&8; }}
  rm nap
fi
IFS=' '
{pin}
read -r up x </proc/uptime
limit=$((${{up%%.*}}+{limit}))
put "start$T$up$T""{period}$T""{keys}"
while :; do
  read -r up x </proc/uptime
  r="tick$T$up$T$phase"
{readings}
{load}  put "$r"
  now=${{up%%.*}}
  [ $now -lt $limit ] && [ -e {samples} ] || break
  before=$phase
  case $phase in
    0) [ -s pid ] && read -r pid <pid && phase=1 ;;
    1) if [ -e exit ] || [ ! -d /proc/$pid ]; then phase=2; until=$((now+{idle}+1)); fi ;;
    2) [ $now -lt $until ] || break ;;
  esac
  if [ $phase != $before ] || [ $((ticks%{slow_ticks})) = 0 ]; then slow; fi
  [ $((ticks%{rail_ticks})) = 0 ] && rails
  ticks=$((ticks+1))
  nap
done
slow
put "end$T$up"
"""

_LOAD = """\
  read -r x a b c d e f g h x </proc/stat && r="$r${T}s=$a,$b,$c,$d,$e,$f,$g,$h"
  if [ "$pid" ] && read -r x </proc/$pid/stat; then
    x=${x##*) }; set -- $x; r="$r${T}o=${12},${13},${14},${15}"
  fi
"""


async def plan(phone: Phone) -> Plan:
    """Try what this phone's shell may read. Raises LinkLost, DeviceTimeout, OutputCut."""
    return read_plan((await phone.shell(PROBE_COMMAND)).stdout)


def read_plan(text: str) -> Plan:
    """From the answer to ``PROBE_COMMAND``. Pure."""
    parts = _answers(text)
    absent: dict[str, str] = {}
    gauge = []
    for key, source in _GAUGE.items():
        value = _CHECKS[key](parts.get(source.file, ""))
        if isinstance(value, Absent):
            absent[key] = value.why
        else:
            gauge.append(key)
    rails = {file: odpm.parse(answer) for file, answer in parts.items() if file.endswith("/energy_value")}
    if denied := [found.why for found in rails.values() if isinstance(found, Absent)]:
        absent["rails"], rails = denied[0], {}  # a sum that lacks a device would be no sum
    stat = parts.get("/proc/stat", "")
    if not (load := stat.startswith("cpu ")):
        absent["load"] = f"/proc/stat: {refusal(stat) or 'it has no line of all CPUs'}"
    clusters = cpufreq.clusters(parts.get("clusters", ""))
    if isinstance(clusters, Absent):
        absent["cpu_frequency"], clusters = clusters.why, ()
    elif why := refusal(parts.get("limit", "")):
        absent["cpu_frequency"], clusters = f"scaling_cur_freq: {why}", ()
    return Plan(gauge=tuple(gauge), rails=tuple(rails), load=load, clusters=clusters, absent=absent)


def _answers(text: str) -> dict[str, str]:
    """What was printed after each mark, by what the mark names."""
    parts: dict[str, str] = {}
    name = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(_MARK):
            name = line.removeprefix(_MARK)
            parts[name] = ""
        else:
            parts[name] = f"{parts.get(name, '')}{line}\n"
    return parts
