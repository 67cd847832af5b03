"""Virtual phones in a process of their own, so that their processor time is not that of what is measured."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def beside(module: str, folder: Path) -> AsyncIterator[str]:
    """The first line that ``python -m module folder`` prints. It is to end when its stdin does."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", module, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield await asyncio.to_thread(process.stdout.readline)
    finally:
        process.communicate(timeout=60)
