"""The labelled set: what the program answers to each of its inputs, into one file. Not timed as latency.

The file is an ``.npz`` of arrays named ``"{sample}.{output}"`` and appears under its name only when it is whole.
"""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import numpy as np

from agents.harness import tensors
from agents.harness.job import Evaluation
from agents.harness.records import Writer
from agents.harness.runtimes import Program
from agents.harness.tensors import Sample

_PROGRESS_SECONDS = 1.0


def run(program: Program, evaluation: Evaluation, writer: Writer) -> None:
    """Write the ``evaluation`` record: ``samples``, ``seconds`` and ``file``, or why the outputs are absent."""
    begin = time.monotonic()
    partial = evaluation.outputs.with_suffix(".part")
    done, reported = 0, begin
    with zipfile.ZipFile(partial, "w") as archive:
        for sample in tensors.stream(evaluation.inputs):
            tensors.check(program.inputs, sample, f"Evaluation input {done}")
            _write(archive, done, [np.asarray(output) for output in program.outputs(program.bind(sample)())])
            done, now = done + 1, time.monotonic()
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


def _write(archive: zipfile.ZipFile, number: int, outputs: Sample) -> None:
    for index, output in enumerate(outputs):
        with archive.open(f"{number}.{index}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, output, allow_pickle=False)  # type: ignore[no-untyped-call]


def _give_up(partial: Path, writer: Writer, why: str) -> None:
    partial.unlink()
    writer.write("evaluation", absent=why)
