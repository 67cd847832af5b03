"""Native tools through the whole agent on a virtual phone: shell scripts that speak as the tools do."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.config import NativeTool, NativeToolFile
from farm.types import AgentEvent, Blob, Lease, Scenario
from tests.integration.agents.android.scene import PROTOCOL, Scene, adb_program, scene, until

pytestmark = pytest.mark.skipif(adb_program() is None, reason="needs an adb program")

# ExecuTorch's runner: copies its input to its output. Told -c it crashes, told -g it says what no runner says.
RUNNER = r"""#!/system/bin/sh
for word; do case $word in
  --num_executions=*) runs=${word#*=} ;;
  --inputs=*) input=${word#*=} ;;
  --output_file=*) output=${word#*=} ;;
  -c) sleep 0.3; kill -11 $$ ;;
  -g) echo "All done in 2 parsecs"; exit 0 ;;
  -h) sleep 300 & wait ;;
esac; done
log="I 00:00:00.000001 executorch:executor_runner.cpp:500]"
[ "$output" ] || sleep 1.5
run=1
while [ $run -le $runs ]; do echo "$log Iteration $run of $runs: 2.000000 ms"; run=$((run + 1)); done
echo "$log Model executed successfully $runs time(s) in $((2 * runs)).000000 ms."
[ -z "$output" ] || cat "$input" > "$output-0.bin"
"""
NATIVE = Scenario(tool="executor_runner")


def runner(folder: Path, *delegate: str) -> NativeTool:
    path = folder / "executor_runner"
    path.write_text(RUNNER)
    file = NativeToolFile(source=str(path), sha256=hashlib.sha256(RUNNER.encode()).hexdigest())
    accelerators: dict[str, tuple[str, ...]] = {"cpu": delegate, "gpu": delegate}
    return NativeTool.model_validate(
        {"name": "executor_runner", "abi": "x86_64", "binary": file, "accelerators": accelerators}
    )


def lease(it: Scene, **changes: object) -> Lease:
    def arrays(name: str, count: int) -> Blob:
        path = it.folder / name
        with path.open("wb") as file:
            made: dict[str, Any] = {f"{number}.0": np.full((1, 4), number + 1, np.float32) for number in range(count)}
            np.savez(file, **made)
        return it.store.put_file(path)

    many = arrays("parity.npz", 3)
    fields: dict[str, object] = {
        "runtime": "executorch",
        "options": {},
        "files": (it.blob("net.pte", b"a program"),),
        "example_inputs": arrays("example.npz", 1),
        "parity_inputs": many,
        "reference_outputs": many,
        "scenario": NATIVE,
    }
    return it.lease(**fields | changes)  # type: ignore[arg-type]


def no_runtime(folder: Path) -> Path:
    (folder / "none").mkdir()
    return folder / "none"


async def clean(it: Scene) -> None:
    for _ in range(100):
        if await it.left_behind() == ([], []):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(await it.left_behind())


async def played(folder: Path, *delegate: str, **changes: object) -> AgentEvent:
    async with scene(folder, agent_tools=(runner(folder, *delegate),)) as it:
        await it.device()
        it.agent.start(lease(it, **changes))
        event = await it.end()
        await clean(it)
        return event


def test_a_phone_without_a_runtime_measures_with_its_tool(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path, no_runtime(tmp_path), agent_tools=(runner(tmp_path),)) as it:
            device = await it.device()
            assert device.facts.runtimes == ()
            assert device.facts.accelerators == ("cpu", "gpu")
            assert [offer.name for offer in device.facts.tools] == ["executor_runner"]
            assert "arithmetic in its shell" in (await it.agent.check(device.id, "check")).detail
            it.agent.start(lease(it))
            event = await it.end()
            measured = event.measurement
            assert measured is not None, event.failure
            assert measured.latency_samples_seconds == pytest.approx([0.002] * PROTOCOL.min_samples)
            assert measured.tool_report is not None and measured.tool_report.tool == "executor_runner"
            assert measured.parity is not None and measured.parity.max_abs_error == 0
            assert len(measured.cpus_allowed) == 1, "pinned, and read back"
            telemetry = measured.telemetry
            assert telemetry.temperature_start_celsius is not None, "the sampler ran beside it"
            assert telemetry.background_cpu_ratio is not None
            assert "native tool" in measured.absent["energy"]
            await clean(it)
            it.agent.start(it.lease(2))
            failure = (await it.end()).failure
            assert failure is not None and "farm phone-runtime build --abi x86_64" in failure.remedy

    asyncio.run(play())


def test_a_phone_for_which_nothing_is_here_says_what_to_do(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path, no_runtime(tmp_path)) as it:
            await until(lambda: it.devices and it.devices[0].blocked)
            assert "farm phone-runtime build --abi x86_64" in it.devices[0].blocked

    asyncio.run(play())


def test_what_is_not_understood_is_the_users_and_shown(tmp_path: Path) -> None:
    failure = asyncio.run(played(tmp_path, "-g")).failure
    assert failure is not None
    assert failure.fault == "user" and "not understood" in failure.message
    assert "All done in 2 parsecs" in failure.log_tail


def test_a_tool_that_crashes_is_the_devices(tmp_path: Path) -> None:
    failure = asyncio.run(played(tmp_path, "-c")).failure
    assert failure is not None
    assert failure.fault == "device" and "signal 11" in failure.message


def test_a_tool_that_does_not_end_is_ended(tmp_path: Path) -> None:
    short = PROTOCOL.model_copy(update={"timeout_seconds": 4.0})
    failure = asyncio.run(played(tmp_path, "-h", protocol=short)).failure
    assert failure is not None
    assert failure.fault == "device" and "native tool was killed after 4 s" in failure.message


def test_one_that_nobody_registered_is_the_users(tmp_path: Path) -> None:
    failure = asyncio.run(played(tmp_path, scenario=Scenario(accelerator="npu"))).failure
    assert failure is not None
    assert failure.fault == "user" and "farm tools add" in failure.remedy


def test_an_agent_that_is_started_again_collects_it(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path, agent_tools=(runner(tmp_path),)) as it:
            await it.device()
            it.agent.start(lease(it))
            assert (await it.event()).kind == "started"
            await it.restart_agent()
            assert it.agent.reconcile({1: 60.0}) == [1]
            event = await it.event()
            assert event.measurement is not None, event.failure
            assert event.measurement.parity is not None
            await clean(it)

    asyncio.run(play())
