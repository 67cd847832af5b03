"""What is sent to a phone and in which parts, what is put together there, and what is thrown away. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.android.adb import Slice

PART_BYTES = 16 * 2**20  # what is lost at most when the cable is pulled
WHOLE = "whole"  # the file that parts become, beside them
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

    @property
    def joined(self) -> bool:
        """Whether it is of several parts, which are joined as they come."""
        return self.size_bytes > PART_BYTES


@dataclass(frozen=True)
class Kept:
    """A file of the phone's cache."""

    name: str
    size_bytes: int
    used_at: int


@dataclass(frozen=True)
class Part:
    """Bytes ``offset`` to ``offset + length`` of a file, which are sent, verified and joined by themselves."""

    delivery: Delivery
    number: int
    offset: int
    length: int

    @property
    def remote(self) -> str:
        return f"{self.delivery.staging}/{self.number}"

    @property
    def slice(self) -> Slice:
        return Slice(self.delivery.local, self.remote, self.offset, self.length)


def parts(delivery: Delivery) -> list[Part]:
    """All of the file, in order: one at least, of an empty file."""
    return [
        Part(delivery, number, offset, min(PART_BYTES, delivery.size_bytes - offset))
        for number, offset in enumerate(range(0, delivery.size_bytes or 1, PART_BYTES))
    ]


def unjoined(delivery: Delivery, present: Mapping[str, int]) -> list[Part]:
    """Those that are not in the whole yet. ``present``: sizes of what is there, by name; of a whole that ends in the
    middle of a part, that part does not count."""
    whole_bytes = present.get(WHOLE, 0)
    return [part for part in parts(delivery) if part.offset + part.length > whole_bytes or not part.length]


def unsent(delivery: Delivery, present: Mapping[str, int]) -> list[Part]:
    return [part for part in unjoined(delivery, present) if present.get(str(part.number)) != part.length]


def survey(deliveries: Iterable[Delivery]) -> str:
    """A script that makes the folders of parts and says which are there from before: ``SIZE PATH`` on lines."""
    folders = " ".join(shlex.quote(delivery.staging) for delivery in deliveries)
    return (
        f"mkdir -p {folders} || exit 1\n"
        f'for d in {folders}; do for f in "$d"/*; do [ -f "$f" ] && stat -c "%s %n" "$f"; done; done; true'
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


_JOIN = """
join() { # staging folder, number, hash, what is in the whole before it
  cd "$1" || return 1
  sum=$(sha256sum < "$2") || return 1
  if [ "${sum%% *}" != "$3" ]; then
    rm -f "$2"
    echo "part $2 of $1 arrived damaged: its hash is ${sum%% *}" >&2
    return 3
  fi
  if [ "$2" = 0 ]; then
    mv -f 0 whole
  else
    truncate -s "$4" whole && cat "$2" >> whole && rm -f "$2"
  fi
}
"""


def joining(part: Part, sha256: str) -> str:
    """A script that verifies a part and appends it to the whole. The part vanishes, so that a file needs the room of
    few parts beside its own. Again and again, it comes to the same. 3 where the hash is wrong."""
    return f"{_JOIN}join {shlex.quote(part.delivery.staging)} {part.number} {sha256} {part.offset}"


_PLACE = """
verify() { # target, staging folder, hash
  mv -f "$2/0" "$2/whole" && sum=$(sha256sum < "$2/whole") || return 1
  if [ "${sum%% *}" != "$3" ]; then
    rm -rf "$2"
    echo "$1 arrived damaged: its hash is ${sum%% *}" >&2
    return 3
  fi
}
place() { # target, staging folder, mode
  chmod "$3" "$2/whole" && mv -f "$2/whole" "$1" && rm -rf "$2"
}
"""


def placing(deliveries: Iterable[Delivery]) -> str:
    """A script that moves what was sent to where it is to be; files of one part, which were not joined, are verified
    here. It ends at the first that fails: 3 where the hash is wrong."""
    return _PLACE + "\n".join(map(_placing, deliveries))


def _placing(one: Delivery) -> str:
    target, staging = shlex.quote(one.remote), shlex.quote(one.staging)
    verified = "" if one.joined else f"verify {target} {staging} {one.sha256} && "
    return f"{verified}place {target} {staging} {one.mode:o} || exit $?"


def discarding(delivery: Delivery) -> str:
    return f"rm -rf {shlex.quote(delivery.staging)}"


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
