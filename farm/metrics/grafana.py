"""Grafana's HTTP API as the farm uses it: by uid, with a service account's token. The one module that knows the client
library (grafana-api, of which only the verbs still fit today's Grafana).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
from grafana_api.grafana_api import GrafanaAPI, GrafanaException

from farm.errors import AuthError, ConfigError, FarmError, ForbiddenError, InfrastructureError, UserError

TIMEOUT_SECONDS = 20.0
FOLDER_UID, FOLDER_TITLE = "torchfarm", "Torchfarm"
SOURCE_UID, SOURCE_NAME = "torchfarm-prometheus", "Torchfarm Prometheus"
TAGS = ("torchfarm", "run")
_OF_GRAFANA = ("id", "version")  # of a dashboard, it sets them itself
_MOST_ANNOTATIONS = 1_000

Document = dict[str, Any]


class Note(NamedTuple):
    """A run, on the time line of every dashboard. Told apart from others by ``key``."""

    key: str
    text: str
    begin: datetime
    end: datetime


class Grafana:
    """Nothing is sent before the first call. All raise AuthError, ForbiddenError, UserError or InfrastructureError."""

    def __init__(self, url: str, token: str) -> None:
        """Raises ConfigError. ``token`` is sent to ``url`` and said nowhere."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(
                "grafana_url is no address of a Grafana.", remedy="Write it like http://grafana:3000, without a user."
            )
        self._url = url.rstrip("/")
        prefix = f"{parts.path.strip('/')}/".lstrip("/")
        self._api = GrafanaAPI(
            token, host=parts.netloc, url_path_prefix=prefix, protocol=parts.scheme, timeout=TIMEOUT_SECONDS
        )

    def folder(self) -> bool:
        return self._find(f"/folders/{FOLDER_UID}") is not None

    def make_folder(self) -> bool:
        """Whether there was none."""
        if self.folder():
            return False
        self._call("POST", "/folders", {"uid": FOLDER_UID, "title": FOLDER_TITLE})
        return True

    def source(self, prometheus_url: str) -> bool:
        """Whether the data source is there and as it should be."""
        return self._same_source(self._find(f"/datasources/uid/{SOURCE_UID}"), prometheus_url)

    def make_source(self, prometheus_url: str) -> bool:
        """Whether something had to change. What else people set in it stays."""
        found = self._find(f"/datasources/uid/{SOURCE_UID}")
        if self._same_source(found, prometheus_url):
            return False
        wanted: Document = {"uid": SOURCE_UID, "name": SOURCE_NAME, "type": "prometheus", "access": "proxy"}
        wanted["url"] = prometheus_url
        if found is None:
            self._call("POST", "/datasources", wanted | {"jsonData": {"httpMethod": "POST", "timeInterval": "15s"}})
        else:
            kept = {key: found[key] for key in ("basicAuth", "basicAuthUser", "isDefault", "jsonData") if key in found}
            self._call("PUT", f"/datasources/uid/{SOURCE_UID}", kept | wanted)
        return True

    def dashboard(self, document: Document) -> str:
        """``missing``, ``changed`` or ``current``."""
        found = self._find(f"/dashboards/uid/{quote(document['uid'], safe='')}")
        if found is None:
            return "missing"
        same = _essence(found["dashboard"]) == _essence(document) and found["meta"].get("folderUid") == FOLDER_UID
        return "current" if same else "changed"

    def save_dashboard(self, document: Document) -> bool:
        """Whether it was not there like that. Overwrites what people changed in it."""
        if self.dashboard(document) == "current":
            return False
        body = {"dashboard": document, "folderUid": FOLDER_UID, "overwrite": True, "message": "farm dashboards publish"}
        self._call("POST", "/dashboards/db", body)
        return True

    def annotate(self, notes: Sequence[Note]) -> int:
        """How many were not there yet."""
        if not notes:
            return 0
        wanted = "&".join(f"tags={tag}" for tag in TAGS)
        since = min(int(note.begin.timestamp() * 1000) for note in notes)
        until = max(int(note.end.timestamp() * 1000) for note in notes)
        found = self._call("GET", f"/annotations?{wanted}&from={since}&to={until}&limit={_MOST_ANNOTATIONS}")
        there = {tag for each in found for tag in each.get("tags") or ()}
        new = [note for note in notes if note.key not in there]
        for note in new:
            body = {
                "time": int(note.begin.timestamp() * 1000),
                "timeEnd": int(note.end.timestamp() * 1000),
                "tags": [*TAGS, note.key],
                "text": note.text,
            }
            self._call("POST", "/annotations", body)
        return len(new)

    def _same_source(self, found: Document | None, prometheus_url: str) -> bool:
        return found is not None and (found.get("type"), found.get("url")) == ("prometheus", prometheus_url)

    def _find(self, path: str) -> Document | None:
        try:
            found: Document = self._api.GET(path)
        except (GrafanaException, requests.RequestException) as error:
            if isinstance(error, GrafanaException) and error.status_code == 404:
                return None
            raise self._told(error) from error
        return found

    def _call(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            return getattr(self._api, verb)(path, json=body)
        except (GrafanaException, requests.RequestException) as error:
            raise self._told(error) from error

    def _told(self, error: GrafanaException | requests.RequestException) -> FarmError:
        if not isinstance(error, GrafanaException):
            return InfrastructureError(
                f"Grafana at {self._url} does not answer as one: {type(error).__name__}.",
                remedy="Is it up, and grafana_url right?",
            )
        said = f"Grafana at {self._url} refused: {error.message}."
        if error.status_code == 401:
            return AuthError(said, remedy="Put a valid service account token into the file of grafana_token_file.")
        if error.status_code == 403:
            return ForbiddenError(
                said, remedy="The service account needs the role Admin for data sources, else Editor."
            )
        if error.status_code >= 500:
            return InfrastructureError(said, remedy="See Grafana's log; then publish again.")
        return UserError(said, remedy="Is this Grafana 11 or newer? `farm dashboards check` shows what is there.")


def read_token(path: Path) -> str:
    """Raises ConfigError, which never shows what is in the file."""
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"grafana_token_file {path} cannot be read: {type(error).__name__}.", remedy="Correct it."
        ) from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"grafana_token_file {path} holds no token.",
            remedy="Put the token of a service account into it (Grafana: Administration, Service accounts).",
        )
    return token


def _essence(document: Document) -> Document:
    return {key: value for key, value in document.items() if key not in _OF_GRAFANA}
