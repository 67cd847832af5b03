"""One attempt on one phone: what is brought there, how it is started, awaited and fetched."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.android import files as plans
from agents.android import handset as handsets
from agents.android import scripts, state
from agents.android.files import Delivery
from agents.android.handset import Handset
from agents.android.metering import Sampling
from agents.android.phone import ATTEMPTS, BLOBS, LAYERS
from agents.drivers import jobfile, native_tools
from agents.drivers.native_tools import NativeTools
from agents.phone_runtime.bundle import HARNESS, Bundle, Layer, archive_path
from farm.errors import DeviceError
from farm.types import Lease

log = logging.getLogger(__name__)

_PREPARE_SECONDS = 60.0
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Runtime:
    """What the harness runs in: a bundle of this machine's. ``folder``: of bundles."""

    bundle: Bundle
    harness: Layer
    folder: Path

    def layers(self, runtime: str) -> dict[str, Layer]:
        """By name. Raises RecipeError."""
        return {HARNESS: self.harness} | {layer.name: layer for layer in self.bundle.layers_for(runtime)}


@dataclass(frozen=True)
class Provision:
    """What a phone of an ABI is given: the harness in its runtime, or, where there is none, a tool; limits and knobs of
    its agent's."""

    abi: str
    runtime: Runtime | None
    tools: NativeTools
    cache_bytes: int
    knobs: Sequence[str]


async def launch(
    handset: Handset,
    attempt: str,
    lease: Lease,
    files: Mapping[str, Path],
    work: Path,
    provision: Provision,
    cpus: Sequence[int],
    sampling: Sampling,
) -> None:
    """Under the phone's lock; ``work``: the attempt's folder on this machine. Two commands where all is there already;
    what was pushed before a cut is not pushed again.

    Raises LinkLost, DeviceTimeout, OutputCut, DeviceError, InfrastructureError, RecipeError, UserError.
    """
    phone = handset.here()
    if not (handset.attempts - {attempt}) and (pending := handset.state.pending()):
        # Left by an attempt whose phone was pulled: put back first, so that what is read below is the owner's.
        await phone.shell(
            scripts.finish(handset.attempts, state.restoring(pending), ":"), timeout_seconds=_START_SECONDS
        )
        handset.state.clear()
    reads = state.reads(provision.knobs)
    text = await phone.run(
        scripts.prepare(handset.attempts, reads),
        what="Preparing",
        timeout_seconds=_PREPARE_SECONDS,
    )
    ready = scripts.prepared(text, reads)
    if ready.gone:
        log.warning("%s still had of ours: %s; it is gone now", handset.id, ", ".join(ready.gone))
    if provision.runtime:
        await _install(handset, provision.runtime, lease.runtime, ready)
    await _bring(handset, files, ready, provision.cache_bytes)
    folder = f"{ATTEMPTS}/{attempt}"
    remote = {sha256: f"{BLOBS}/{sha256}" for sha256 in files}
    job = json.dumps(jobfile.document(lease, lambda sha256: remote[sha256], cpus, folder))
    (work / "job.json").write_text(job)
    if runtime := provision.runtime:
        places = {name: f"{LAYERS}/{layer.sha256}" for name, layer in runtime.layers(lease.runtime).items()}
        arguments = ["-m", "agents.harness", f"{folder}/job.json"]
        command = scripts.harness(
            attempt, *runtime.bundle.command(places, lease.runtime, arguments, work_folder=folder)
        )
    else:
        tool = await provision.tools.prepare(phone, lease, provision.abi, files, remote, folder, work, cpus)
        command = shlex.join(["sh", "-c", tool.command])
    changes = state.changes(ready.state)
    handset.state.note(changes)
    script = scripts.start(
        attempt,
        job,
        command,
        used=files,
        state=state.setting(changes),
        sampler=sampling.script,
        idle_seconds=sampling.idle_seconds,
    )
    await phone.run(script, what="Starting it", timeout_seconds=_START_SECONDS)


