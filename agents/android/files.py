"""What is sent to a phone and in which parts, what is put together there, and what is thrown away. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.android.adb import Slice

PART_BYTES = 16 * 2**20  # what is lost at most when the cable is pulled
MOST_AT_ONCE = 100  # files, so that their names fit into a command of adb's 65,535 bytes
SLOWEST_BYTES_PER_SECOND = 100_000  # of a link, and of hashing; slower than that is a time-out


@dataclass(frozen=True)
class Delivery:
    """A local file, its hash, and where it is to be on the phone."""

    local: Path
    sha256: str
    size_bytes: int
    remote: str
    mode: int = 0o644

    @property
    def staging(self) -> str:
        """The folder of its parts, named by content: those of another file are never taken for its own."""
        return f"{self.remote}.{self.sha256[:16]}.parts"


@dataclass(frozen=True)
class Kept:
    """A file of the phone's cache."""

    name: str
    size_bytes: int
    used_at: int


def slices(delivery: Delivery, present: Mapping[str, int]) -> list[Slice]:
    """The parts that are to be sent. ``present``: sizes of those that are there, by name."""
    found = []
    for number, offset in enumerate(range(0, delivery.size_bytes or 1, PART_BYTES)):
        length = min(PART_BYTES, delivery.size_bytes - offset)
        if present.get(str(number)) != length:
            found.append(Slice(delivery.local, f"{delivery.staging}/{number}", offset, length))
    return found


def survey(deliveries: Iterable[Delivery]) -> str:
    """A script that makes the folders of parts and says which are there from before: ``SIZE PATH`` on lines."""
    folders = " ".join(shlex.quote(delivery.staging) for delivery in deliveries)
    return (
        f"mkdir -p {folders} || exit 1\n"
        f"for d in {folders}; do for f in $d/*; do [ -f $f ] && stat -c '%s %n' $f; done; done; true"
    )


def surveyed(text: str) -> dict[str, dict[str, int]]:
    """By staging folder, then by name."""
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        size, _, path = line.partition(" ")
        folder, _, name = path.rpartition("/")
        if size.isdecimal() and folder:
            found.setdefault(folder, {})[name] = int(size)
    return found


# Parts vanish as they are appended, so that a file needs the room of one part beside its own.
_PLACE = """
place() { # target, staging folder, hash, mode
  if [ -e "$2/1" ]; then
    : > "$2/whole" || return 1
    n=0
    while [ -e "$2/$n" ]; do
      cat "$2/$n" >> "$2/whole" && rm "$2/$n" || return 1
      n=$((n + 1))
    done
  else
    mv -f "$2/0" "$2/whole" || return 1
  fi
  sum=$(sha256sum < "$2/whole") || return 1
  if [ "${sum%% *}" != "$3" ]; then
    rm -rf "$2"
    echo "$1 arrived damaged: its hash is ${sum%% *}" >&2
    return 3
  fi
  chmod "$4" "$2/whole" && mv -f "$2/whole" "$1" && rm -rf "$2"
}
"""


def placing(deliveries: Iterable[Delivery]) -> str:
    """A script that puts what was sent together, verifies it and moves it to where it is to be. It ends at the first
    that fails: 3 where the hash is wrong."""
    calls = [
        f"place {shlex.quote(one.remote)} {shlex.quote(one.staging)} {one.sha256} {one.mode:o} || exit $?"
        for one in deliveries
    ]
    return _PLACE + "\n".join(calls)


def seconds_for(size_bytes: int) -> float:
    """What sending or hashing so much may take at most."""
    return 30 + size_bytes / SLOWEST_BYTES_PER_SECOND


def evicted(kept: Iterable[Kept], limit_bytes: int, incoming_bytes: int, keep: Collection[str]) -> list[str]:
    """Names of those to remove, longest unused first, so that what comes fits in. What is in use stays."""
    files = sorted(kept, key=lambda one: (one.used_at, one.name))
    excess_bytes = sum(one.size_bytes for one in files) + incoming_bytes - limit_bytes
    gone = []
    for one in files:
        if excess_bytes <= 0:
            break
        if one.name not in keep:
            gone.append(one.name)
            excess_bytes -= one.size_bytes
    return gone
