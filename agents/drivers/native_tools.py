"""Runs a native tool on a phone: what the Android driver uses for scenarios on an accelerator or of a tool.

``prepare`` pushes all that is needed and gives the command that the driver runs detached, as it does the harness. It
needs nothing of this machine until it has ended; then the driver brings the files ``RESULTS`` of the attempt's folder
here, and ``read`` makes a measurement of them, in a later process just as well.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from agents.android.phone import TOOLS as TOOLS_FOLDER
from agents.android.phone import Phone
from agents.harness import parity, tensors
from agents.harness.failure import Failure as HarnessFailure
from agents.native_tools import TOOLS, NotUnderstood, Printed, Tensor, Tool, Work
from agents.native_tools.executorch import ExecutorRunner
from agents.native_tools.registry import Registry, file_name
from agents.native_tools.testdata import tensor_proto
from farm.config import NativeTool
from farm.errors import DeviceError, FarmError, OutputCut, RecipeError, UserError
from farm.types import Lease, Measurement, Parity, Telemetry, ToolReport, digest_of

# What it printed, with an end marker; of the run that tells what took the graph; CPUs read back; the tool's own file;
# what it printed and wrote for each parity sample. Patterns of the phone's shell.
RESULTS = ("tool.txt", "probe.txt", "cpus.txt", "results.csv", "parity-*.txt", "parity-*.bin")
_MARKER = "torchfarm: the tool ended with exit code "
_TAIL = 600
_EXAMPLE, _REFERENCES = "tool-example.npz", "tool-references.npz"  # kept for ``read``
PERF_TEST = "onnxruntime_perf_test"


@dataclass(frozen=True)
class Prepared:
    """``command``: for the phone's shell, to be run detached; its exit code is the tool's."""

    command: str
    tool: Tool
    work: Work


class NativeTools:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def choose(self, lease: Lease, abi: str) -> tuple[Tool, NativeTool]:
        """The tool for a lease whose scenario is ``native``. Raises UserError with what to do."""
        scenario = lease.scenario
        fits = [
            (TOOLS[each.name], each)
            for each in self._registry.all()
            if each.abi == abi
            and TOOLS[each.name].runtime == lease.runtime
            and scenario.accelerator in each.accelerators
            and scenario.tool in (None, each.name)
        ]
        if not fits:
            raise UserError(
                f"No native tool is registered for {lease.runtime} on the {scenario.accelerator} of {abi}"
                + (f" by the name {scenario.tool}." if scenario.tool else "."),
                remedy="Register one where the device is attached: `farm tools add` (docs/native-tools.md).",
            )
        return fits[0]

    async def prepare(
        self,
        phone: Phone,
        lease: Lease,
        abi: str,
        files: Mapping[str, Path],
        remote: Mapping[str, str],
        folder: str,
        local: Path,
        cpus: Sequence[int],
    ) -> Prepared:
        """``files`` and ``remote``: where each blob of the lease lies here and on the phone, by its hash; ``folder``
        and ``local``: the attempt's, there and here. ``cpus``: to pin it to; empty: to none.

        Raises UserError where the tool cannot do what is asked, and all that ``phone`` does.
        """
        tool, registered = self.choose(lease, abi)
        for blob, name in ((lease.example_inputs, _EXAMPLE), (lease.reference_outputs, _REFERENCES)):
            await asyncio.to_thread(shutil.copyfile, files[blob.sha256], local / name)
        if lease.custom_operators:
            raise UserError(
                f"{tool.name} does not have the model's custom operators.",
                remedy="Measure it with the farm's own harness.",
            )
        work = _work(tool, registered, lease, local, folder)
        if why := tool.refuses(work):
            raise UserError(f"{tool.name} cannot measure this: {why}.", remedy="Use the farm's own harness for it.")
        binary = await self._push_tool(phone, registered)
        await _lay_out(phone, lease, remote, f"{folder}/model")
        await _push_inputs(phone, tool, work.inputs, _example(lease, local), local)
        comparing: list[list[str]] = []
        if isinstance(tool, ExecutorRunner) and lease.batch == 1:
            for number, sample in enumerate(_samples(files[lease.parity_inputs.sha256])):
                inputs = _tensors(tool, sample, f"{folder}/parity-inputs-{number}")
                await _push_inputs(phone, tool, inputs, sample, local)
                comparing.append(tool.once(binary, work, inputs, 1, f"{folder}/parity-{number}"))
        libraries = _parent(binary) if registered.libraries else ""
        return Prepared(_script(tool, binary, work, libraries, cpus, comparing), tool, work)

    def read(
        self,
        lease: Lease,
        abi: str,
        folder: str,
        local: Path,
        *,
        started_at: datetime,
        telemetry: Telemetry,
    ) -> Measurement:
        """Of the files ``RESULTS`` in ``local``, beside what ``prepare`` has put there; ``folder``: where they were
        written.

        Raises OutputCut, RecipeError or DeviceError (the tool failed), UserError (what it printed is not understood).
        """
        tool, registered = self.choose(lease, abi)
        work, binary = _work(tool, registered, lease, local, folder), _binary(registered)
        output, exit_code = _marked(_text(local / "tool.txt"), tool.name)
        if exit_code != 0:
            raise _failed(tool, exit_code, output)
        results = _text(local / tool.results) if tool.results else ""
        probed = _text(local / "probe.txt") if tool.probe(binary, work) else ""
        try:
            printed = tool.read(output, results, probed, work)
        except NotUnderstood as error:
            raise UserError(
                f"The output of {tool.name} is not understood: {error}.",
                remedy="Register a version that docs/native-tools.md names; nothing is taken from this run.",
            ) from error
        absent = _absent(tool, lease)
        found, non_finite = None, None
        if tool.outputs:
            try:
                found, non_finite = _parity(tool, lease, local)
                del absent["parity"]
            except HarnessFailure as error:
                absent["parity"] = f"its outputs could not be compared: {error.message}"
        report = _report(tool, registered, binary, work, printed)
        told: dict[str, Any] = {
            "load_seconds": printed.load_seconds,
            "first_inference_seconds": printed.first_inference_seconds,
            "memory_peak_bytes": printed.memory_peak_bytes,
        }
        absent |= {key: f"{tool.name} does not print it" for key, value in told.items() if value is None}
        return Measurement(
            attempt_id=lease.attempt_id,
            job_id=lease.job_id,
            epoch=lease.epoch,
            latency_samples_seconds=printed.samples_seconds,
            warmup_samples_seconds=printed.warmup_samples_seconds,
            import_seconds=None,
            memory_baseline_bytes=None,
            **told,
            parity=found,
            non_finite_outputs=non_finite,
            stopped_by="samples",
            cpus_allowed=_cpus(_text(local / "cpus.txt")),
            runtime_versions={tool.name: f"sha256:{report.sha256[:12]}"},
            telemetry=telemetry,
            started_at=started_at,
            absent=absent,
            batch=lease.batch,
            tool_report=report,
        )

    async def _push_tool(self, phone: Phone, registered: NativeTool) -> str:
        """The binary's path there; its libraries lie beside it."""
        binary = _binary(registered)
        await _run(phone, f"mkdir -p {shlex.quote(_parent(binary))}")
        for file in (*registered.libraries, registered.binary):
            target = binary if file is registered.binary else f"{_parent(binary)}/{file_name(file)}"
            there = await phone.shell(f"sha256sum {shlex.quote(target)}", timeout_seconds=30)
            if there.exit_code != 0 or there.stdout.split()[:1] != [file.sha256]:
                await phone.push(await asyncio.to_thread(self._registry.fetch, file), target, executable=True)
        return binary


