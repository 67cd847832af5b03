"""Runs a native tool on a phone: what the Android driver uses for scenarios on an accelerator or of a tool.

``prepare`` pushes all that is needed and gives the command that the driver runs detached, as it does the harness;
``read`` takes what it wrote. In the attempt's folder on the phone then lie: ``tool.txt`` (what it printed, with an end
marker), ``probe.txt`` (of the run that tells what took the graph), ``cpus.txt``, and the tool's own files.
"""

from __future__ import annotations

import shlex
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
from agents.native_tools.executorch import OUTPUT, ExecutorRunner
from agents.native_tools.registry import Registry, file_name
from agents.native_tools.testdata import tensor_proto
from farm.config import NativeTool
from farm.errors import DeviceError, FarmError, OutputCut, RecipeError, UserError
from farm.types import Lease, Measurement, Parity, Telemetry, ToolReport, digest_of

_MAX_OUTPUT_BYTES = 8 * 2**20
_MAX_TENSOR_BYTES = 256 * 2**20
_PARITY_SECONDS = 60.0  # for one inference, with loading
_MARKER = "torchfarm: the tool ended with exit code "
_TAIL = 600


@dataclass(frozen=True)
class Prepared:
    """``command``: to be run detached; its exit code is the tool's. ``absent``: what the tool cannot do."""

    command: str
    tool: Tool
    registered: NativeTool
    binary: str
    work: Work
    absent: dict[str, str]


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
        if lease.custom_operators:
            raise UserError(
                f"{tool.name} does not have the model's custom operators.",
                remedy="Measure it with the farm's own harness.",
            )
        binary, libraries = await self._push_tool(phone, registered)
        model = await _lay_out(phone, lease, tool, remote, f"{folder}/model")
        sample = _samples(files[lease.example_inputs.sha256])[0]
        if lease.scenario.batch > 1:
            sample = tensors.stacked([sample], lease.scenario.batch)[0]
        work = Work(
            model=model,
            folder=folder,
            threads=lease.scenario.threads,
            accelerator=lease.scenario.accelerator,
            delegate=_delegate(tool, registered, lease),
            inputs=await _push_inputs(phone, tool, sample, folder, local),
            protocol=lease.protocol,
            batch=lease.scenario.batch,
        )
        if why := tool.refuses(work):
            raise UserError(f"{tool.name} cannot measure this: {why}.", remedy="Use the farm's own harness for it.")
        return Prepared(
            _script(tool, binary, work, libraries, cpus), tool, registered, binary, work, _absent(tool, lease)
        )

    async def read(
        self,
        phone: Phone,
        lease: Lease,
        prepared: Prepared,
        files: Mapping[str, Path],
        local: Path,
        *,
        started_at: datetime,
        telemetry: Telemetry,
    ) -> Measurement:
        """Once the command has ended. Raises OutputCut, RecipeError or DeviceError (the tool failed), UserError (what
        it printed is not understood)."""
        tool, work, folder = prepared.tool, prepared.work, prepared.work.folder
        output, exit_code = _marked(await _text(phone, f"{folder}/tool.txt"), tool.name)
        if exit_code != 0:
            raise _failed(tool, exit_code, output)
        results = await _text(phone, f"{folder}/{tool.results}") if tool.results else ""
        probed = await _text(phone, f"{folder}/probe.txt") if tool.probe(prepared.binary, work) else ""
        try:
            printed = tool.read(output, results, probed, work)
        except NotUnderstood as error:
            raise UserError(
                f"The output of {tool.name} is not understood: {error}.",
                remedy="Register a version that docs/native-tools.md names; nothing is taken from this run.",
            ) from error
        absent = dict(prepared.absent)
        found, non_finite = None, None
        if isinstance(tool, ExecutorRunner):
            try:
                found, non_finite = await self._parity(phone, tool, lease, prepared, files, local)
                absent.pop("parity", None)
            except HarnessFailure as error:
                absent["parity"] = f"its outputs could not be compared: {error.message}"
        cpus = _cpus(await _text(phone, f"{folder}/cpus.txt"))
        return _measurement(
            lease, prepared, printed, found, non_finite, cpus, telemetry=telemetry, started_at=started_at, absent=absent
        )

    async def _push_tool(self, phone: Phone, registered: NativeTool) -> tuple[str, str]:
        """The binary's path there, and the folder of its libraries (empty without any)."""
        key = registered.binary.sha256 if not registered.libraries else digest_of(registered)
        folder = f"{TOOLS_FOLDER}/{key}"
        await _run(phone, f"mkdir -p {shlex.quote(folder)}")
        for file in (*registered.libraries, registered.binary):
            target = f"{folder}/{registered.name if file is registered.binary else file_name(file)}"
            there = await phone.shell(f"sha256sum {shlex.quote(target)}", timeout_seconds=30)
            if there.exit_code != 0 or there.stdout.split()[:1] != [file.sha256]:
                await phone.push(self._registry.fetch(file), target, executable=True)
        return f"{folder}/{registered.name}", folder if registered.libraries else ""

    async def _parity(
        self,
        phone: Phone,
        tool: ExecutorRunner,
        lease: Lease,
        prepared: Prepared,
        files: Mapping[str, Path],
        local: Path,
    ) -> tuple[Parity | None, int]:
        """Each parity sample once, and what came out against PyTorch's."""
        if lease.batch > 1:
            raise HarnessFailure("no-batch", "batches are not compared", remedy="", fault="user")
        folder = prepared.work.folder
        references = _samples(files[lease.reference_outputs.sha256])
        pairs = []
        for number, sample in enumerate(_samples(files[lease.parity_inputs.sha256])):
            inputs = await _push_inputs(phone, tool, sample, f"{folder}/parity-{number}", local)
            base = f"{folder}/parity-{number}/{OUTPUT}"
            command = shlex.join(tool.once(prepared.binary, prepared.work, inputs, 1, base))
            said = await phone.shell(_with_libraries(prepared, command), timeout_seconds=_PARITY_SECONDS)
            if said.exit_code != 0:
                raise _failed(tool, said.exit_code, said.stdout + said.stderr)
            outputs = []
            for index, reference in enumerate(references[number]):
                content = await phone.read(f"{base}-{index}.bin", max_bytes=_MAX_TENSOR_BYTES)
                if len(content) != reference.nbytes:
                    what = (
                        f"output {index} has {len(content)} bytes, {tensors.describe(reference)} has {reference.nbytes}"
                    )
                    raise HarnessFailure("wrong-output", what, remedy="", fault="recipe")
                outputs.append(np.frombuffer(content, reference.dtype).reshape(reference.shape))
            pairs.append((outputs, references[number]))
        found, non_finite = parity.compare(pairs)
        return (None if found is None else Parity.model_validate(vars(found))), non_finite


