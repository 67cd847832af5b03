"""A phone with an agent, a job whose every step takes long enough to be seen, and what may be left of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from agents.android.phone import ATTEMPTS, BLOBS, LAYERS
from agents.phone_runtime import archive
from agents.phone_runtime.archive import File
from agents.phone_runtime.bundle import BASE, Bundle, Layer
from farm.types import Lease
from tests.integration.agents.android.scene import PROTOCOL, Scene, scene

_WEIGHT_BYTES = 2**20  # of layer, model and log each, incompressible

# In place of the loader, as in scene.py, with a pause before the first record and a log worth pulling.
_LOADER = r"""#!/system/bin/sh
for job; do :; done
folder=${job%/*}
seq=0
say() {
  echo "{\"seq\": $seq, \"monotonic_seconds\": 1.0, $1}" >> "$folder/records.jsonl" || exit 74
  seq=$((seq + 1))
}
sleep 0.5
say '"kind": "start", "runtime": "onnxruntime", "threads": 1, "cpus": [0], "batch": 1, "pid": 1, "uptime_seconds": 1.0'
say '"kind": "phase", "name": "import", "seconds": 0.1'
say '"kind": "runtime_versions", "versions": {"shell": "1"}, "emulated": ""'
say '"kind": "phase", "name": "load", "seconds": 0.1'
say '"kind": "load_cost", "read_seconds": 0.1, "absent": {}'
say '"kind": "phase", "name": "first_inference", "seconds": 0.1'
say '"kind": "cpus_allowed", "cpus": [0]'
sleep 0.7
cat "${0%/*}/weight" || exit 74
say '"kind": "warmup", "samples_seconds": [0.1]'
say '"kind": "samples", "samples_seconds": [0.1, 0.1]'
say '"kind": "stop", "by": "samples", "warmup_steady": true'
say '"kind": "memory", "absent": "a shell"'
say '"kind": "memory_series", "absent": "a shell"'
say '"kind": "parity", "absent": "a shell"'
say '"kind": "outputs", "non_finite": 0'
say '"kind": "end", "uptime_seconds": 2.0'
"""


def _bundle(folder: Path) -> None:
    weight = random.Random(0).randbytes(_WEIGHT_BYTES)  # noqa: S311
    contents = {
        BASE: {
            "lib/ld-linux-x86-64.so.2": File.of_bytes(_LOADER.encode(), executable=True),
            "lib/weight": File.of_bytes(weight),
        },
        "onnxruntime": {"site/engine.py": File.of_bytes(b"# none\n")},
    }
    layers = []
    for name, files in contents.items():
        one = archive.pack(files, folder / "layers")
        engine = name != BASE
        layers.append(
            Layer(
                name=name,
                sha256=one.sha256,
                size_bytes=one.size_bytes,
                unpacked_bytes=one.unpacked_bytes,
                distributions={},
                runtimes=(name,) if engine else (),
                requires=(BASE,) if engine else (),
            )
        )
    bundle = Bundle.of(folder, "x86_64", "3.11.0", layers)
    (folder / "bundles").mkdir()
    (folder / "bundles" / f"{bundle.digest}.json").write_text(bundle.model_dump_json())


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Scene]:
    runtime_folder = folder / "runtime"
    runtime_folder.mkdir()
    _bundle(runtime_folder)
    async with scene(folder, runtime_folder) as it:
        await it.device()
        yield it


def lease(it: Scene, attempt_id: int, timeout_seconds: float) -> Lease:
    """Of a model of its own, so that there is one to push."""
    content = random.Random(attempt_id).randbytes(_WEIGHT_BYTES)  # noqa: S311
    model = it.blob("model.onnx", content)
    protocol = PROTOCOL.model_copy(update={"timeout_seconds": timeout_seconds, "idle_seconds": 0.0})
    return it.lease(attempt_id, files=(model,), protocol=protocol)


def _on_phone(it: Scene, folder: str, pattern: str) -> list[Path]:
    return list(it.phone.machine.resolve(folder).glob(pattern))


def _on_host(it: Scene, pattern: str) -> list[Path]:
    return list((it.settings.state_dir / "agents" / it.settings.agent_name / "attempts").glob(f"*/{pattern}"))


def _first_record(it: Scene) -> bool:
    return any(path.stat().st_size for path in _on_phone(it, ATTEMPTS, "*/records.jsonl"))


# When a job is in each of its steps, seen from outside.
STEPS: Mapping[str, Callable[[Scene], bool]] = {
    "before": lambda it: True,
    "layers": lambda it: bool(_on_phone(it, LAYERS, "*.parts")),
    "model": lambda it: bool(_on_phone(it, BLOBS, "*.parts")),
    "starting": lambda it: bool(_on_phone(it, ATTEMPTS, "*/lock")) and not _first_record(it),
    "measuring": _first_record,
    "fetching": lambda it: bool(_on_host(it, "*.part")),
    "cleaning": lambda it: bool(_on_host(it, "records.jsonl")) and not _on_host(it, "*.part"),
}


async def reached(it: Scene, step: str, timeout_seconds: float = 60) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not STEPS[step](it):
        assert time.monotonic() < deadline, f"the job was never seen in its step {step!r}"
        await asyncio.sleep(0.001)
