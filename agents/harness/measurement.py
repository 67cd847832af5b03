"""One measurement from beginning to end, phase by phase."""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from agents.harness import (
    affinity,
    evaluation,
    growth,
    loading,
    loop,
    memory,
    operators,
    parity,
    processing,
    profile,
    tensors,
)
from agents.harness.failure import Failure
from agents.harness.job import Job
from agents.harness.loop import Samples
from agents.harness.phase import Phase, Step
from agents.harness.records import Writer
from agents.harness.runtimes import Program, Runtime, find
from agents.harness.stopping import median_interval, steady
from agents.harness.tensors import Array, Sample


def measure(job: Job, writer: Writer) -> None:
    """Write all records of ``job`` but ``start``, ``error`` and ``end``. Raises Failure.

    The process must be fresh, pinned to its CPUs, and must not have imported a runtime.
    """
    kind = find(job.runtime)
    files = _artifact(job, kind)
    name = kind.files[0]
    (example,) = tensors.stacked(tensors.load(job.example_inputs)[:1], job.batch)
    parity_inputs, references = _parity_samples(job)
    parity_inputs = tensors.stacked(parity_inputs, job.batch)
    baseline_bytes = memory.resident("VmRSS")

    with Phase("import", f"importing {job.runtime}", writer):
        runtime = _imported(kind, job)
    after_import_bytes = memory.resident("VmRSS")
    writer.write("runtime_versions", versions=_versions(kind), emulated=getattr(kind, "emulates", ""))
    if job.custom_operators:
        operators.load(runtime, job.runtime, job.custom_operators)
    program = _loaded(runtime, files, job, writer)
    after_load_bytes = memory.resident("VmRSS")
    tensors.check(program.inputs, example, "Example input")
    for number, sample in enumerate(parity_inputs):
        tensors.check(program.inputs, sample, f"Parity input {number}")

    with Step("first_inference", "handing the example input to the runtime"):
        run = program.bind(example)
    with Phase("first_inference", f"running {name} for the first time", writer):
        _first(run, program, example)
    after_first_bytes = memory.resident("VmRSS")
    writer.write("cpus_allowed", cpus=affinity.allowed(job.cpus))
    median_seconds = _latency(run, job, writer)
    course = memory.record(
        baseline_bytes,
        memory.resident("VmHWM"),
        after_import_bytes=after_import_bytes,
        after_load_bytes=after_load_bytes,
        after_first_inference_bytes=after_first_bytes,
    )
    writer.write("memory", **course)
    with Step("growth", "repeating inferences to see whether memory grows"):
        series = growth.record(run, median_seconds, job.protocol.growth_seconds, growth.source())
    writer.write("memory_series", **series)

    with Step("parity", "comparing with PyTorch's outputs"):
        distance, non_finite = parity.compare(_answers(program, parity_inputs, references, job.batch))
    if distance is None:
        writer.write("parity", absent="no output element is finite both here and in PyTorch")
    else:
        writer.write("parity", **asdict(distance))
    writer.write("outputs", non_finite=non_finite)
    if job.processing:
        with Step("processing", "running the declared steps"):
            answer = [np.asarray(output) for output in program.outputs(program.bind(example)())]
            one, *_ = tensors.load(job.example_inputs)
            processing.measure(job.processing, job.protocol, one, tensors.unstacked(answer, job.batch)[0], writer)
    if job.evaluation:
        with Step("evaluation", "running the evaluation set"):
            evaluation.run(program, job.evaluation, job.batch, writer)
    if job.protocol.profile:
        writer.write("profile", **profile.record(program, example, job.runtime, median_seconds))


def _loaded(runtime: Runtime, files: dict[str, Path], job: Job, writer: Writer) -> Program:
    """The load phase, after the files were read once: it is the runtime's initialization from the page cache."""
    name = next(iter(files))
    before, cached = loading.counters(), loading.cached_ratio(files.values())
    with Step("load", f"reading {name}"):
        read_seconds = loading.read_through(files.values())
    between = loading.counters()
    with Phase("load", f"loading {name} with {job.runtime}", writer):
        program = runtime.load(files, job.options)
    writer.write("load_cost", **loading.record(read_seconds, cached, before, between, loading.counters()))
    return program


def _artifact(job: Job, kind: type[Runtime]) -> dict[str, Path]:
    if missing := [name for name in kind.files if name not in job.files]:
        raise Failure(
            "missing-file",
            f"{job.runtime} needs {', '.join(missing)}; the job came with {', '.join(job.files) or 'no files'}.",
            remedy="Build the artifact again; if it persists, the recipe's runtime and the artifact disagree.",
            fault="recipe",
        )
    tensors.require(job.files.values())
    return {name: job.files[name] for name in kind.files}