def _samples(path: Path) -> list[tensors.Sample]:
    try:
        return tensors.load(path)
    except HarnessFailure as error:
        raise UserError(error.message, remedy=error.remedy) from error


def _delegate(tool: Tool, registered: NativeTool, lease: Lease) -> tuple[str, ...]:
    return registered.accelerators[lease.scenario.accelerator] or tool.delegate(lease.scenario.accelerator) or ()


async def _run(phone: Phone, command: str) -> None:
    said = await phone.shell(command)
    if said.exit_code != 0:
        raise DeviceError(
            f"`{command}` failed on {phone.serial}: {(said.stderr or said.stdout).strip()[-_TAIL:]}.",
            remedy="Is its storage full?",
        )


async def _lay_out(phone: Phone, lease: Lease, tool: Tool, remote: Mapping[str, str], folder: str) -> str:
    """The artifact's files under their names, as links; the path of the program among them."""
    programs = [file.name for file in lease.files if file.name.endswith(tool.suffixes)]
    if len(programs) != 1:
        raise RecipeError(
            f"{tool.name} runs one file {' or '.join(tool.suffixes)}; the artifact holds {len(programs)} of them.",
            remedy="Measure this recipe with the farm's own harness.",
        )
    links = (
        f"ln -sf {shlex.quote(remote[file.sha256])} {shlex.quote(f'{folder}/{file.name}')}" for file in lease.files
    )
    await _run(phone, " && ".join((f"mkdir -p {shlex.quote(folder)}", *links)))
    return f"{folder}/{programs[0]}"


