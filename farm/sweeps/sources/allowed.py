"""What the head may be made to read by who has a token: files below ``sweep_model_dirs``, what lies below the addresses
in ``sweep_model_urls``, and nothing else. Without these settings nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from farm.errors import ForbiddenError, NotFoundError, UserError


def local_path(text: str) -> Path | None:
    """The path that a source names, be it as ``file://``; None for an address elsewhere. Raises UserError."""
    parts = _split(text)
    if parts.scheme and "://" in text and parts.scheme != "file":
        return None
    if parts.scheme == "file":
        if parts.netloc or parts.query or parts.fragment:
            raise UserError(f"{text} is no file of the head.", remedy="Write it as /FOLDER/FILE.")
        text = unquote(parts.path)
    path = Path(text)
    if not path.is_absolute():
        raise UserError(f"{text!r} is neither an absolute path nor a URL.", remedy="Write /FOLDER/FILE, or s3://….")
    return path


def check_path(path: Path, folders: Sequence[Path]) -> Path:
    """The path without links and ``..``, which is what has to lie below one of the folders.

    Raises ForbiddenError before it says whether there is such a file, NotFoundError.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a NUL
        raise UserError(f"{str(path)!r} is no usable path: {error}.", remedy="Correct it.") from error
    if not is_below(real, folders):
        raise ForbiddenError(
            f"{path} is not below a folder that sweeps may read models from.",
            remedy="Put the file below one of the folders in sweep_model_dirs, or have the operator add its folder.",
        )
    if not real.exists():
        raise NotFoundError(f"There is no {path} on the head.", remedy="Check the path, as the head sees it.")
    return real


def is_below(real: Path, folders: Sequence[Path]) -> bool:
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def check_url(url: str, prefixes: Sequence[str]) -> None:
    """Raises ForbiddenError, UserError."""
    parts = _split(url)
    if not parts.scheme or not parts.netloc or "::" in url or "\\" in url or any(character <= " " for character in url):
        raise UserError(
            f"{url!r} is no URL that sweeps read.", remedy="Write SCHEME://HOST/PATH, e.g. s3://bucket/net."
        )
    if "@" in parts.netloc:
        raise UserError(
            f"The URL of a source on {parts.hostname} holds a user or a password.",
            remedy="Leave them out: everybody who may read the sweep would see them. The operator gives credentials to "
            "the head's environment (docs/model-sources.md).",
        )
    if not any(_covers(prefix, parts) for prefix in prefixes):
        raise ForbiddenError(
            f"{url} is not below an address that sweeps may read from.",
            remedy="Have the operator add its scheme, host and folder to sweep_model_urls in the head's farm.toml.",
        )


def _covers(prefix: str, parts: SplitResult) -> bool:
    """Scheme and host are compared whole, the path by folders: ``https://a.org`` does not cover ``a.org.evil.net``."""
    allowed = urlsplit(prefix)
    wanted, given = _folders(allowed.path), _folders(parts.path)
    same = (allowed.scheme.lower(), allowed.netloc.lower()) == (parts.scheme.lower(), parts.netloc.lower())
    return same and ".." not in given and "." not in given and given[: len(wanted)] == wanted


def _folders(path: str) -> list[str]:
    """``%2e%2e`` may reach a server as ``..``, and so may what was quoted twice."""
    while (plain := unquote(path)) != path:
        path = plain
    return [part for part in path.replace("\\", "/").split("/") if part]


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise UserError(f"{text!r} is neither a path nor a URL: {error}.", remedy="Correct it.") from error
