"""``farm token``: who may do what. Works on the head's database, so it must run where that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import needs_extra
from farm.config import load
from farm.errors import NotFoundError
from farm.types import Role

if TYPE_CHECKING:
    from farm.store.database import Store

StateDirOption = Annotated[Path | None, typer.Option(help="State folder of the head, as given to `farm up`.")]

app = typer.Typer(help="Tokens of this machine's farm.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    role: Annotated[
        Role, typer.Option(help="viewer reads; user submits, too; agent joins devices; admin may do everything.")
    ] = Role.USER,
    state_dir: StateDirOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token. It is shown once; the farm keeps only its hash."""
    with open_store(state_dir) as store:
        from farm.server.tokens import issue_token

        token = issue_token(store, name, role)
    output.emit({"name": name, "role": role, "token": token}, as_json, Text(token))


@app.command("list")
def list_tokens(state_dir: StateDirOption = None, as_json: JsonFlag = False) -> None:
    """Names and roles; the tokens themselves are not kept."""
    with open_store(state_dir) as store, store.reading() as reading:
        found = reading.tokens()
    rows = [{"name": name, "role": role} for name, role in found]
    output.emit(rows, as_json, output.table(("name", "role"), found, "No token yet. `farm token create NAME`."))


@app.command()
def revoke(name: str, state_dir: StateDirOption = None, as_json: JsonFlag = False) -> None:
    """Make a token worthless at once."""
    with open_store(state_dir) as store, store.transaction() as transaction:
        transaction.revoke_token(name)
    output.emit({"revoked": name}, as_json, f"The token of {name} is revoked.")


@contextmanager
def open_store(state_dir: Path | None) -> Iterator[Store]:
    """The database of this machine's head, brought to this version. Raises NotFoundError where there is none."""
    settings = load(state_dir=state_dir)
    with needs_extra("head"):
        from farm.store.database import Store
    if settings.database_url is None:
        _check_folder(settings.state_dir)
    store = Store(settings.resolved_database_url)
    try:
        store.migrate()
        yield store
    finally:
        store.close()


def _check_folder(state_dir: Path) -> None:
    """A token in a database that no head reads would only puzzle."""
    if not (state_dir / "farm.db").exists():
        raise NotFoundError(
            f"There is no farm in {state_dir}.",
            remedy="Run this on the head's machine, with the --state-dir (or FARM_STATE_DIR) that `farm up` has; "
            "the first `farm up` prints a token.",
        )
