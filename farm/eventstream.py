"""Decoder of ``text/event-stream``, as the WHATWG HTML standard describes it in "Server-sent events"
(https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).

Only what the farm's client needs: the data of each message. The data of ours carries kind and sequence number.
Lines are split here and not by ``httpx.Response.aiter_lines``, which also splits at characters such as U+2028
that may stand inside of a JSON string.
"""

from __future__ import annotations

import re

# A carriage return at the very end may be half of a CRLF: it waits for the next chunk.
_LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")


class EventStreamDecoder:
    """Bytes in, in chunks of any size; the data of whole messages out."""

    def __init__(self) -> None:
        self._pending = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        *lines, self._pending = _LINE_END.split(self._pending + chunk)
        return [message for line in lines if (message := self._take(line.decode(errors="replace"))) is not None]

    def _take(self, line: str) -> str | None:
        if line:
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
            return None
        if not self._data:
            return None
        message = "\n".join(self._data)
        self._data = []
        return message
