"""Switching a phone's faults from outside: JSON lines over ``control.sock`` in the phone's folder.

``{"fault": NAME, "value": VALUE}`` switches, ``{"clear": true}`` ends all, ``{}`` only asks. Each line is answered by
``{"faults": {...}}`` or ``{"error": TEXT, "remedy": TEXT}``.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from agents.virtual.phone.faults import Faults
from farm.errors import InfrastructureError, UserError

NAME = "control.sock"
ANSWER_SECONDS = 5.0


class Control:
    def __init__(self, faults: Faults, folder: Path) -> None:
        self._faults, self._path = faults, folder / NAME
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await reader.readline()
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # who asked is gone, or said nothing for too long
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            order = json.loads(line)
            if not isinstance(order, dict):
                raise UserError("An order is a JSON object.", remedy="See docs/virtual-phone.md.")
            if order.get("clear"):
                self._faults.clear()
            elif "fault" in order:
                self._faults.switch(order["fault"], order.get("value", True))
        except json.JSONDecodeError as error:
            return {"error": f"No JSON: {error}.", "remedy": "Send one object a line."}
        except UserError as error:
            return {"error": error.message, "remedy": error.remedy}
        return {"faults": self._faults.model_dump()}


def order(folder: Path, message: dict[str, Any]) -> dict[str, Any]:
    """The faults in force after ``message``. Raises UserError for what the phone refuses, InfrastructureError when no
    phone answers in ``folder``."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(ANSWER_SECONDS)
        try:
            link.connect(str(folder / NAME))
            link.sendall(json.dumps(message).encode() + b"\n")
            with link.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
        except (OSError, json.JSONDecodeError) as error:
            raise InfrastructureError(
                f"No virtual phone answers in {folder}: {error}.", remedy="Name the --folder of one that runs."
            ) from error
    if "error" in answer:
        raise UserError(answer["error"], remedy=answer["remedy"])
    faults: dict[str, Any] = answer["faults"]
    return faults
