"""What runs on the phone around an attempt, as scripts for its own shell. Pure.

An attempt holds a lock on its file ``lock`` through a descriptor that all its processes inherit: whoever can take the
lock knows that every one of them has ended. All carry ``TORCHFARM_ATTEMPT`` in their environment, by which they are
found and ended. Nothing of it needs root, and nothing but mksh and toybox of Android 9.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from agents.android.files import Kept
from agents.android.phone import ATTEMPTS, BLOBS, LAYERS, ROOT
from farm.errors import OutputCut

VARIABLE = "TORCHFARM_ATTEMPT"
HARNESS_RESULTS = ("records.jsonl", "evaluation.npz")
_RESULTS = ("log.txt", "samples.tsv")
_DAY_MINUTES = 24 * 60

# Ends every process of an attempt that is not among those given, then removes the folders. Twice: a process may have
# been starting another one while the list was read.
_SWEEP = r"""
sweep() { # ids that stay
  for round in 1 2 3; do
    found=
    for line in $(grep -aoE 'TORCHFARM_ATTEMPT=[A-Za-z0-9-]+' /proc/[0-9]*/environ 2>/dev/null); do
      case " $* " in *" ${line##*=} "*) continue ;; esac
      pid=${line#/proc/}
      kill -9 "${pid%%/*}" 2>/dev/null && found=1 && echo "ended ${line##*=}"
    done
    [ -z "$found" ] && break
  done
  for folder in ATTEMPTS/*; do
    [ -d "$folder" ] || continue
    case " $* " in *" ${folder##*/} "*) ;; *) rm -rf "$folder" && echo "removed ${folder##*/}" ;; esac
  done
}
""".replace("ATTEMPTS", ATTEMPTS)


@dataclass(frozen=True)
class Prepared:
    """How the phone is before an attempt: ``gone`` are attempts that were swept away, ``layers`` hashes of those that
    are whole, ``free_bytes`` None where ``df`` cannot be read, ``state`` old values by name."""

    gone: tuple[str, ...]
    blobs: tuple[Kept, ...]
    layers: frozenset[str]
    free_bytes: int | None
    state: Mapping[str, str]


def prepare(keep: Collection[str], state: Mapping[str, str]) -> str:
    """End and remove what is not of ``keep``, and say how the phone is. ``state``: reading commands by name."""
    reads = "\n".join(f'echo {shlex.quote(name)}="$({command} 2>/dev/null)"' for name, command in state.items())
    return f"""{_SWEEP}
mkdir -p {ATTEMPTS} {BLOBS} {LAYERS} || exit 1
echo '#gone'
sweep {shlex.join(sorted(keep))}
find {BLOBS} {LAYERS} -maxdepth 1 -name '*.parts' -mmin +{_DAY_MINUTES} -exec rm -rf {{}} + 2>/dev/null
echo '#blobs'
cd {BLOBS} && for f in *; do [ -f "$f" ] && stat -c '%n %s %Y' "$f"; done
echo '#layers'
cd {LAYERS} && for d in *; do [ -e "$d/.complete" ] && echo "$d"; done
echo '#room'
df -k {ROOT} 2>/dev/null
echo '#state'
{reads}
true"""


def prepared(text: str, reads: Collection[str]) -> Prepared:
    """``reads``: the names of the state that was asked for. Raises OutputCut where something garbled the answer."""
    try:
        found = _prepared(text)
    except ValueError as error:
        raise _garbled(str(error)) from error
    if found.state.keys() != set(reads):
        raise _garbled(f"state {', '.join(found.state)}")
    return found


def _garbled(what: str) -> OutputCut:
    return OutputCut(f"The phone's answer makes no sense: {what}.", remedy="Something between garbles it; try again.")


def _prepared(text: str) -> Prepared:
    parts = re.split(r"^#(gone|blobs|layers|room|state)$\n?", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    kept = [line.rsplit(" ", 2) for line in sections.get("blobs", "").splitlines()]
    room = sections.get("room", "").split()
    state = dict(line.partition("=")[::2] for line in sections.get("state", "").splitlines())
    return Prepared(
        gone=tuple(dict.fromkeys(line.partition(" ")[2] for line in sections.get("gone", "").splitlines())),
        blobs=tuple(Kept(name, int(size), int(used)) for name, size, used in kept),
        layers=frozenset(sections.get("layers", "").split()),
        free_bytes=_free_bytes(room),
        state=state,
    )


def _free_bytes(words: list[str]) -> int | None:
    """Of ``df -k``: the word before the percentage."""
    for number, word in enumerate(words):
        if re.fullmatch(r"\d+%", word) and words[number - 1].isdecimal():
            return int(words[number - 1]) * 1024
    return None


def harness(attempt: str, command: Iterable[str], environment: Mapping[str, str]) -> str:
    """The command line of the harness for ``start``: in its own environment, nothing of the shell's."""
    variables = {**environment, VARIABLE: attempt}
    words = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]
    return shlex.join(["sh", "-c", 'echo $$ > pid; exec "$@"', "sh", *words])


