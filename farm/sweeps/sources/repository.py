"""A bare mirror of a Git repository, in the head's state folder: fetched, asked, and checked out of.

Git runs without a shell and asks nobody anything. While it speaks to a server it uses the head's own configuration
(credentials, certificates) and follows no redirect. To check out it has no configuration at all, so that no hook,
filter or submodule of a repository runs anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from farm.config import Settings
from farm.errors import ConfigError, InfrastructureError, NotFoundError, UserError
from farm.sweeps.sources import allowed

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")
_PROTOCOLS = ("https", "http", "ssh", "git")
_ASK_SECONDS = 60.0
_TAIL_CHARACTERS = 500
_NO_CONFIGURATION = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
_NOTHING: Mapping[str, str] = {}
# Of this process's environment, what would lead Git to another repository or index.
_LED_ASTRAY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_COMMON_DIR")


class Repository:
    """``address``: a URL that ``sweep_model_urls`` allows, or a path below ``sweep_model_dirs``."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Raises ForbiddenError, NotFoundError, UserError."""
        self._address, self._protocol = _checked(address, settings)
        self._timeout_seconds = settings.sweep_fetch_timeout_seconds
        name = hashlib.sha256(self._address.encode()).hexdigest()[:24]
        self._mirror = settings.state_dir / "sweeps" / "repositories" / f"{name}.git"

    def check(self, ref: str) -> None:
        """Is it there, and has it the ref? Raises NotFoundError, UserError, InfrastructureError."""
        check_ref(ref)
        names = (f"refs/heads/{ref}", f"refs/tags/{ref}")
        found = self._remote("ls-remote", "--", self._address, *names, timeout_seconds=_ASK_SECONDS)
        if not found.strip() and not COMMIT.fullmatch(ref):
            raise self._no_ref(ref)

    def fetch(self) -> None:
        """All branches and tags. Raises InfrastructureError."""
        if not (self._mirror / "HEAD").is_file():
            self._mirror.mkdir(parents=True, exist_ok=True)
            self._local("init", "--quiet", "--bare", "--template=", str(self._mirror))
        for lock in self._mirror.rglob("*.lock"):  # of a fetch that was killed: one process works here
            lock.unlink(missing_ok=True)
        refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        options = ("--quiet", "--prune", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        self._remote("fetch", *options, "--", self._address, *refs, timeout_seconds=self._timeout_seconds)

    def commit(self, ref: str) -> str:
        """Of a branch, of a tag, or a commit itself, in what was fetched. Raises NotFoundError, UserError."""
        check_ref(ref)
        names = [ref] if COMMIT.fullmatch(ref) else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        for name in names:
            said = self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            if said is not None:
                return said.strip()
        raise self._no_ref(ref)

    def between(self, good: str, bad: str) -> tuple[str, ...]:
        """The commits after ``good`` up to ``bad`` along first parents, oldest first; empty unless one leads to the
        other that way (after a branch was rewritten, say)."""
        if not COMMIT.fullmatch(good) or not COMMIT.fullmatch(bad):
            return ()
        said = self._ask("rev-list", "--first-parent", "--parents", "--end-of-options", bad, f"^{good}", "--")
        lines = [line.split() for line in reversed((said or "").splitlines())]
        if not lines or lines[0][1:2] != [good]:
            return ()
        return tuple(line[0] for line in lines)

    def check_out(self, commit: str, tree: Path, index: Path) -> None:
        """Raises InfrastructureError."""
        tree.mkdir()
        self._local("read-tree", commit, environment={"GIT_INDEX_FILE": str(index)})
        self._local(
            *("--work-tree", str(tree), "checkout-index", "--all", "--force"),
            environment={"GIT_INDEX_FILE": str(index)},
        )

    def _no_ref(self, ref: str) -> NotFoundError:
        return NotFoundError(
            f"{self._address} has no branch, tag or commit {ref!r}.", remedy="Check `ref`, and that it was pushed."
        )

    def _remote(self, *arguments: str, timeout_seconds: float) -> str:
        in_mirror = ["--git-dir", str(self._mirror)] if arguments[0] == "fetch" else []
        settings = (f"core.hooksPath={os.devnull}", "http.followRedirects=false", "gc.autoDetach=false")
        options = [part for setting in settings for part in ("-c", setting)]
        ended = _git([*options, *in_mirror, *arguments], {"GIT_ALLOW_PROTOCOL": self._protocol}, timeout_seconds)
        if ended.returncode:
            raise InfrastructureError(
                f"{self._address} could not be read: {_tail(ended.stderr)}",
                remedy="Check the address, that its server answers, and that the head's user may read it "
                "(docs/model-sources.md).",
            )
        return ended.stdout

    def _local(self, *arguments: str, environment: Mapping[str, str] = _NOTHING) -> None:
        ended = self._in_mirror(arguments, environment)
        if ended.returncode:
            raise InfrastructureError(
                f"git {arguments[0]} failed in the mirror of {self._address}: {_tail(ended.stderr)}",
                remedy=f"Free space on the disk; where it goes on, remove {self._mirror}: it is fetched anew.",
            )

    def _ask(self, *arguments: str) -> str | None:
        """None where Git does not know."""
        ended = self._in_mirror(arguments, {})
        return None if ended.returncode else ended.stdout

    def _in_mirror(
        self, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return _git(
            ["--git-dir", str(self._mirror), *arguments], {**_NO_CONFIGURATION, **environment}, self._timeout_seconds
        )


def check_ref(ref: str) -> None:
    """So that no ref is an option, or an expression."""
    if not _REF.fullmatch(ref) or ".." in ref:
        raise UserError(f"{ref!r} is no usable ref.", remedy="Name a branch, a tag or a whole commit.")


def _checked(address: str, settings: Settings) -> tuple[str, str]:
    """The address as Git gets it, and the one protocol that Git may use for it."""
    if re.match(r"[^/]*@[^/]*:", address) and "://" not in address:
        raise UserError(f"{address} is no URL.", remedy="Write it as ssh://git@HOST/PATH.")
    path = allowed.local_path(address)
    if path is not None:
        return str(allowed.check_path(path, settings.sweep_model_dirs)), "file"
    # The user of an ssh URL is no secret, and part of nearly every one.
    scheme = urlsplit(address).scheme.lower()
    bare = re.sub(r"^(ssh://)[A-Za-z0-9._-]+@", r"\1", address)
    allowed.check_url(bare, settings.sweep_model_urls)
    if scheme not in _PROTOCOLS:
        raise UserError(f"Git repositories are not read by {scheme}://.", remedy="Use https:// or ssh://.")
    return address, scheme


def _git(
    arguments: list[str], environment: Mapping[str, str], timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in _LED_ASTRAY}
    ssh = os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_SSH_COMMAND": ssh, "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["git", *arguments],
            env={**clean, **quiet, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigError("There is no git on the head.", remedy="Install it (apt install git).") from error
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            f"git {arguments[-1]} took longer than {timeout_seconds:g} s.",
            remedy="Check that the server answers; where the repository is large, have the operator raise "
            "sweep_fetch_timeout_seconds.",
        ) from error


def _tail(text: str) -> str:
    return text.strip()[-_TAIL_CHARACTERS:] or "git did not say why."
