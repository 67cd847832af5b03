"""The labelled set: what the program answers to each of its inputs, into one file. Not timed as latency.

The file is an ``.npz`` of arrays named ``"{sample}.{output}"`` and appears under its name only when it is whole.
"""

from __future__ import annotations

import itertools
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agents.harness import tensors
from agents.harness.job import Evaluation
from agents.harness.records import Writer
from agents.harness.runtimes import Program
from agents.harness.tensors import Sample

_PROGRESS_SECONDS = 1.0


def run(program: Program, evaluation: Evaluation, batch: int, writer: Writer) -> None:
    """Write the ``evaluation`` record: ``samples``, ``seconds`` and ``file``, or why the outputs are absent. ``batch``:
    samples per inference."""
    begin = time.monotonic()
    partial = evaluation.outputs.with_suffix(".part")
    done, reported = 0, begin
    with zipfile.ZipFile(partial, "w") as archive:
        for group in _groups(tensors.stream(evaluation.inputs), batch):
            (together,) = tensors.stacked(group, batch)
            tensors.check(program.inputs, together, f"Evaluation input {done}")
            returned = [np.asarray(output) for output in program.outputs(program.bind(together)())]
            # The last batch may be filled up with more samples than there are.
            for outputs, _ in zip(tensors.unstacked(returned, batch), group, strict=False):
                _write(archive, done, outputs)
                done += 1
            now = time.monotonic()
            if archive.fp and archive.fp.tell() > evaluation.max_bytes:
                _give_up(partial, writer, f"the outputs are over {evaluation.max_bytes:,} bytes after {done:,} samples")
                return
            if now - begin > evaluation.max_seconds:
                why = f"{evaluation.max_seconds:g} s were over after {done:,} samples (evaluation_max_seconds)"
                _give_up(partial, writer, why)
                return
            if now - reported > _PROGRESS_SECONDS:
                writer.write("progress", name="evaluation", done=done)
                reported = now
    partial.replace(evaluation.outputs)
    writer.write("evaluation", samples=done, seconds=time.monotonic() - begin, file=evaluation.outputs.name)


def _groups(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    while group := list(itertools.islice(samples, size)):
        yield group


def _write(archive: zipfile.ZipFile, number: int, outputs: Sample) -> None:
    for index, output in enumerate(outputs):
        with archive.open(f"{number}.{index}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, output, allow_pickle=False)  # type: ignore[no-untyped-call]


def _give_up(partial: Path, writer: Writer, why: str) -> None:
    partial.unlink()
    writer.write("evaluation", absent=why)