async def _install(handset: Handset, runtime: Runtime, name: str, ready: scripts.Prepared) -> None:
    """Layers that are not there; those that no bundle here is made of any more make room for them."""
    missing = [layer for layer in runtime.layers(name).values() if layer.sha256 not in ready.layers]
    if not missing:
        return
    phone = handset.here()
    size_bytes = sum(layer.size_bytes for layer in missing)
    needed_bytes = sum(layer.size_bytes + 2 * layer.unpacked_bytes for layer in missing)
    wanted = {layer.sha256 for layer in (*runtime.bundle.layers, runtime.harness)}
    if old := handsets.stale(ready.layers, wanted):
        await phone.run(scripts.remove([f"{LAYERS}/{name}" for name in old]), what="Removing old layers")
        log.info("%s: removed %d layers of other bundles", handset.id, len(old))
    elif ready.free_bytes is not None and ready.free_bytes < needed_bytes:
        raise DeviceError(
            f"{handset.id} has {ready.free_bytes / 2**20:,.0f} MiB free, and the phone runtime takes"
            f" {needed_bytes / 2**20:,.0f} MiB while it is unpacked.",
            remedy="Free storage on the phone.",
        )
    log.info("%s is given %s: %.1f MB", handset.id, ", ".join(layer.name for layer in missing), size_bytes / 1e6)
    deliveries = [
        Delivery(
            archive_path(runtime.folder, layer.sha256),
            layer.sha256,
            layer.size_bytes,
            f"{LAYERS}/{layer.sha256}.tar.gz",
        )
        for layer in missing
    ]
    await phone.push_all(deliveries)
    unpacked_bytes = sum(layer.unpacked_bytes for layer in missing)
    steps = [scripts.unpack(f"{LAYERS}/{layer.sha256}.tar.gz", f"{LAYERS}/{layer.sha256}") for layer in missing]
    await phone.run(" && ".join(steps), what="Unpacking", timeout_seconds=plans.seconds_for(unpacked_bytes))
    log.info("%s has %s unpacked", handset.id, ", ".join(layer.name for layer in missing))


async def _bring(handset: Handset, files: Mapping[str, Path], ready: scripts.Prepared, limit_bytes: int) -> None:
    phone = handset.here()
    there = {kept.name: kept.size_bytes for kept in ready.blobs}
    sizes = {sha256: path.stat().st_size for sha256, path in files.items()}
    missing = [sha256 for sha256 in files if there.get(sha256) != sizes[sha256]]
    incoming_bytes = sum(sizes[sha256] for sha256 in missing)
    others = [kept for kept in ready.blobs if kept.name not in missing]
    if gone := plans.evicted(others, limit_bytes, incoming_bytes, keep=files):
        await phone.run(scripts.remove([f"{BLOBS}/{name}" for name in gone]), what="Making room")
        log.info("%s: %d files were removed to make room", handset.id, len(gone))
    if missing:
        await phone.push_all([Delivery(files[one], one, sizes[one], f"{BLOBS}/{one}") for one in missing])


async def fetch(handset: Handset, attempt: str, lease: Lease, folder: Path, timeout_seconds: float) -> str:
    """Wait for its end and bring what it wrote: "gone", "unknown" or the exit code. Raises LinkLost, DeviceTimeout,
    OutputCut, DeviceError."""
    phone = handset.here()
    results = native_tools.RESULTS if lease.scenario.native else scripts.HARNESS_RESULTS
    output = await phone.run(
        scripts.wait(attempt, results), what="Waiting for its end", timeout_seconds=timeout_seconds
    )
    end, hashes = scripts.waited(output, results)
    wanted = {f"{ATTEMPTS}/{attempt}/{name}": (folder / name, digest) for name, digest in hashes.items()}
    if wanted:
        await phone.pull_all(wanted)
    return end


async def glimpse(handset: Handset, attempt: str, folder: Path) -> bool:
    """What it has written so far, for messages: it may still be writing. Whether it has ended. Raises as ``fetch``."""
    there = shlex.quote(f"{ATTEMPTS}/{attempt}")
    command = f"cat {there}/records.jsonl; [ -e {there}/done ]"
    output = await handset.here().shell(command, timeout_seconds=_START_SECONDS)
    (folder / "records.jsonl").write_text(output.stdout)
    return output.exit_code == 0
