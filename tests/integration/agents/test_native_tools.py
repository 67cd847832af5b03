"""Native tools on a phone: a folder of this machine with the host's shell, and stand-ins that speak as the tools do."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agents.android.phone import ROOT, Output
from agents.drivers.native_tools import RESULTS, NativeTools, Prepared
from agents.native_tools.registry import Registry
from farm.config import NativeTool, NativeToolFile
from farm.errors import ConfigError, DeviceError, FarmError, NotFoundError, OutputCut, RecipeError, UserError
from farm.types import Blob, Lease, Measurement, Protocol, Scenario, Telemetry

ABI = "x86_64"
FOLDER = f"{ROOT}/attempts/7"
PROTOCOL = Protocol(min_samples=10, min_warmup_runs=3, max_samples=100)

EXECUTOR_RUNNER = """
import sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
runs = int(flags["num_executions"])
data = [open(path, "rb").read() for path in flags["inputs"].split(",")]
assert open(flags["model_path"], "rb").read() == b"program"
for run in range(1, runs + 1):
    print(f"I 00:00:00.000001 executorch:executor_runner.cpp:500] Iteration {run} of {runs}: 2.000000 ms")
print(f"I 00:00:00.000002 executorch:executor_runner.cpp:520] Model executed successfully {runs} time(s) in "
      f"{2.0 * runs:f} ms.")
if "output_file" in flags:
    open(flags["output_file"] + "-0.bin", "wb").write(data[0])
"""

# The real runtime, on the very inputs that the farm laid out, in the tool's words.
PERF_TEST = """
import os, sys, time
import numpy as np, onnx, onnx.numpy_helper, onnxruntime
runs = int(sys.argv[sys.argv.index("-r") + 1])
model = next(word for word in sys.argv if word.endswith(".onnx"))
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[sys.argv.index("-x") + 1])
options.log_severity_level = 0 if "-v" in sys.argv else 3
begun = time.perf_counter()
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
print(f"Session creation time cost: {time.perf_counter() - begun:.6g} s")
tensor = onnx.load_tensor(os.path.join(os.path.dirname(model), "test_data_set_0", "input_0.pb"))
feed = {session.get_inputs()[0].name: onnx.numpy_helper.to_array(tensor)}
begun = time.perf_counter()
session.run(None, feed)
print(f"First inference time cost: {int((time.perf_counter() - begun) * 1000)} ms")
taken = []
for _ in range(runs):
    begun = time.perf_counter()
    session.run(None, feed)
    taken.append(time.perf_counter() - begun)
print(f"Total inference time cost: {sum(taken):.6g} s")
print(f"Total inference requests: {runs}")
print(f"Average inference time cost total: {sum(taken) / runs * 1000:f} ms")
print("Peak working set size: 35299328 bytes")
if "-v" not in sys.argv:
    with open(sys.argv[-1], "a") as file:
        for index, seconds in enumerate(taken):
            file.write(f"model,{seconds:.6g},35299328,98,{index}\\n")
        file.write("\\nMin Latency: 0.1 s\\n")
"""


class FolderPhone:
    """A folder of this machine in the phone's place."""

    serial = "folder"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.pushed: list[str] = []

    def _here(self, text: str) -> str:
        return text.replace(ROOT, str(self._root))

    async def shell(self, command: str, *, timeout_seconds: float = 10.0) -> Output:
        process = await asyncio.create_subprocess_shell(
            self._here(command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), timeout_seconds)
        return Output(out.decode(), err.decode(), process.returncode or 0, 0.0)

    async def push(self, local: Path, remote: str, *, executable: bool = False) -> None:
        _copy(local, Path(self._here(remote)), 0o755 if executable else 0o644)
        self.pushed.append(remote)

    async def pull(self, remote: str, local: Path) -> None:
        shutil.copyfile(self._here(remote), local)

    async def read(self, remote: str, *, max_bytes: int) -> bytes:
        return _content(Path(self._here(remote)), max_bytes)


def _copy(source: Path, target: Path, mode: int) -> None:
    assert target.parent.is_dir(), f"{target.parent} was not made"
    shutil.copyfile(source, target)
    target.chmod(mode)