async def _push_inputs(
    phone: Phone, tool: Tool, sample: tensors.Sample, folder: str, local: Path
) -> tuple[Tensor, ...]:
    """As plain bytes; for onnxruntime_perf_test also where it looks for them, beside the model."""
    pushed = []
    data = f"{folder}/model/test_data_set_0"
    await _run(phone, f"mkdir -p {shlex.quote(data if tool.name == 'onnxruntime_perf_test' else folder)}")
    for index, array in enumerate(sample):
        file = local / f"input-{index}.bin"
        target = f"{folder}/input-{index}.bin"
        content = array.tobytes()
        if tool.name == "onnxruntime_perf_test":
            target, content = f"{data}/input_{index}.pb", tensor_proto(str(array.dtype), array.shape, content)
        file.write_bytes(content)
        await phone.push(file, target)
        pushed.append(Tensor(target, str(array.dtype), array.shape))
    return tuple(pushed)


def _script(tool: Tool, binary: str, work: Work, libraries: str, cpus: Sequence[int]) -> str:
    """For the phone's shell. The tool's process reads back itself which CPUs it may use, before it becomes the tool."""
    folder = shlex.quote(work.folder)
    readback = f"grep Cpus_allowed_list: /proc/self/status > {folder}/cpus.txt"
    pinned = f"taskset {sum(1 << cpu for cpu in cpus):x} " if cpus else ""
    inner = shlex.quote(f'{readback}; exec "$@"')
    probe = tool.probe(binary, work)
    parts = [f"cd {folder} || exit 1"]
    if libraries:
        parts.append(f"export LD_LIBRARY_PATH={shlex.quote(libraries)}")
    if probe:
        parts.append(f"{shlex.join(probe)} > probe.txt 2>&1")
    parts += [
        f"{pinned}sh -c {inner} sh {shlex.join(tool.command(binary, work))} > tool.txt 2>&1",
        f'code=$?; echo "{_MARKER}$code" >> tool.txt; exit $code',
    ]
    return "; ".join(parts)


def _with_libraries(prepared: Prepared, command: str) -> str:
    if not prepared.registered.libraries:
        return command
    return f"LD_LIBRARY_PATH={shlex.quote(str(Path(prepared.binary).parent))} {command}"


async def _text(phone: Phone, path: str) -> str:
    return (await phone.read(path, max_bytes=_MAX_OUTPUT_BYTES)).decode(errors="replace")


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


def _measurement(
    lease: Lease,
    prepared: Prepared,
    printed: Printed,
    found: Parity | None,
    non_finite: int | None,
    cpus: tuple[int, ...],
    *,
    telemetry: Telemetry,
    started_at: datetime,
    absent: dict[str, str],
) -> Measurement:
    tool, work = prepared.tool, prepared.work
    told: dict[str, Any] = {
        "load_seconds": printed.load_seconds,
        "first_inference_seconds": printed.first_inference_seconds,
        "memory_peak_bytes": printed.memory_peak_bytes,
    }
    absent |= {key: f"{tool.name} does not print it" for key, value in told.items() if value is None}
    report = ToolReport(
        tool=tool.name,
        sha256=prepared.registered.binary.sha256,
        accelerator=work.accelerator,
        command=tuple(tool.command(prepared.binary, work)),
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
        cpus_allowed=cpus,
        runtime_versions={tool.name: f"sha256:{report.sha256[:12]}"},
        telemetry=telemetry,
        started_at=started_at,
        absent=absent,
        batch=lease.batch,
        tool_report=report,
    )
