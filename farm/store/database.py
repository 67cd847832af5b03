"""The database: connections, transactions, schema migrations, and database errors as ``farm.errors``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import sqlalchemy as sa
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from farm.errors import ConfigError, InfrastructureError
from farm.store.reading import Reading
from farm.store.transaction import Transaction

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5
# Outgrows the API's 40 worker threads, so that no request waits for a connection.
_POOL = {"pool_size": 10, "max_overflow": 40}
# One writer at a time on PostgreSQL too: then events become visible in the order of their numbers, and who
# follows them by number misses none.
_POSTGRES_WRITER_LOCK = 7_073_070
_INCREMENTAL = 2  # as SQLite reports auto_vacuum

_OTHER_VERSION = "It is not set up for this version of the farm: `farm up` does that."
_REMEDIES = {
    "SQLITE_FULL": "The disk is full: free space where the database is (`farm doctor` shows it), then try again.",
    "SQLITE_BUSY": "Another process holds the database: try again; if it stays, end that process.",
    "SQLITE_READONLY": "Make the database and its folder writable for the user of the head.",
    "SQLITE_CANTOPEN": "Check that the folder of the database exists and is writable for the user of the head.",
    "SQLITE_IOERR": "Check the disk of the database.",
    "SQLITE_CORRUPT": "Restore the database from a backup; check the disk.",
    "SQLITE_NOTADB": "database_url names a file that is no database: correct it.",
    "SQLITE_ERROR": _OTHER_VERSION,
    "42P01": _OTHER_VERSION,
    "42703": _OTHER_VERSION,
    "53100": "The disk of the PostgreSQL server is full: free space there, then try again.",
    "55P03": "Another process holds the database: try again; if it stays, end that process.",
    "57014": "Another process holds the database: try again; if it stays, end that process.",
    "28P01": "Correct user and password in database_url.",
    "3D000": "Create the database, or correct its name in database_url.",
}


class Store:
    """The farm's only truth: ``sqlite:///path`` (WAL) or ``postgresql://...``.

    Every method and context manager raises InfrastructureError when the database cannot serve.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)

    def migrate(self) -> None:
        """Bring the schema to this version of the farm. Idempotent and safe in several processes at once."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.connected(writing=True) as connection:
            config.attributes["connection"] = connection
            try:
                alembic.command.upgrade(config, "head")
            except CommandError as error:
                raise InfrastructureError(
                    f"The database cannot be brought to this version of the farm: {error}.",
                    remedy="It was probably used by a newer one: upgrade torchfarm, or take another database.",
                ) from error

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Reads and writes, committed on exit, rolled back on error. Writers wait for each other."""
        with self.connected(writing=True) as connection:
            yield Transaction(connection)

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A consistent view; waits for no writer."""
        with self.connected(writing=False) as connection:
            yield Reading(connection)

    def free_pages(self, *, give_back: int) -> int:
        """Return up to so many unused pages of a SQLite file to the file system; how many are left. 0 elsewhere, and
        in a file of an older farm, which uses them again but does not shrink."""
        if self._engine.dialect.name != "sqlite":
            return 0
        with self.connected(writing=False) as connection:
            if connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() != _INCREMENTAL:
                return 0
            driver: Any = connection.connection.driver_connection
            try:
                # Python takes only the first step, one page, of a statement without rows, but all steps of a script.
                driver.executescript(f"PRAGMA incremental_vacuum({give_back})")
            except sqlite3.Error as error:
                raise DBAPIError("PRAGMA incremental_vacuum", None, error) from error
            return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())

    @contextmanager
    def connected(self, *, writing: bool) -> Iterator[sa.Connection]:
        """A transaction, for the modules of this package that have queries of their own."""
        postgres = self._engine.dialect.name == "postgresql"
        options: dict[str, Any] = {"farm_writing": writing}
        if postgres and not writing:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with (
            _database_errors(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            if postgres and writing:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_WRITER_LOCK)))
            yield connection


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "postgresql":
            connect = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
            return sa.create_engine(parsed, pool_pre_ping=True, connect_args=connect, **_POOL)
        if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
            raise ConfigError(
                f"database_url {parsed.render_as_string()!r} cannot be used.",
                remedy="Give sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE.",
            )
        return _sqlite_engine(parsed, Path(parsed.database))
    except ArgumentError as error:
        raise ConfigError(
            "database_url is no database URL.",
            remedy="Give sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE.",
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The database driver {error.name} is not installed.", remedy="pip install 'torchfarm[postgres]'"
        ) from error


def _sqlite_engine(url: sa.URL, path: Path) -> sa.Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfrastructureError(
            f"The folder {path.parent} for the database cannot be made: {error.strerror}.",
            remedy="Choose another state_dir, or make it writable.",
        ) from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, **_POOL)

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself: `begin` does
        if connection.execute("PRAGMA page_count").fetchone() == (0,):
            # Only a new file takes it, without a lock. Incremental: nothing is moved until retention asks for it.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A writer takes its lock at once: one that began as a reader could not wait for it.
        writing = connection.get_execution_options()["farm_writing"]
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise InfrastructureError("All database connections are in use.", remedy="Try again.") from error
    except (IntegrityError, DataError):
        raise  # the database serves; what it was asked to do is a mistake of ours
    except DBAPIError as error:
        raise _unusable(error) from error


def _unusable(error: DBAPIError) -> InfrastructureError:
    code = str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None) or "")
    remedy = next(
        (text for known, text in _REMEDIES.items() if code.startswith(known)),
        "Check that the database runs and that database_url is right (`farm doctor`).",
    )
    return InfrastructureError(f"The database does not serve: {str(error.orig).strip()}.", remedy=remedy)
