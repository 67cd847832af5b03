"""A stand-in for the SDK's ``emulator`` with a virtual phone in it: what it was told, ports, console without a token.
A snapshot that is loaded is the phone with nothing of ours on it."""

import asyncio
import os
import sys
from pathlib import Path

from agents.virtual.phone import VirtualPhone

FOLDER = Path(os.environ["STAND_IN_FOLDER"])


def told(text: str) -> None:
    with (FOLDER / "told.txt").open("a") as file:
        file.write(f"{text}\n")


async def announce(port: int) -> None:
    """To the adb server, as an emulator does when its phone's adbd listens."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["ANDROID_ADB_SERVER_PORT"]))
    service = f"host:emulator:{port}"
    writer.write(f"{len(service):04x}{service}".encode())
    await writer.drain()
    writer.close()


async def run(port: int) -> None:
    phone = VirtualPhone("emulator", "x86_64", FOLDER / f"phone-{port}", port + 1)
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Android Console: type 'help' for a list of commands\r\nOK\r\n")
        while line := (await reader.readline()).decode().strip():
            told(line)
            if line == "kill":
                over.set()
                break
            await phone.stop()
            await phone.start()
            await announce(port + 1)
            writer.write(b"OK\r\n")
        writer.close()

    await phone.start()
    await announce(port + 1)
    console = await asyncio.start_server(serve, "127.0.0.1", port)
    await over.wait()
    console.close()
    await phone.stop()


arguments = sys.argv[1:]
if arguments == ["-list-avds"]:
    print("pixel")
else:
    told("start " + " ".join(arguments))
    asyncio.run(run(int(arguments[arguments.index("-port") + 1])))
