"""Sequenced records: JSON lines that survive the death of their writer. Standard library only.

Every line is ``{"seq": n, "kind": ..., "monotonic_seconds": ..., ...}``; ``seq`` counts from 0 without gaps and
``monotonic_seconds`` is CLOCK_MONOTONIC, which other processes on the device share. The kinds, in order:

    start             runtime, threads, cpus (asked for), batch (samples per inference), pid, niceness (of its
                      scheduling; 0 is usual), uptime_seconds (of /proc/uptime now, or null)
    phase             name (import, load, first_inference), seconds
    runtime_versions  versions {distribution: version}, emulated (an accelerator, or empty)
    load_cost         read_seconds, cached_ratio, storage_bytes, requested_bytes; absent {field: the reason}
    cpus_allowed      cpus (read back from all threads)
    warmup            samples_seconds (a chunk)
    samples           samples_seconds (a chunk)
    stop              by (interval, time, samples), warmup_steady
    memory            baseline_bytes, peak_bytes, after_import_bytes, after_load_bytes, after_first_inference_bytes;
                      or absent (the reason)
    memory_series     source, inferences, memory_bytes; or absent (the reason)
    parity            the fields of farm.types.Parity; or absent (the reason)
    outputs           non_finite
    preprocess        samples_seconds (a chunk): of the declared steps before the model, if there are any
    postprocess       samples_seconds (a chunk): of those after it
    progress          name (evaluation), done (samples so far): any number of them, for who watches
    evaluation        samples, seconds, file (of the outputs); or absent (the reason); only with a labelled set
    profile           tool, runs, inference_seconds, unprofiled_seconds, operators; or absent (the reason);
                      only if asked for
    error             code, message, remedy, fault (user, recipe, device), traceback
    end               uptime_seconds

A file whose last record is neither ``end`` nor ``error`` was cut: the harness crashed or was killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHUNK_SAMPLES = 1000

Record = dict[str, Any]


class HarnessError(Exception):
    """The harness ended with an ``error`` record: ``code``, ``message``, ``remedy``, ``fault``, ``traceback``."""

    def __init__(self, record: Record) -> None:
        super().__init__(record["message"])
        self.record = record
        self.code: str = record["code"]
        self.message: str = record["message"]
        self.remedy: str = record["remedy"]
        self.fault: str = record["fault"]
        self.traceback: str = record["traceback"]


class RecordsCut(Exception):
    """The records end without ``end`` or ``error``, or some in between are missing."""


class Writer:
    """Appends records to ``path``, each flushed before the next: ``kill -9`` costs at most the line being written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8")
        self._seq = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, kind: str, **fields: Any) -> None:
        """Raises ValueError for a figure that is not finite: JSON has no name for it."""
        record = {"seq": self._seq, "kind": kind, "monotonic_seconds": time.monotonic(), **fields}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()
        self._seq += 1

    def write_samples(self, kind: str, nanoseconds: Sequence[int]) -> None:
        for start in range(0, len(nanoseconds), CHUNK_SAMPLES):
            chunk = nanoseconds[start : start + CHUNK_SAMPLES]
            self.write(kind, samples_seconds=[sample / 1e9 for sample in chunk])


def read(path: Path) -> list[Record]:
    """All whole records of a file, also of one that is cut or still being written.

    Lines that are not whole are left out; ``gaps`` finds what is missing in between. Raises RecordsCut when there is
    no such file, which means that the harness died before its first record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise RecordsCut(f"The harness wrote no records to {path}.") from None
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("seq"), int) and "kind" in record:
            records.append(record)
    return records


def gaps(records: Iterable[Record]) -> list[int]:
    """Sequence numbers that are missing before the last record that is there."""
    present = {record["seq"] for record in records}
    return [seq for seq in range(max(present, default=-1) + 1) if seq not in present]


def summarize(records: Sequence[Record]) -> dict[str, Any]:
    """What the harness knows of ``farm.types.Measurement``, keyed by its field names.

    Raises HarnessError when the harness ended with an error, RecordsCut when it did not end or records are missing.
    """
    last = records[-1] if records else {"kind": "none"}
    if last["kind"] == "error":
        raise HarnessError(last)
    if last["kind"] != "end":
        raise RecordsCut(f"The records end with {_where(last)}: the harness crashed or was killed.")
    if missing := gaps(records):
        raise RecordsCut(f"The records {', '.join(map(str, missing[:10]))} are missing or damaged.")
    by_kind = {record["kind"]: record for record in records}
    phases = {record["name"]: record["seconds"] for record in records if record["kind"] == "phase"}
    memory, parity = by_kind["memory"], by_kind["parity"]
    absent: dict[str, str] = {}
    if "absent" in memory:
        for name in ("memory_baseline_bytes", "memory_peak_bytes", "memory_course"):
            absent[name] = memory["absent"]
    if "absent" in parity:
        absent["parity"] = parity["absent"]
    evaluation = by_kind.get("evaluation", {})
    if "absent" in evaluation:
        absent["evaluation"] = evaluation["absent"]
    return {
        "latency_samples_seconds": _samples(records, "samples"),
        "warmup_samples_seconds": _samples(records, "warmup"),
        "import_seconds": phases["import"],
        "load_seconds": phases["load"],
        "first_inference_seconds": phases["first_inference"],
        "memory_baseline_bytes": memory.get("baseline_bytes"),
        "memory_peak_bytes": memory.get("peak_bytes"),
        "parity": None if "absent" in parity else _fields(parity),
        "non_finite_outputs": by_kind["outputs"]["non_finite"],
        "stopped_by": by_kind["stop"]["by"],
        "cpus_allowed": by_kind["cpus_allowed"]["cpus"],
        "cpus_asked": by_kind["start"]["cpus"],
        "niceness": by_kind["start"].get("niceness"),
        "runtime_versions": by_kind["runtime_versions"]["versions"],
        "preprocess_samples_seconds": _samples(records, "preprocess"),
        "postprocess_samples_seconds": _samples(records, "postprocess"),
        "evaluation_seconds": evaluation.get("seconds"),
        "batch": by_kind["start"].get("batch", 1),
        "emulated": by_kind["runtime_versions"].get("emulated", ""),
        **_insight(by_kind, absent),
        "absent": absent,
    }


def _insight(by_kind: dict[str, Record], absent: dict[str, str]) -> dict[str, Any]:
    """Course and growth of memory, cost of loading, and the profile; adds to ``absent`` why there is none."""
    memory, cost, series = by_kind["memory"], _fields(by_kind["load_cost"]), _fields(by_kind["memory_series"])
    absent |= {f"load_cost.{name}": why for name, why in cost.pop("absent").items()}
    if "absent" in series:
        absent["memory_growth_bytes"] = series["absent"]
    profile = _fields(by_kind["profile"]) if "profile" in by_kind else {}
    if "absent" in profile:
        absent["profile"] = profile["absent"]
    course = {name: value for name, value in memory.items() if name.startswith("after_")}
    return {
        "memory_course": course or None,
        "memory_series": None if "absent" in series else series,
        "load_cost": cost,
        "profile": profile if "tool" in profile else None,
    }


def _samples(records: Iterable[Record], kind: str) -> list[float]:
    return [sample for record in records if record["kind"] == kind for sample in record["samples_seconds"]]


def _fields(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in ("seq", "kind", "monotonic_seconds")}


def _where(record: Record) -> str:
    if record["kind"] == "none":
        return "nothing"
    name = f" {record['name']}" if "name" in record else ""
    return f"record {record['seq']} ({record['kind']}{name})"
