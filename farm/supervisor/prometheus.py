"""A Prometheus of the farm's own: the program found on PATH, started with a configuration made here, on loopback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml

import farm
from farm.errors import ConfigError, InternalError
from farm.supervisor.child import Child

PROGRAM = "prometheus"
GET_IT = "Install it (Debian: `apt install prometheus`; else from prometheus.io), or set remote_write_url to one."
_RETENTION = "400d"  # a year of nights, and a month to look back from it
_SCRAPE_SECONDS = 15
_LATE = "7d"  # how old what is pushed may be


def find() -> str:
    """Raises ConfigError."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise ConfigError("There is no Prometheus on PATH.", remedy=GET_IT)
    return found


def rules() -> list[Path]:
    """The farm's recording rules and alerts. Raises InternalError where the package lacks them."""
    package = Path(farm.__file__).parent
    folders = (package / "dashboards" / "rules", package.parent / "dashboards" / "rules")  # installed, or a checkout
    found = next((files for folder in folders if (files := sorted(folder.glob("*.yml")))), None)
    if found is None:
        raise InternalError("This installation has no rules for Prometheus.", remedy="Install torchfarm anew.")
    return found


def configuration(head_url: str, token_file: Path) -> str:
    """YAML. What to scrape, Prometheus asks the head."""

    def access() -> dict[str, object]:
        return {"authorization": {"type": "Bearer", "credentials_file": str(token_file)}}

    targets = {"url": f"{head_url}/metrics/targets", "refresh_interval": f"{_SCRAPE_SECONDS}s", **access()}
    document = {
        "global": {"scrape_interval": f"{_SCRAPE_SECONDS}s"},
        "rule_files": [str(path) for path in rules()],
        "storage": {"tsdb": {"out_of_order_time_window": _LATE}},
        "scrape_configs": [{"job_name": "farm", "http_sd_configs": [targets], **access()}],
    }
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text


def prepare(folder: Path, head_url: str, token: str) -> Path:
    """Write the configuration and the token that it refers to, for the owner's eyes only. The configuration's path."""
    folder.mkdir(exist_ok=True, mode=0o700)
    token_file, path = folder / "token", folder / "prometheus.yml"
    with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)
    path.write_text(configuration(head_url, token_file))
    return path


def command(program: str, config: Path, port: int) -> list[str]:
    return [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--storage.tsdb.retention.time={_RETENTION}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=exemplar-storage",
    ]


def child(config: Path, port: int, log_folder: Path) -> Child:
    """Raises ConfigError where there is no Prometheus."""
    return Child("prometheus", command(find(), config, port), {}, log_folder)