def _binary(registered: NativeTool) -> str:
    key = digest_of(registered) if registered.libraries else registered.binary.sha256
    return f"{TOOLS_FOLDER}/{key}/{registered.name}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _example(lease: Lease, local: Path) -> tensors.Sample:
    sample = _samples(local / _EXAMPLE)[0]
    return tensors.stacked([sample], lease.scenario.batch)[0] if lease.scenario.batch > 1 else sample


def _tensors(tool: Tool, sample: tensors.Sample, folder: str) -> tuple[Tensor, ...]:
    """Where its arrays go: for onnxruntime_perf_test to where it looks for them, beside the model."""
    name = f"{folder}/model/test_data_set_0/input_{{}}.pb" if tool.name == PERF_TEST else f"{folder}/input-{{}}.bin"
    return tuple(Tensor(name.format(index), str(array.dtype), array.shape) for index, array in enumerate(sample))


def _work(tool: Tool, registered: NativeTool, lease: Lease, local: Path, folder: str) -> Work:
    """The same before and after. Raises RecipeError where the artifact is not the tool's, UserError."""
    programs = [file.name for file in lease.files if file.name.endswith(tool.suffixes)]
    if len(programs) != 1:
        raise RecipeError(
            f"{tool.name} runs one file {' or '.join(tool.suffixes)}; the artifact holds {len(programs)} of them.",
            remedy="Measure this recipe with the farm's own harness.",
        )
    accelerator = lease.scenario.accelerator
    return Work(
        model=f"{folder}/model/{programs[0]}",
        folder=folder,
        threads=lease.scenario.threads,
        accelerator=accelerator,
        delegate=registered.accelerators[accelerator] or tool.delegate(accelerator) or (),
        inputs=_tensors(tool, _example(lease, local), folder),
        protocol=lease.protocol,
        batch=lease.scenario.batch,
    )


