"""A store on SQLite, and on PostgreSQL too where ``FARM_TEST_POSTGRES_URL`` names a server.

The user in that URL must be allowed to create databases: every test gets one of its own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from farm.store.database import Store

POSTGRES_URL = os.environ.get("FARM_TEST_POSTGRES_URL")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgresql", marks=pytest.mark.skipif(not POSTGRES_URL, reason="FARM_TEST_POSTGRES_URL is not set")
        ),
    ]
)
def database_url(request, tmp_path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/farm.db"
        return
    assert POSTGRES_URL is not None
    server = sa.make_url(POSTGRES_URL).set(drivername="postgresql+psycopg")
    name = f"farm_test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.migrate()
    yield store
    store.close()