def start(
    attempt: str,
    job: str,
    command: str,
    *,
    used: Iterable[str],
    state: Iterable[str],
    sampler: str,
    idle_seconds: float,
) -> str:
    """Set the phone's state, write the attempt's files, and start it detached: it outlives the shell and the link.

    Where it was started already, and the answer was lost, nothing is done. ``command``: of the phone's shell, run in
    the attempt's folder; its process that measures writes its number to ``pid``. ``used``: blobs, whose time of use is
    now. ``sampler``: a script that reads meters, from ``idle_seconds`` before on, and ends by itself after it; may be
    empty.
    """
    folder = f"{ATTEMPTS}/{attempt}"
    run = f"""flock -x 9
cd {folder} || exit 1
{f"sh sample.sh >> sampler.txt 2>&1 & meter=$!; sleep {idle_seconds:g}" if sampler else ""}
{command} >> log.txt 2>&1 < /dev/null &
wait $!
echo $? > exit.part && mv exit.part exit
{"[ -s pid ] && [ -e exit ] || kill -9 $meter" if sampler else ""}
wait
touch done
"""
    settings = "\n".join(f"{{ {command}; }} > /dev/null 2>&1" for command in state)
    touched = shlex.join([f"{BLOBS}/{name}" for name in used])
    return f"""mkdir -p {folder} && cd {folder} || exit 1
[ -e lock ] && exit 0
{settings}
touch -c {touched}
printf %s {shlex.quote(job)} > job.json && printf %s {shlex.quote(run)} > run.sh || exit 1
{f"printf %s {shlex.quote(sampler)} > sample.sh || exit 1" if sampler else ""}
{VARIABLE}={attempt} setsid nohup sh run.sh 9> lock > /dev/null 2>&1 < /dev/null &
"""


def wait(attempt: str, results: Iterable[str]) -> str:
    """Until the attempt has ended, without using the processor meanwhile. Says ``exit CODE`` (``exit unknown`` where
    it was killed, ``exit full`` where there was no room to write it, ``gone`` where there is nothing of it), then hash
    and name of every file that is to be fetched: ``results``, patterns of the shell, log and samples."""
    folder = f"{ATTEMPTS}/{attempt}"
    return f"""cd {folder} 2>/dev/null || {{ echo gone; exit 0; }}
tries=0
while [ ! -e done ]; do
  flock -s 9 9< lock 2>/dev/null
  [ -e done ] && break
  if ! grep -qs '{VARIABLE}={attempt}' /proc/[0-9]*/environ; then
    tries=$((tries + 1)); [ $tries -gt 2 ] && break
  fi
  sleep 0.3
done
code=$(cat exit 2>/dev/null)
if [ -z "$code" ]; then
  code=full; {{ echo probe > probe; }} 2>/dev/null && code=unknown
fi
echo "exit $code"
for f in {" ".join((*_RESULTS, *results))}; do [ -f $f ] && sha256sum $f; done
true"""


def waited(text: str, results: Iterable[str] = ()) -> tuple[str, dict[str, str]]:
    """("gone", "unknown", "full" or the exit code, {file: hash}). Raises OutputCut where something garbled it."""
    first, *rest = text.splitlines() or ["gone"]
    try:
        hashes = {name: digest for digest, name in (line.split() for line in rest)}
    except ValueError as error:
        raise _garbled(str(error)) from error
    if not all(any(fnmatch(name, pattern) for pattern in (*_RESULTS, *results)) for name in hashes):
        raise _garbled(f"files {', '.join(hashes)}")
    return first.removeprefix("exit "), hashes


def finish(keep: Collection[str], state: Iterable[str], afterwards: str) -> str:
    """End and remove what is not of ``keep``, put the phone's state back, and run ``afterwards``: its output alone."""
    settings = "\n".join(f"{{ {command}; }} > /dev/null 2>&1" for command in state)
    return f"{_SWEEP}\nsweep {shlex.join(sorted(keep))} > /dev/null\n{settings}\n{afterwards}\ntrue"


def unpack(archive: str, layer: str) -> str:
    """A layer that was pushed as ``archive`` becomes ``layer``, whole or not at all."""
    part = f"{layer}.part"
    return (
        f"rm -rf {part} && mkdir -p {part} && gzip -dc {archive} > {part}.tar && tar -xf {part}.tar -C {part}"
        f" && rm {part}.tar {archive} && touch {part}/.complete && rm -rf {layer} && mv {part} {layer}"
    )


def remove(paths: Iterable[str]) -> str:
    return f"rm -rf {shlex.join(paths)}"
