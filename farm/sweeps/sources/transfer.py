"""Files from the head's folders and from anywhere that fsspec reaches, into a folder, within limits."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from farm.errors import FarmError, ForbiddenError, InfrastructureError, NotFoundError, TooLargeError, UserError
from farm.recipes.boundary import Boundary
from farm.sweeps.sources import allowed

_CHUNK_BYTES = 1 << 20
_HTTP_TIMEOUT_SECONDS = 30.0  # of a connection, or between two pieces


def fetch(
    items: Sequence[Sequence[str]], target: str, folders: Sequence[str], prefixes: Sequence[str], max_bytes: int
) -> None:
    """Copy each (source, file name) to the folder ``target``; together they may have so many bytes.

    Raises ForbiddenError, NotFoundError, TooLargeError, UserError, InfrastructureError.
    """
    left_bytes = max_bytes
    for source, name in items:
        with Path(target, name).open("xb") as copy:
            for chunk in _chunks(source, [Path(each) for each in folders], prefixes):
                left_bytes -= len(chunk)
                if left_bytes < 0:
                    raise TooLargeError(
                        f"The files of the model have more than the {max_bytes:,} bytes that this farm accepts.",
                        remedy="Make them smaller, or have the operator raise max_upload_bytes.",
                    )
                copy.write(chunk)


def check_driver(url: str) -> None:
    """Raises UserError where nothing is installed that reads such URLs, and says what would."""
    from fsspec.registry import known_implementations, registry

    scheme = urlsplit(url).scheme.lower()
    if scheme in ("http", "https") or scheme in registry:
        return
    known = known_implementations.get(scheme)
    if known is None:
        raise UserError(
            f"Nothing here reads {scheme}:// URLs.", remedy="Use one that fsspec knows: s3, gs, abfs, http, https, …"
        )
    package = known["class"].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        hint = known.get("err", f"Install {package}")
        raise UserError(
            f"{package} is not installed, which reads {scheme}:// URLs.",
            remedy=f"Have the operator install it on the head: pip install {package} ({hint}).",
        )


def _chunks(source: str, folders: Sequence[Path], prefixes: Sequence[str]) -> Iterator[bytes]:
    path = allowed.local_path(source)
    if path is not None:
        with _opened(path, folders) as file:
            yield from _pieces(file)
        return
    allowed.check_url(source, prefixes)
    check_driver(source)
    yield from _of_http(source) if urlsplit(source).scheme.lower() in ("http", "https") else _of_fsspec(source)


def _opened(path: Path, folders: Sequence[Path]) -> BinaryIO:
    """What was opened is looked at once more: a link may have been put in its way after the check of the path."""
    real = allowed.check_path(path, folders)
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", remedy="Let the head's user read it.") from error
    try:
        if not allowed.is_below(Path(f"/proc/self/fd/{descriptor}").readlink(), folders):
            raise ForbiddenError(f"{path} was replaced by a link.", remedy="Leave it as it is while it is read.")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{path} is no file.", remedy="Name the file of the model, or of its inputs.")
    except FarmError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _of_http(url: str) -> Iterator[bytes]:
    """Without fsspec, which follows redirects: they would lead past the addresses that are allowed."""
    import httpx

    try:
        with httpx.stream("GET", url, follow_redirects=False, timeout=_HTTP_TIMEOUT_SECONDS) as response:
            if response.is_redirect:
                raise ForbiddenError(
                    f"{url} leads on to another address, and sweeps do not follow.",
                    remedy="Name the address itself; it has to be one that sweep_model_urls allows.",
                )
            if response.status_code in (404, 410):
                raise _absent(url)
            if response.status_code in (401, 403):
                raise _refused(url)
            response.raise_for_status()
            yield from response.iter_bytes(_CHUNK_BYTES)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InfrastructureError(
            f"{url} could not be read: {type(error).__name__}: {error}.", remedy="Check the server, then try again."
        ) from error


def _of_fsspec(url: str) -> Iterator[bytes]:
    import fsspec

    with Boundary(InfrastructureError, f"{url} could not be read", "Check the storage and the head's credentials."):
        try:
            with fsspec.open(url, "rb") as file:
                yield from _pieces(file)
        except FileNotFoundError as error:
            raise _absent(url) from error
        except PermissionError as error:
            raise _refused(url) from error
        except ImportError as error:
            raise UserError(
                f"What reads {urlsplit(url).scheme}:// URLs is not installed: {error}.",
                remedy="Have the operator install it on the head.",
            ) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _absent(url: str) -> NotFoundError:
    return NotFoundError(f"There is nothing at {url}.", remedy="Check the address.")


def _refused(url: str) -> ForbiddenError:
    return ForbiddenError(
        f"{url} may not be read with the credentials that the head has.",
        remedy="Have the operator give the head's environment such credentials (docs/model-sources.md).",
    )
