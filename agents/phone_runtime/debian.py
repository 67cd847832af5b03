"""Packages of Debian's archive by ``apt-get``, with lists, cache and settings of our own: the host stays as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from agents.phone_runtime.bundle import Abi
from agents.phone_runtime.fetching import run
from agents.phone_runtime.lock import Deb
from farm.errors import InfrastructureError

SUITE = "bookworm"
MIRROR = "http://deb.debian.org"  # signed: the transport need not be trusted
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHITECTURES: dict[Abi, str] = {"arm64-v8a": "arm64", "x86_64": "amd64"}
TIMEOUT_SECONDS = 600.0

_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE)


class Archive:
    """Debian's archive for one ABI; its lists go to ``folder``."""

    def __init__(self, folder: Path, abi: Abi, mirror: str = MIRROR) -> None:
        if shutil.which("apt-get") is None:
            raise InfrastructureError(
                "This machine has no apt-get, and packages of Debian are needed.",
                remedy="Build on Debian or Ubuntu, or bring the packages that the lock names: --packages FOLDER.",
            )
        if not KEYRING.is_file():
            raise InfrastructureError(
                f"Debian's keys are not at {KEYRING}: its packages could not be checked.",
                remedy="Install them: apt install debian-archive-keyring.",
            )
        self._folder, self._architecture, self._mirror = folder, ARCHITECTURES[abi], mirror

    def update(self) -> None:
        """Fetch the lists of packages. Raises InfrastructureError."""
        (self._folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self._folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        source = f"deb [signed-by={KEYRING} arch={self._architecture}]"
        (self._folder / "sources.list").write_text(
            f"{source} {self._mirror}/debian {SUITE} main\n"
            f"{source} {self._mirror}/debian {SUITE}-updates main\n"
            f"{source} {self._mirror}/debian-security {SUITE}-security main\n"
        )
        (self._folder / "status").touch()
        (self._folder / "apt.conf").write_text(self._settings())
        # A mirror that does not answer is a warning to apt, unless told otherwise.
        self._apt("update", "--error-on=any")

    def newest(self, packages: Iterable[str]) -> dict[str, Deb]:
        """What the lists offer. Raises InfrastructureError."""
        names = sorted(packages)
        found = {}
        for match in _URI.finditer(self._apt("download", "--print-uris", *names)):
            name, version, _ = match["file"].removesuffix(".deb").split("_")
            version = version.replace("%3a", ":")
            found[name] = Deb(version=version, sha256=match["sha256"], size_bytes=int(match["size"]))
        if missing := set(names) - found.keys():
            raise InfrastructureError(
                f"apt-get says no SHA-256 of {', '.join(sorted(missing))}.", remedy="Use a newer apt (2.0 or later)."
            )
        return found

    def download(self, debs: Mapping[str, Deb], folder: Path) -> None:
        """These versions into ``folder``, under any names. Raises InfrastructureError, also when one is gone."""
        offered = self.newest(debs)
        if gone := {name: deb for name, deb in debs.items() if offered[name] != deb}:
            told = ", ".join(f"{name} {deb.version} (now {offered[name].version})" for name, deb in gone.items())
            raise InfrastructureError(
                f"Debian replaced packages that the lock names: {told}.",
                remedy="Renew the lock (`farm phone-runtime lock`) and look at the difference; or fetch the old files "
                "from snapshot.debian.org into a folder and name it: --packages FOLDER.",
            )
        self._apt("download", *(f"{name}={deb.version}" for name, deb in debs.items()), folder=folder)

    def _settings(self) -> str:
        """Our own, and of the host's only how to reach the network: no hook of its runs, no folder of its is used."""
        done = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS
        )
        kept = [line for line in done.stdout.splitlines() if re.match(r"Acquire::(https?|ftp|Retries)", line)]
        folder = self._folder.absolute()
        return "\n".join(
            [
                *kept,
                'Dir::Etc::main "/dev/null";',
                'Dir::Etc::parts "/dev/null";',
                f'Dir::Etc::sourcelist "{folder / "sources.list"}";',
                'Dir::Etc::sourceparts "/dev/null";',
                'Dir::Etc::preferencesparts "/dev/null";',
                'Dir::Etc::preferences "/dev/null";',
                f'Dir::State "{folder}";',
                f'Dir::State::lists "{folder / "lists"}";',
                f'Dir::State::status "{folder / "status"}";',
                f'Dir::Cache "{folder / "cache"}";',
                'Acquire::Languages "none";',
                'Acquire::Retries "3";',
                'APT::Sandbox::User "";',
                f'APT::Architecture "{self._architecture}";',
                f'APT::Architectures {{ "{self._architecture}"; }};',
                "",
            ]
        )

    def _apt(self, *arguments: str, folder: Path | None = None) -> str:
        return run(
            ["apt-get", "-q", *arguments],
            "Debian's archive",
            timeout_seconds=TIMEOUT_SECONDS,
            folder=folder,
            environment={"APT_CONFIG": str((self._folder / "apt.conf").absolute())},
        )