def _parity(tool: Tool, lease: Lease, local: Path) -> tuple[Parity | None, int]:
    """What came out for each parity sample against PyTorch's. Raises harness Failure."""
    if lease.batch > 1:
        raise HarnessFailure("no-batch", "batches are not compared", remedy="", fault="user")
    pairs = []
    for number, references in enumerate(_samples(local / _REFERENCES)):
        outputs = []
        for index, reference in enumerate(references):
            try:
                content = (local / f"parity-{number}-{index}.bin").read_bytes()
            except FileNotFoundError:
                said = _text(local / f"parity-{number}.txt").strip()[-_TAIL:] or "it said nothing"
                what = f"{tool.name} wrote no output {index} of sample {number}: {said}"
                raise HarnessFailure("wrong-output", what, remedy="", fault="recipe") from None
            if len(content) != reference.nbytes:
                what = f"output {index} has {len(content)} bytes, {tensors.describe(reference)} has {reference.nbytes}"
                raise HarnessFailure("wrong-output", what, remedy="", fault="recipe")
            outputs.append(np.frombuffer(content, reference.dtype).reshape(reference.shape))
        pairs.append((outputs, references))
    found, non_finite = parity.compare(pairs)
    return (None if found is None else Parity.model_validate(vars(found))), non_finite


def _report(tool: Tool, registered: NativeTool, binary: str, work: Work, printed: Printed) -> ToolReport:
    return ToolReport(
        tool=tool.name,
        sha256=registered.binary.sha256,
        accelerator=work.accelerator,
        command=tuple(tool.command(binary, work)),
        count=printed.count,
        mean_seconds=printed.mean_seconds,
        min_seconds=printed.min_seconds,
        max_seconds=printed.max_seconds,
        std_seconds=printed.std_seconds,
        quantiles_seconds=dict(printed.quantiles_seconds),
        delegation=printed.delegation,
        samples=bool(printed.samples_seconds),
        warmup_included=printed.warmup_included,
    )


def _samples(path: Path) -> list[tensors.Sample]:
    try:
        return tensors.load(path)
    except HarnessFailure as error:
        raise UserError(error.message, remedy=error.remedy) from error


async def _run(phone: Phone, command: str) -> None:
    said = await phone.shell(command)
    if said.exit_code != 0:
        raise DeviceError(
            f"`{command}` failed on {phone.serial}: {(said.stderr or said.stdout).strip()[-_TAIL:]}.",
            remedy="Is its storage full?",
        )


async def _lay_out(phone: Phone, lease: Lease, remote: Mapping[str, str], folder: str) -> None:
    """The artifact's files under their names, as links."""
    links = (
        f"ln -sf {shlex.quote(remote[file.sha256])} {shlex.quote(f'{folder}/{file.name}')}" for file in lease.files
    )
    await _run(phone, " && ".join((f"mkdir -p {shlex.quote(folder)}", *links)))


