"""The ``farm`` command: one module per noun."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import farm
from farm.cli import (
    builds,
    dashboards,
    devices,
    metrics,
    models,
    notifications,
    phone_runtime,
    regressions,
    runs,
    sweep,
    tokens,
    toolchains,
    tools,
    virtual,
)
from farm.cli.agent import agent
from farm.cli.compare import compare
from farm.cli.doctor import doctor
from farm.cli.gate import gate
from farm.cli.history import history
from farm.cli.output import report_error
from farm.cli.recipes import recipes
from farm.cli.report import report
from farm.cli.session import Target
from farm.cli.submit import submit
from farm.cli.tune import tune
from farm.cli.up import up
from farm.errors import FarmError, UserError

app = typer.Typer(
    name="farm",
    help="Which variant of a PyTorch model to ship on which device, in numbers you can trust.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torchfarm {farm.__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The farm to speak to (FARM_URL).", show_default=False)] = None,
    token: Annotated[str | None, typer.Option(help="Better: FARM_TOKEN or farm.toml.", show_default=False)] = None,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    context.obj = Target(url, token)


app.command()(up)
app.command()(agent)
app.add_typer(virtual.app, name="virtual")
app.add_typer(devices.app, name="devices")
app.add_typer(models.app, name="models")
app.command()(submit)
app.command()(tune)
app.add_typer(runs.app, name="runs")
app.add_typer(sweep.app, name="sweep")
app.command()(compare)
app.command()(gate)
app.command()(history)
app.command()(report)
app.command()(recipes)
app.add_typer(builds.app, name="builds")
app.add_typer(toolchains.app, name="toolchains")
app.add_typer(metrics.app, name="metrics")
app.add_typer(regressions.app, name="regressions")
app.add_typer(notifications.app, name="notifications")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(phone_runtime.app, name="phone-runtime")
app.add_typer(tools.app, name="tools")
app.command()(doctor)
app.add_typer(tokens.app, name="token")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line. Returns the exit code: 2 for the user's mistakes, 1 for other failures."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words  # also when the line cannot be parsed
    try:
        # Typer words its usage errors itself, except for machines.
        return app(words, prog_name="farm", standalone_mode=not as_json) or 0
    except FarmError as error:
        return report_error(error, as_json)
    except typer.TyperException as error:
        return report_error(UserError(error.format_message(), remedy="`farm --help` lists commands and options."), True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


if __name__ == "__main__":
    sys.exit(main())
