"""``farm dashboards``: the farm's dashboards in a Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import farm
from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect, needs_extra
from farm.config import Settings, load
from farm.errors import ConfigError, InternalError
from farm.types import Run

if TYPE_CHECKING:
    from farm.metrics.grafana import Grafana, Note

app = typer.Typer(help="The farm's dashboards in a Grafana.", no_args_is_help=True)

_GRAFANA_URL = typer.Option("--grafana-url", help="Default: the setting grafana_url.")
_TOKEN_FILE = typer.Option("--token-file", help="Holds a service account's token; default: grafana_token_file.")
_PROMETHEUS_URL = typer.Option("--prometheus-url", help="As Grafana reaches it; default: the setting prometheus_url.")
UrlOption = Annotated[str | None, _GRAFANA_URL]
TokenOption = Annotated[Path | None, _TOKEN_FILE]
PrometheusOption = Annotated[str | None, _PROMETHEUS_URL]


@app.command("list")
def list_dashboards(as_json: JsonFlag = False) -> None:
    """Which there are. Asks no Grafana."""
    found = [
        {key: document[key] for key in ("uid", "title", "description")} | {"panels": len(document["panels"])}
        for document in documents()
    ]
    rows = [(one["uid"], one["title"], one["panels"], one["description"]) for one in found]
    output.emit(found, as_json, output.table(("uid", "title", "panels", "what it shows"), rows, ""))


@app.command()
def publish(
    context: typer.Context,
    grafana_url: UrlOption = None,
    token_file: TokenOption = None,
    prometheus_url: PrometheusOption = None,
    runs: Annotated[int, typer.Option(help="Mark so many of the last runs on the time line; 0: none.", min=0)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Bring folder, data source and dashboards to this version. Once more changes nothing."""
    settings = load(grafana_url=grafana_url, grafana_token_file=token_file, prometheus_url=prometheus_url)
    grafana, source_url = _grafana(settings), _source_url(settings)
    notes = _notes(context, runs) if runs else []
    done: list[tuple[str, str]] = [
        ("folder", _word(grafana.make_folder())),
        ("data source", _word(grafana.make_source(source_url))),
    ]
    done += [(document["title"], _word(grafana.save_dashboard(document))) for document in documents()]
    annotated = grafana.annotate(notes)
    value = {"published": dict(done), "annotated_runs": annotated}
    output.emit(value, as_json, output.table(("what", ""), [*done, ("runs annotated", annotated)], ""))


@app.command()
def check(
    grafana_url: UrlOption = None,
    token_file: TokenOption = None,
    prometheus_url: PrometheusOption = None,
    as_json: JsonFlag = False,
) -> None:
    """What in Grafana differs from this version; exit code 1 if something does. Changes nothing."""
    settings = load(grafana_url=grafana_url, grafana_token_file=token_file, prometheus_url=prometheus_url)
    grafana, source_url = _grafana(settings), _source_url(settings)
    found = [
        ("folder", "current" if grafana.folder() else "missing"),
        ("data source", "current" if grafana.source(source_url) else "missing or changed"),
    ]
    found += [(document["title"], grafana.dashboard(document)) for document in documents()]
    output.emit(dict(found), as_json, output.table(("what", ""), found, ""))
    if any(state != "current" for _, state in found):
        raise typer.Exit(1)


def documents() -> list[dict[str, Any]]:
    """In the order of their files' names. Raises InternalError where the package lacks them."""
    package = Path(farm.__file__).parent
    folders = (package / "dashboards", package.parent / "dashboards" / "json")  # installed, or a checkout
    found = next((files for folder in folders if (files := sorted(folder.glob("*.json")))), None)
    if found is None:
        raise InternalError("This installation has no dashboards.", remedy="Install torchfarm anew.")
    return [json.loads(file.read_text()) for file in found]


def _grafana(settings: Settings) -> Grafana:
    if settings.grafana_url is None or settings.grafana_token_file is None:
        raise ConfigError(
            "It is not known which Grafana is meant, or with which token.",
            remedy="Set grafana_url and grafana_token_file (docs/dashboards.md).",
        )
    with needs_extra("grafana"):
        from farm.metrics.grafana import Grafana, read_token
    return Grafana(settings.grafana_url, read_token(settings.grafana_token_file))


def _source_url(settings: Settings) -> str:
    if settings.prometheus_url is None:
        raise ConfigError(
            "It is not known which Prometheus Grafana is to ask.",
            remedy="Set prometheus_url, e.g. http://prometheus:9090.",
        )
    return settings.prometheus_url


def _notes(context: typer.Context, count: int) -> list[Note]:
    with connect(context) as client:
        return [note for run in client.runs(limit=count) if (note := _note(run))]


def _note(run: Run) -> Note | None:
    """None while it goes on."""
    from farm.metrics.grafana import Note

    if run.finished_at is None:
        return None
    text = f"Run {run.id}: {run.model_name}, {run.state}"
    return Note(f"run-{run.id}", text, run.created_at, run.finished_at)


def _word(changed: bool) -> str:
    return "published" if changed else "as it was"
