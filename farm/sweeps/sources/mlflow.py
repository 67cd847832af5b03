"""A model of an MLflow registry, or of one of its runs: the file in its artifacts, with the inputs beside it.

Its version is the registry's number, or the run's id. MLflow is imported in a process of its own, which can be ended;
what it would load with ``mlflow.pytorch`` is a pickle, so that only files of the farm's formats are taken.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from farm.config import Settings
from farm.errors import ConfigError, InfrastructureError, NotFoundError, TooLargeError, UserError
from farm.recipes import scratch
from farm.recipes.boundary import reason
from farm.sweeps.sources import allowed, apart, transfer
from farm.sweeps.sources.intake import Files, Found, wanted
from farm.types import MlflowModel

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REGISTERED = re.compile(r"models:/(?P<name>[^/@':]+)(?:@(?P<alias>[^/@']+)|/(?P<version>[1-9][0-9]{0,8}|latest))?")
_OF_RUN = re.compile(r"runs:/(?P<run>[0-9a-f]{32})(?P<path>(/[^/]+)*)/?")
_ASK_SECONDS = 120.0  # a good part of it is the import
# MLflow's own defaults try for minutes and tell its makers of every use.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class Location(NamedTuple):
    """``root``: where its artifacts lie."""

    version: str
    root: str


def check(source: MlflowModel, settings: Settings) -> None:
    """Raises ForbiddenError, ConfigError, NotFoundError, UserError, InfrastructureError."""
    _check_allowed(source, settings)
    with scratch.folder() as folder:
        location = _located(source, None, folder, settings)
    _check_root(location.root, settings.sweep_model_dirs, settings.sweep_model_urls)


def find(source: MlflowModel, version: str | None, folder: Path, settings: Settings) -> Found:
    """``version``: one of the same registered model, or the run's id."""
    _check_allowed(source, settings)
    location = _located(source, version, folder, settings)
    _check_root(location.root, settings.sweep_model_dirs, settings.sweep_model_urls)
    # Versions that are removed and made anew have the same number, and never the same place.
    identity = f"{source.model_dump_json(exclude={'uri'})} {location.root}"
    return Found(location.version, identity, lambda: _fetch(source, location, folder, settings))


def versions_between(source: MlflowModel, good: str, bad: str, folder: Path, settings: Settings) -> tuple[str, ...]:
    """Of a registered model; runs have no order."""
    registered = _REGISTERED.fullmatch(source.uri)
    if registered is None or not (good.isdecimal() and bad.isdecimal()):
        return ()
    _check_allowed(source, settings)
    numbers: list[int] = _apart(versions, source, folder, settings, name=registered["name"])
    return tuple(str(number) for number in sorted(numbers) if int(good) < number <= int(bad))


def _check_allowed(source: MlflowModel, settings: Settings) -> None:
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "MLflow is not installed on the head.", remedy="Have the operator do: pip install 'torchfarm[mlflow]'."
        )
    if source.tracking_uri is not None:
        allowed.check_url(source.tracking_uri, settings.sweep_model_urls)
    elif not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ConfigError(
            "The head knows no MLflow server.",
            remedy="Name one in tracking_uri, or have the operator set MLFLOW_TRACKING_URI in the head's environment.",
        )
    if not _REGISTERED.fullmatch(source.uri) and not _OF_RUN.fullmatch(source.uri):
        raise UserError(
            f"{source.uri!r} names no model.",
            remedy="Write models:/NAME/VERSION, models:/NAME/latest, models:/NAME@ALIAS or runs:/RUN_ID/FOLDER.",
        )
    for path, _ in wanted(source.file, source):
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or "%" in path:
            raise UserError(f"{path!r} is no path below the model's artifacts.", remedy="Write it as FOLDER/FILE.")


def _located(source: MlflowModel, version: str | None, folder: Path, settings: Settings) -> Location:
    return Location(*_apart(locate, source, folder, settings, uri=source.uri, version=version))


def _check_root(root: str, folders: Sequence[Path], prefixes: Sequence[str]) -> None:
    """Who may write to the registry says where artifacts lie: the head reads them only where it may read anyway, or
    through the MLflow server itself."""
    parts = urlsplit(root)
    if parts.scheme == "mlflow-artifacts" and not parts.netloc:
        return
    path = allowed.local_path(root)
    if path is not None:
        allowed.check_path(path, folders)
    else:
        allowed.check_url(root, prefixes)


