"""Which native tools are registered on this machine, and their files: fetched once, verified, kept by hash.

Registrations are ``agent_tools`` in farm.toml and those of ``farm tools add``, which lie in ``tools/tools.json`` of the
state folder; files lie beside it, as ``files/<sha256>``.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import urlsplit

from agents.native_tools import TOOLS
from farm.config import NativeTool, NativeToolFile
from farm.errors import ConfigError, InfrastructureError, NotFoundError, UserError
from farm.types import ToolOffer

_FETCH_SECONDS = 60.0  # without a byte
_CHUNK_BYTES = 2**20
MAX_BYTES = 2 * 2**30


class Registry:
    """``declared``: those of the settings, which win over registered ones of the same tool and ABI."""

    def __init__(self, state_dir: Path, declared: tuple[NativeTool, ...] = ()) -> None:
        self._folder = state_dir / "tools"
        self._declared = declared
        for tool in declared:
            _check(tool)

    def all(self) -> tuple[NativeTool, ...]:
        """Raises ConfigError where the list cannot be read."""
        found = {(tool.name, tool.abi): tool for tool in (*self._registered(), *self._declared)}
        return tuple(found[key] for key in sorted(found))

    def find(self, name: str, abi: str) -> NativeTool | None:
        return next((tool for tool in self.all() if (tool.name, tool.abi) == (name, abi)), None)

    def offers(self, abi: str, runtimes: tuple[str, ...] | None = None) -> tuple[ToolOffer, ...]:
        """What devices of an ABI can be measured with."""
        return tuple(
            ToolOffer(
                name=tool.name,
                runtime=TOOLS[tool.name].runtime,
                accelerators=tuple(sorted(tool.accelerators)),
            )
            for tool in self.all()
            if tool.abi == abi and (runtimes is None or TOOLS[tool.name].runtime in runtimes)
        )

    def add(self, tool: NativeTool) -> None:
        """Fetch its files and keep the registration. Raises ConfigError, UserError, InfrastructureError."""
        _check(tool)
        for file in (tool.binary, *tool.libraries):
            self.fetch(file)
        others = [each for each in self._registered() if (each.name, each.abi) != (tool.name, tool.abi)]
        self._write([*others, tool])

    def remove(self, name: str, abi: str) -> None:
        """Raises NotFoundError."""
        registered = self._registered()
        left = [each for each in registered if (each.name, each.abi) != (name, abi)]
        if len(left) == len(registered):
            where = (
                "farm.toml declares it: remove it there." if self.find(name, abi) else "`farm tools list` shows all."
            )
            raise NotFoundError(f"No tool {name} for {abi} was registered with `farm tools add`.", remedy=where)
        self._write(left)
        kept = {file.sha256 for tool in self.all() for file in (tool.binary, *tool.libraries)}
        for path in (self._folder / "files").glob("*"):
            if path.name not in kept:
                path.unlink()

    def fetch(self, file: NativeToolFile) -> Path:
        """The file, verified; from its source unless it is here. Raises UserError where it is another file,
        InfrastructureError where it cannot be had."""
        kept = self._folder / "files" / file.sha256
        if kept.is_file():
            if _sha256(kept) == file.sha256:
                return kept
            kept.unlink()  # damaged on disk
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{file.sha256}.{os.getpid()}.part")
        try:
            found = _copy(file.source, part)
            if found != file.sha256:
                raise UserError(
                    f"{file.source} has the sha256 {found}, not {file.sha256} as registered.",
                    remedy="If it was replaced on purpose, register it again with the new hash.",
                )
            part.chmod(0o755)
            part.replace(kept)
        finally:
            part.unlink(missing_ok=True)
        return kept

    def _registered(self) -> tuple[NativeTool, ...]:
        path = self._folder / "tools.json"
        try:
            tools = tuple(NativeTool.model_validate(each) for each in json.loads(path.read_text()))
            for tool in tools:
                _check(tool)
        except FileNotFoundError:
            return ()
        except ValueError as error:
            raise ConfigError(f"{path} cannot be read: {error}", remedy="Remove it and register again.") from error
        return tools

    def _write(self, tools: list[NativeTool]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"tools.json.{os.getpid()}.part"
        part.write_text(json.dumps([tool.model_dump(mode="json") for tool in tools], indent=1))
        part.replace(self._folder / "tools.json")


def file_name(file: NativeToolFile) -> str:
    return PurePosixPath(urlsplit(file.source).path if "://" in file.source else file.source).name


def _check(tool: NativeTool) -> None:
    kind = TOOLS.get(tool.name)
    if kind is None:
        raise ConfigError(f"The farm knows no native tool {tool.name!r}.", remedy=f"Known: {', '.join(sorted(TOOLS))}.")
    for accelerator, arguments in tool.accelerators.items():
        if not arguments and kind.delegate(accelerator) is None:
            raise ConfigError(
                f"{tool.name} has no usual arguments for the {accelerator}.",
                remedy=f"Give those that choose it, e.g. accelerators.{accelerator} = [...] (docs/native-tools.md).",
            )


def _copy(source: str, target: Path) -> str:
    """Its sha256."""
    digest, size_bytes = hashlib.sha256(), 0
    try:
        if "://" in source:
            if urlsplit(source).scheme not in ("http", "https"):
                raise UserError(f"{source} is no http(s) URL and no path.", remedy="Give one of these.")
            stream = urllib.request.urlopen(source, timeout=_FETCH_SECONDS)  # noqa: S310 - the scheme is checked
        else:
            stream = Path(source).expanduser().open("rb")
        with stream, target.open("wb") as out:
            while chunk := stream.read(_CHUNK_BYTES):
                size_bytes += len(chunk)
                if size_bytes > MAX_BYTES:
                    raise UserError(f"{source} is over {MAX_BYTES >> 30} GiB.", remedy="Is it the right file?")
                digest.update(chunk)
                out.write(chunk)
    except (URLError, OSError, TimeoutError) as error:
        raise InfrastructureError(
            f"{source} cannot be read: {error}.", remedy="Check the path or URL, and that there is space."
        ) from error
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