def _parity_samples(job: Job) -> tuple[list[Sample], list[Sample]]:
    inputs, references = tensors.load(job.parity_inputs), tensors.load(job.reference_outputs)
    if len(inputs) != len(references):
        raise Failure(
            "wrong-reference-count",
            f"There are {len(inputs)} parity inputs and {len(references)} reference outputs.",
            remedy="Submit the model again, with reference outputs for the same parity inputs or without any.",
            fault="user",
        )
    return inputs, references


def _imported(kind: type[Runtime], job: Job) -> Runtime:
    try:
        return kind(job.threads)
    except ModuleNotFoundError as error:
        raise Failure(
            "runtime-missing",
            f"The runtime {job.runtime} is not installed here: {error}.",
            remedy=f"On the device's machine: pip install 'torchfarm[{kind.extra}]'.",
            fault="device",
        ) from error


def _versions(kind: type[Runtime]) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in (*kind.distributions, "numpy"):
        with suppress(metadata.PackageNotFoundError):  # copied to the device without its metadata
            versions[name] = metadata.version(name)
    return versions


def _first(run: Callable[[], Any], program: Program, example: Sample) -> None:
    try:
        run()
    except Exception:
        tensors.check(program.inputs, example, "Example input", exactly=True)
        raise


def _latency(run: Callable[[], Any], job: Job, writer: Writer) -> float:
    """Warm-up and measured phase; the median in seconds. The garbage collector rests: its pauses are Python's, not the
    model's."""
    gc.collect()
    gc.disable()
    try:
        with Step("warmup", "warming up"):
            warm = _warmup(run, job, writer)
        with Step("measured", "measuring"):
            stopped_by, median_seconds = _measured(run, job, writer)
    finally:
        gc.enable()
    writer.write("stop", by=stopped_by, warmup_steady=warm)
    return median_seconds


def _warmup(run: Callable[[], Any], job: Job, writer: Writer) -> bool:
    """Run until the minima are met and the series is steady (``stopping.steady``), at most as long as a measurement
    may take. Returns whether it became steady."""
    protocol = job.protocol

    def reached(samples: Samples) -> bool:
        return float(samples.sum()) >= protocol.min_warmup_seconds * 1e9 and steady(
            samples, protocol.confidence, protocol.target_half_width_ratio
        )

    stopped_by = loop.collect(
        run,
        first_check=protocol.min_warmup_runs,
        at_least=protocol.min_warmup_runs,
        max_samples=None,
        max_seconds=max(protocol.max_seconds, protocol.min_warmup_seconds),
        reached=_recorded("warmup", writer, reached),
    )
    return stopped_by == "interval"


def _measured(run: Callable[[], Any], job: Job, writer: Writer) -> tuple[loop.StoppedBy, float]:
    """Run until the confidence interval of the median is narrow enough and the minima are met, or the time or the
    number of samples is used up: the maxima win over the minima. Returns why it stopped, and the median in seconds."""
    protocol = job.protocol
    last = np.zeros(0, dtype=np.int64)

    def reached(samples: Samples) -> bool:
        nonlocal last
        last = samples  # a view; the loop always looks once more before it ends
        interval = median_interval(samples, protocol.confidence)
        return (
            len(samples) >= protocol.min_samples
            and float(samples.sum()) >= protocol.min_seconds * 1e9
            and interval is not None
            and interval.half_width_ratio <= protocol.target_half_width_ratio
        )

    stopped_by = loop.collect(
        run,
        first_check=protocol.min_samples,
        at_least=1,
        max_samples=protocol.max_samples,
        max_seconds=protocol.max_seconds,
        reached=_recorded("samples", writer, reached),
    )
    return stopped_by, float(np.median(last)) / 1e9


def _recorded(kind: str, writer: Writer, reached: Callable[[Samples], bool]) -> Callable[[Samples], bool]:
    """``reached``, after writing the samples that are new since it was last asked."""
    written = 0

    def look(samples: Samples) -> bool:
        nonlocal written
        writer.write_samples(kind, samples[written:].tolist())
        written = len(samples)
        return reached(samples)

    return look


def _answers(
    program: Program, inputs: list[Sample], references: list[Sample], batch: int
) -> Iterator[tuple[list[Array], list[Array]]]:
    """The outputs of each sample with their references; ``inputs`` are batches."""
    for number, sample in enumerate(inputs):
        returned = program.bind(sample)()
        outputs = tensors.unstacked([np.asarray(output) for output in program.outputs(returned)], batch)
        # The last batch may be filled up with more samples than there are references.
        yield from zip(outputs, references[number * batch : (number + 1) * batch], strict=False)