def _fetch(source: MlflowModel, location: Location, folder: Path, settings: Settings) -> Files:
    target = folder / "files"
    target.mkdir()
    items = wanted(source.file, source)
    path = allowed.local_path(location.root) if urlsplit(location.root).scheme != "mlflow-artifacts" else None
    limits: dict[str, Any] = {
        "timeout_seconds": settings.sweep_fetch_timeout_seconds,
        "memory_bytes": settings.build_memory_bytes,
        "target": str(target),
        "max_bytes": settings.max_upload_bytes,
    }
    if path is not None:
        local = [(str(path / file), name) for file, name in items]
        folders = [str(each) for each in settings.sweep_model_dirs]
        apart.call(transfer.fetch, folder / "mlflow", f"Reading {source.uri}", **limits, items=local, folders=folders,
                   prefixes=[])  # fmt: skip
    else:
        apart.call(download, folder / "mlflow", f"Reading {source.uri}", **limits, items=items, root=location.root,
                   tracking_uri=source.tracking_uri)  # fmt: skip
    return Files.at(target, items[0][1], source.dynamic_batch)


def _apart(function: Any, source: MlflowModel, folder: Path, settings: Settings, **arguments: Any) -> Any:
    return apart.call(
        function,
        folder / "mlflow",
        f"Asking MLflow for {source.uri}",
        timeout_seconds=_ASK_SECONDS,
        memory_bytes=settings.build_memory_bytes,
        tracking_uri=source.tracking_uri,
        **arguments,
    )


# --- what runs apart ---------------------------------------------------------------------------------


def locate(uri: str, version: str | None, tracking_uri: str | None) -> Location:
    with _client(tracking_uri) as client:
        if run := _OF_RUN.fullmatch(uri):
            if version not in (None, run["run"]):
                raise UserError(f"{uri} is run {run['run']}, not {version}.", remedy="Name the run that you mean.")
            return Location(run["run"], client.get_run(run["run"]).info.artifact_uri.rstrip("/") + run["path"])
        registered = _REGISTERED.fullmatch(uri)
        assert registered is not None  # noqa: S101 - looked at before
        name = registered["name"]
        number = version or registered["version"]
        if version is None and registered["alias"]:
            number = str(client.get_model_version_by_alias(name, registered["alias"]).version)
        elif number in (None, "latest"):
            numbers = _numbers(client, name)
            if not numbers:
                raise NotFoundError(f"MLflow has no version of a model {name!r}.", remedy="Check its name.")
            number = str(max(numbers))
        return Location(str(number), str(client.get_model_version_download_uri(name, str(number))))


def versions(name: str, tracking_uri: str | None) -> list[int]:
    with _client(tracking_uri) as client:
        return _numbers(client, name)


def download(root: str, items: Sequence[Sequence[str]], target: str, max_bytes: int, tracking_uri: str | None) -> None:
    with _client(tracking_uri):
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(root, tracking_uri=tracking_uri)
        left_bytes = max_bytes
        for path, name in items:
            folder = str(PurePosixPath(path).parent)
            said = repository.list_artifacts(None if folder == "." else folder)
            known = {each.path: each.file_size for each in said if not each.is_dir}
            if path not in known:
                raise NotFoundError(f"The model has no {path} in its artifacts.", remedy="Log it with the model.")
            left_bytes -= known[path] or 0
            if left_bytes >= 0:
                got = Path(repository.download_artifacts(path, dst_path=str(Path(target, "mlflow"))))
                left_bytes += (known[path] or 0) - got.stat().st_size
                got.rename(Path(target, name))
            if left_bytes < 0:
                raise TooLargeError(
                    f"The files of the model have more than the {max_bytes:,} bytes that this farm accepts.",
                    remedy="Make them smaller, or have the operator raise max_upload_bytes.",
                )


@contextmanager
def _client(tracking_uri: str | None) -> Iterator[MlflowClient]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFoundError(f"MLflow: {error.message}.", remedy="Check the model's name and version.") from error
        raise InfrastructureError(
            f"MLflow could not be asked: {reason(error)}",
            remedy="Check that its server answers, and the head's credentials for it (docs/model-sources.md).",
        ) from error


def _numbers(client: MlflowClient, name: str) -> list[int]:
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name='{name}'", page_token=token)
        found += [int(each.version) for each in page if each.status == "READY"]
        token = page.token
        if not token:
            return found