async def _push_inputs(phone: Phone, tool: Tool, inputs: Sequence[Tensor], sample: tensors.Sample, local: Path) -> None:
    """As plain bytes, or as onnxruntime_perf_test reads them."""
    for each, array in zip(inputs, sample, strict=True):
        await _run(phone, f"mkdir -p {shlex.quote(_parent(each.path))}")
        content = array.tobytes()
        if tool.name == PERF_TEST:
            content = tensor_proto(each.dtype, each.shape, content)
        file = local / "input.part"
        file.write_bytes(content)
        await phone.push(file, each.path)


def _script(
    tool: Tool, binary: str, work: Work, libraries: str, cpus: Sequence[int], comparing: Sequence[Sequence[str]]
) -> str:
    """For the phone's shell. The tool's process tells its number to the sampler and reads back itself which CPUs it may
    use, before it becomes the tool. What the tool says is the attempt's log, too."""
    inner = shlex.quote('echo $$ > pid; grep Cpus_allowed_list: /proc/self/status > cpus.txt; exec "$@"')
    pinned = f"taskset {sum(1 << cpu for cpu in cpus):x} " if cpus else ""
    parts = [f"cd {shlex.quote(work.folder)} || exit 1"]
    if libraries:
        parts.append(f"export LD_LIBRARY_PATH={shlex.quote(libraries)}")
    if probe := tool.probe(binary, work):
        parts.append(f"{shlex.join(probe)} > probe.txt 2>&1")
    parts += [
        f"{pinned}sh -c {inner} sh {shlex.join(tool.command(binary, work))} > tool.txt 2>&1",
        f'code=$?; echo "{_MARKER}$code" >> tool.txt; cat tool.txt',
        *(f"{shlex.join(command)} > parity-{number}.txt 2>&1" for number, command in enumerate(comparing)),
        "exit $code",
    ]
    return "; ".join(parts)


def _text(path: Path) -> str:
    """Empty where it was not written."""
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _marked(text: str, name: str) -> tuple[str, int]:
    """The output before the end marker, and the exit code in it."""
    output, found, code = text.rpartition(_MARKER)
    if not found or not code.endswith("\n") or not code.strip().isdigit():
        raise OutputCut(f"The output of {name} has no end.", remedy="The job is tried again; look at the phone's link.")
    return output, int(code)


def _failed(tool: Tool, exit_code: int, output: str) -> FarmError:
    said = output.strip()[-_TAIL:]
    if exit_code in (126, 127):
        return UserError(
            f"{tool.name} cannot be executed on the phone (exit code {exit_code}): {said}.",
            remedy="Is it built for the phone's ABI and Android version, and are its libraries registered with it?",
        )
    if exit_code > 128:
        return DeviceError(
            f"{tool.name} was killed by signal {exit_code - 128}: {said}.",
            remedy="The tool, the phone's driver for the accelerator or its memory is at fault: try it by hand.",
        )
    return RecipeError(
        f"{tool.name} failed with exit code {exit_code}: {said}.",
        remedy="The tool or its delegate cannot run this artifact: try another recipe, or another build of the tool.",
    )


def _cpus(text: str) -> tuple[int, ...]:
    """``Cpus_allowed_list:\t0-3,7``."""
    found: list[int] = []
    for part in text.partition(":")[2].strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise OutputCut(f"The CPUs read back are {text!r}.", remedy="The job is tried again.")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _absent(tool: Tool, lease: Lease) -> dict[str, str]:
    name = tool.name
    only = f"{name} does not measure it"
    absent = dict.fromkeys(("import_seconds", "memory_baseline_bytes", "memory_growth_bytes", "load_cost"), only)
    absent["parity"] = absent["outputs"] = f"{name} writes no outputs"
    if not tool.sets_threads:
        absent["threads"] = f"{name} cannot be told a number of threads: it is held to as many CPUs"
    if lease.evaluation_inputs:
        absent["evaluation"] = f"{name} does not run a labelled set"
    if lease.preprocessing or lease.postprocessing:
        absent["preprocess_seconds"] = absent["postprocess_seconds"] = f"{name} runs the model alone"
    if lease.protocol.profile:
        absent["profile"] = f"{name} is run without its profiler"
    if tool.outputs:
        del absent["outputs"]
    return absent
