"""The farm's own way of files to a phone, verified by hash there, against plain ``adb push`` of the same files.

    python -m tests.bench.push

To a virtual phone in a process of its own, through one adb server; both sides take turns. What was
pushed is removed each time.
``adb push`` verifies nothing. Kinds: one file of 200 MB, also over a link as slow as USB 2, and 1,000 of 4 kB.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from agents.android import link as links
from agents.android.files import Delivery
from agents.android.link import AdbPhone
from agents.virtual.phone import VirtualPhone
from agents.virtual.phone.control import order
from tests.bench import report
from tests.bench.elsewhere import beside
from tests.integration.agents.android.scene import adb_program, adb_server

REPEATS = 5
LARGE_BYTES = 200_000_000
SMALL_FILES, SMALL_BYTES = 1000, 4096
USB2_BYTES_PER_SECOND = 40_000_000  # of 20 to 70 MB/s that phones reach
PLACE = "/data/local/tmp/push"


async def serve(folder: Path) -> None:
    phone = VirtualPhone("galaxy-s23", "x86_64", folder)
    await phone.start()
    try:
        print(phone.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await phone.stop()


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def measure() -> dict[str, float]:
    program = adb_program()
    assert program, "needs an adb program"
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = folder / "large", folder / "small"
        for place in (large, small):
            place.mkdir()
        (large / "0").write_bytes(random.Random(0).randbytes(LARGE_BYTES))  # noqa: S311
        for number in range(SMALL_FILES):
            (small / str(number)).write_bytes(random.Random(number).randbytes(SMALL_BYTES))  # noqa: S311
        async with beside("tests.bench.push", folder / "phone") as line, adb_server(folder) as server:
            port = int(line)
            await server.connect(f"127.0.0.1:{port}")
            phone = AdbPhone(server, f"127.0.0.1:{port}")
            await phone.run(f"mkdir -p {PLACE}", what="Making room")

            async def ours(source: Path) -> None:
                """With the hashing on this side."""
                deliveries = []
                for path in sorted(source.iterdir()):  # noqa: ASYNC240
                    digest, size_bytes = await asyncio.to_thread(links.hashed, path)
                    deliveries.append(Delivery(path, digest, size_bytes, f"{PLACE}/{path.name}"))
                await phone.push_all(deliveries)

            async def plain(source: Path) -> None:
                process = await asyncio.create_subprocess_exec(
                    program,
                    *("-P", str(server.port), "-s", phone.serial, "push", f"{source}/.", PLACE),
                    env={"HOME": str(folder / "home"), "PATH": os.defpath},
                    stdout=subprocess.DEVNULL,
                )
                assert await process.wait() == 0

            for kind, source, size_bytes, link_bytes_per_second in (
                ("", large, LARGE_BYTES, None),
                ("small_files_", small, SMALL_FILES * SMALL_BYTES, None),
                ("usb2_", large, LARGE_BYTES, USB2_BYTES_PER_SECOND),
            ):
                order(folder / "phone", {"fault": "slow_link_bytes_per_second", "value": link_bytes_per_second})
                own, adbs, ratios = [], [], []
                for _ in range(REPEATS):
                    for taken, way in ((own, ours), (adbs, plain)):
                        taken.append(await seconds(lambda way=way, source=source: way(source)))  # type: ignore[misc]
                        await phone.run(f"rm -rf {PLACE}/*", what="Making room", timeout_seconds=30)
                    ratios.append(adbs[-1] / own[-1])
                figures[f"{kind}bytes_per_second"] = size_bytes / statistics.median(own)
                figures[f"{kind}adb_bytes_per_second"] = size_bytes / statistics.median(adbs)
                figures[f"{kind}ratio_to_adb_push"] = statistics.median(ratios)
    return figures


def main() -> None:
    if len(sys.argv) > 1:
        asyncio.run(serve(Path(sys.argv[1])))
        return
    figures: dict[str, float | int] = {**asyncio.run(measure()), "repeats": REPEATS}
    print(report.table([("figure", "value"), *((name, float(value)) for name, value in figures.items())]))
    print(f"\nWritten to {report.write('push', figures)}.")


if __name__ == "__main__":
    main()
