"""Modules compiled ahead: a phone compiles nothing, and nothing is written beside the layers there.

Files are valid whatever the time of their source (PEP 552, unchecked hash). Marshal's version 2 has no references
between objects: where it has, their number depends on what else the process holds, and so would the archive's hash.
"""

from __future__ import annotations

import importlib.util
import marshal
from collections.abc import Mapping
from pathlib import PurePosixPath

from agents.phone_runtime.archive import File

PYTHON_3_11 = (3495).to_bytes(2, "little") + b"\r\n"  # the magic number of its bytecode
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
MARSHAL_VERSION = 2


def possible() -> bool:
    """Only CPython 3.11 compiles for CPython 3.11."""
    return importlib.util.MAGIC_NUMBER == PYTHON_3_11


def compiled(files: Mapping[str, File]) -> dict[str, File]:
    """The bytecode of all modules among ``files``, under the names that Python looks for; none where it is not
    possible. A file that is no valid Python stays as it is: packages carry templates and code for other versions."""
    if not possible():
        return {}
    found = {}
    for name in sorted(files):
        path = PurePosixPath(name)
        if path.suffix != ".py":
            continue
        with files[name].open() as file:
            source = file.read()
        try:
            code = compile(source, name, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError):
            continue
        content = PYTHON_3_11 + UNCHECKED_HASH + importlib.util.source_hash(source)
        content += marshal.dumps(code, MARSHAL_VERSION)
        found[str(path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc")] = File.of_bytes(content)
    return found