def _content(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():
        raise DeviceError(f"{path} is missing.", remedy="")
    assert path.stat().st_size <= max_bytes
    return path.read_bytes()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local = folder / "local"
        self.local.mkdir()
        self.phone = FolderPhone(folder / "phone")
        (folder / "phone" / "attempts" / "7").mkdir(parents=True)
        (folder / "phone" / "blobs").mkdir()
        self.registry = Registry(folder / "state")
        self.tools = NativeTools(self.registry)
        self.files: dict[str, Path] = {}
        self.remote: dict[str, str] = {}

    def script(self, text: str, name: str) -> NativeToolFile:
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return NativeToolFile(source=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    def register(self, name: str, text: str, **accelerators: tuple[str, ...]) -> NativeTool:
        tool = NativeTool(name=name, abi=ABI, binary=self.script(text, name), accelerators=accelerators or {"cpu": ()})
        self.registry.add(tool)
        return tool

    def blob(self, name: str, content: bytes | list[np.ndarray]) -> Blob:
        path = self.local / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            with path.open("wb") as file:
                np.savez(file, **{f"{number}.0": array for number, array in enumerate(content)})
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.files[sha256] = path
        self.remote[sha256] = f"{ROOT}/blobs/{sha256}"
        shutil.copyfile(path, self.folder / "phone" / "blobs" / sha256)
        return Blob(name=name, sha256=sha256, size_bytes=path.stat().st_size)

    def lease(self, runtime: str, program: Blob, scenario: Scenario, factor: float = 1.0) -> Lease:
        arrays = [np.full((1, 4), number + 1, np.float32) for number in range(3)]
        return Lease(
            attempt_id=7,
            job_id=3,
            epoch=1,
            device_id="phone",
            runtime=runtime,
            files=(program,),
            example_inputs=self.blob("example.npz", arrays[:1]),
            parity_inputs=self.blob("parity.npz", arrays),
            reference_outputs=self.blob("reference.npz", [array * factor for array in arrays]),
            scenario=scenario,
            protocol=PROTOCOL,
            ttl_seconds=30,
        )

    async def prepare(self, lease: Lease) -> Prepared:
        return await self.tools.prepare(self.phone, lease, ABI, self.files, self.remote, FOLDER, self.local, cpus=(0,))

    def read(self, lease: Lease) -> Measurement:
        """As a later process would, from what was brought here."""
        for pattern in RESULTS:
            for path in (self.folder / "phone" / "attempts" / "7").glob(pattern):
                shutil.copyfile(path, self.local / path.name)
        return NativeTools(Registry(self.folder / "state")).read(
            lease, ABI, FOLDER, self.local, started_at=datetime.now(UTC), telemetry=Telemetry()
        )

    async def measure(self, lease: Lease) -> Measurement:
        prepared = await self.prepare(lease)
        await self.phone.shell(prepared.command, timeout_seconds=60)
        return self.read(lease)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def _executorch(bench: Bench, text: str = EXECUTOR_RUNNER, factor: float = 1.0) -> Measurement:
    bench.register("executor_runner", text)
    return await bench.measure(
        bench.lease("executorch", bench.blob("net.pte", b"program"), Scenario(tool="executor_runner"), factor)
    )


def test_executor_runner_gives_samples_and_its_outputs_are_compared(bench: Bench) -> None:
    measured = asyncio.run(_executorch(bench))
    assert measured.latency_samples_seconds == pytest.approx([0.002] * 10)
    assert len(measured.warmup_samples_seconds) == 3
    assert measured.parity is not None
    assert (measured.parity.samples, measured.parity.max_abs_error, measured.non_finite_outputs) == (3, 0.0, 0)
    assert measured.cpus_allowed == (0,)  # pinned, and read back by the process itself
    assert measured.tool_report is not None
    assert measured.tool_report.samples
    assert measured.import_seconds is None
    assert "import_seconds" in measured.absent
    assert "parity" not in measured.absent


def test_wrong_outputs_show_as_their_distance(bench: Bench) -> None:
    measured = asyncio.run(_executorch(bench, factor=2.0))
    assert measured.parity is not None
    assert measured.parity.max_abs_error == pytest.approx(3.0)


def test_perf_test_runs_the_real_runtime_on_the_lease_s_inputs(bench: Bench) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    shapes = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "net", shapes[:1], shapes[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    bench.register("onnxruntime_perf_test", PERF_TEST, cpu=(), npu=("-e", "nnapi"))

    async def both() -> list[Measurement]:
        program = bench.blob("model.onnx", model.SerializeToString())
        lease = bench.lease("onnxruntime", program, Scenario(accelerator="npu", batch=2))
        prepared = await bench.prepare(lease.model_copy(update={"batch": 2}))
        assert prepared.work.inputs[0].shape == (2, 4)
        await bench.phone.shell(prepared.command, timeout_seconds=60)
        return [bench.read(lease)]

    (measured,) = asyncio.run(both())
    assert len(measured.latency_samples_seconds) == 10
    assert measured.absent["parity"] == "onnxruntime_perf_test writes no outputs"
    assert measured.tool_report is not None
    # It was asked for the NPU, and the runtime put all nodes onto the CPU: its own log says so.
    assert measured.tool_report.delegation is not None
    assert measured.tool_report.delegation.taken == "refused"
    assert "CPUExecutionProvider" in measured.tool_report.delegation.said


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("print('hello')\n", UserError, "is not understood"),
        ("raise SystemExit(3)\n", RecipeError, "exit code 3"),
        ("import os; os.kill(os.getpid(), 11)\n", DeviceError, "signal 11"),
        ("raise SystemExit(127)\n", UserError, "cannot be executed"),
        (EXECUTOR_RUNNER.replace(" ms", " us"), UserError, "is not understood"),
    ],
)
def test_a_tool_that_fails_or_says_something_else_gives_no_figure(
    bench: Bench, text: str, kind: type[FarmError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        asyncio.run(_executorch(bench, text))
    assert type(caught.value) is kind
    assert caught.value.remedy


def test_output_without_its_end_is_cut(bench: Bench) -> None:
    async def cut() -> None:
        bench.register("executor_runner", EXECUTOR_RUNNER)
        lease = bench.lease("executorch", bench.blob("net.pte", b"program"), Scenario(tool="executor_runner"))
        prepared = await bench.prepare(lease)
        await bench.phone.shell(prepared.command)
        path = bench.folder / "phone" / "attempts" / "7" / "tool.txt"
        path.write_text(path.read_text()[:-5])
        bench.read(lease)

    with pytest.raises(OutputCut):
        asyncio.run(cut())


def test_a_tool_is_pushed_once(bench: Bench) -> None:
    asyncio.run(_executorch(bench))
    first = [path for path in bench.phone.pushed if "/tools/" in path]
    asyncio.run(_executorch(bench))
    assert [path for path in bench.phone.pushed if "/tools/" in path] == first
    assert len(first) == 1


def test_what_no_tool_can_do_is_refused(bench: Bench) -> None:
    bench.register("benchmark_model", "", cpu=(), gpu=())
    program = bench.blob("net.tflite", b"program")
    with pytest.raises(UserError, match="No native tool is registered"):
        asyncio.run(bench.prepare(bench.lease("litert", program, Scenario(accelerator="npu"))))
    with pytest.raises(UserError, match="dynamic batch"):
        asyncio.run(bench.prepare(bench.lease("litert", program, Scenario(accelerator="gpu", batch=4))))
    prepared = asyncio.run(bench.prepare(bench.lease("litert", program, Scenario(accelerator="gpu"))))
    assert "--use_gpu=true" in prepared.command
    assert {offer.name: offer.accelerators for offer in bench.registry.offers(ABI)} == {
        "benchmark_model": ("cpu", "gpu")
    }


def test_a_file_must_be_the_one_that_was_registered(bench: Bench) -> None:
    file = bench.script("print()", "tool")
    wrong = NativeTool(name="executor_runner", abi=ABI, binary=file.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(UserError, match="has the sha256"):
        bench.registry.add(wrong)
    assert bench.registry.all() == ()
    assert not list((bench.folder / "state" / "tools" / "files").iterdir())
    with pytest.raises(ConfigError, match="no native tool"):
        Registry(bench.folder / "state", (wrong.model_copy(update={"name": "other"}),))
    with pytest.raises(ConfigError, match="usual arguments"):
        bench.registry.add(NativeTool(name="benchmark_model", abi=ABI, binary=file, accelerators={"npu": ()}))
    with pytest.raises(NotFoundError):
        bench.registry.remove("executor_runner", ABI)
    bench.registry.add(NativeTool(name="executor_runner", abi=ABI, binary=file))
    kept = bench.registry.fetch(file)
    kept.write_text("damaged")
    assert bench.registry.fetch(file).read_text().endswith("print()")
    bench.registry.remove("executor_runner", ABI)
    assert not kept.exists()
