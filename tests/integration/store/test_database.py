"""Connections, transactions, migrations, and what a database that fails looks like to the farm."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alembic.autogenerate
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext

from farm.errors import ConfigError, InfrastructureError
from farm.store import database
from farm.store.database import Store
from farm.store.tables import metadata
from farm.types import Role
from tests.values import NOW, blob, device, model_spec, sha256

POSTGRES_URL = os.environ.get("FARM_TEST_POSTGRES_URL")


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)


class TestMigrations:
    def test_they_make_the_tables_that_the_code_uses(self, store: Store, database_url: str) -> None:
        with engine_of(database_url).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert alembic.autogenerate.compare_metadata(context, metadata) == []

    def test_twice_is_once(self, store: Store) -> None:
        with store.transaction() as t:
            t.upsert_device(device(), NOW)
        store.migrate()
        with store.reading() as r:
            assert len(r.devices()) == 1

    def test_in_several_processes_at_once(self, database_url: str) -> None:
        script = "import sys; from farm.store.database import Store; Store(sys.argv[1]).migrate()"
        started = [
            subprocess.Popen([sys.executable, "-c", script, database_url], stderr=subprocess.PIPE) for _ in range(3)
        ]
        assert [(process.communicate(timeout=60)[1], process.returncode) for process in started] == [(b"", 0)] * 3

    def test_a_newer_database_is_refused(self, store: Store, database_url: str) -> None:
        with engine_of(database_url).begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from-the-future'"))
        with pytest.raises(InfrastructureError, match="upgrade torchfarm"):
            store.migrate()

    def test_a_database_without_tables_says_so(self, database_url: str) -> None:
        store = Store(database_url)
        with pytest.raises(InfrastructureError, match="devices"), store.reading() as r:
            r.devices()


class TestTransactions:
    def test_an_error_takes_everything_back(self, store: Store) -> None:
        with pytest.raises(KeyError), store.transaction() as t:
            t.upsert_device(device(), NOW)
            raise KeyError
        with store.reading() as r:
            assert r.devices() == []

    def test_a_reader_sees_one_state_throughout_and_waits_for_nobody(self, store: Store) -> None:
        with store.reading() as r:
            assert r.devices() == []
            with store.transaction() as t:
                t.upsert_device(device(), NOW)
                with store.reading() as other:
                    assert other.devices() == []
            assert r.devices() == []
        with store.reading() as r:
            assert len(r.devices()) == 1

    def test_writers_take_turns(self, store: Store) -> None:
        """Each reads, then writes what it read plus one: no update is lost and nobody is turned away."""
        with store.transaction() as t:
            t.upsert_device(device(labels={"count": "0"}), NOW)

        def add_ten() -> None:
            for _ in range(10):
                with store.transaction() as t:
                    count = int(t.device("host-a").labels["count"])
                    t.upsert_device(device(labels={"count": str(count + 1)}), NOW)

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(add_ten) for _ in range(8)]:
                done.result(timeout=60)
        with store.reading() as r:
            assert r.device("host-a").labels == {"count": "80"}

    def test_who_follows_events_by_number_misses_none(self, store: Store) -> None:
        from tests.integration.store.test_transaction import submit

        with store.transaction() as t:
            run = submit(t)
        writing = threading.Event()
        writing.set()

        def write(subject: str) -> None:
            for number in range(25):
                with store.transaction() as t:
                    t.append_event(run.id, "job", subject, str(number), "", NOW)

        seen: list[int] = []

        def follow() -> None:
            seq = 0
            while True:
                last_round = not writing.is_set()
                with store.reading() as r:
                    events = r.events_after(seq)
                if events:
                    seq = events[-1].seq
                    seen.extend(event.seq for event in events)
                elif last_round:
                    return

        with ThreadPoolExecutor(5) as pool:
            follower = pool.submit(follow)
            for done in [pool.submit(write, str(n)) for n in range(4)]:
                done.result(timeout=60)
            writing.clear()
            follower.result(timeout=60)
        with store.reading() as r:
            assert seen == [event.seq for event in r.events_after(0)]
        assert len(seen) == 101

    def test_more_threads_than_a_server_has(self, store: Store) -> None:
        barrier = threading.Barrier(15)

        def read() -> int:
            with store.reading() as r:
                barrier.wait(timeout=30)
                return len(r.devices())

        with ThreadPoolExecutor(15) as pool:
            assert [done.result(timeout=60) for done in [pool.submit(read) for _ in range(15)]] == [0] * 15


class TestSqlite:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "deep" / "farm.db"

    @pytest.fixture
    def store(self, path: Path) -> Store:
        store = Store(f"sqlite:///{path}")
        store.migrate()
        return store

    def test_it_keeps_what_it_promised_through_kill_9(self, store: Store, path: Path) -> None:
        script = textwrap.dedent(
            """
            import os, signal, sys
            from farm.store.database import Store
            from farm.types import Role
            from tests.values import NOW, sha256
            store = Store(sys.argv[1])
            with store.transaction() as t:
                t.add_token("kept", Role.USER, sha256("kept"), NOW)
            with store.transaction() as t:
                t.add_token("lost", Role.USER, sha256("lost"), NOW)
                os.kill(os.getpid(), signal.SIGKILL)
            """
        )
        root = Path(__file__).parents[3]
        done = subprocess.run([sys.executable, "-c", script, f"sqlite:///{path}"], cwd=root, timeout=60, check=False)
        assert done.returncode == -9
        with store.reading() as r:
            assert r.tokens() == [("kept", Role.USER)]

    def test_a_writer_that_never_ends_is_reported(self, store: Store, path: Path, monkeypatch) -> None:
        monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.2)
        impatient = Store(f"sqlite:///{path}")
        with store.transaction(), pytest.raises(InfrastructureError, match="Another process holds"):
            with impatient.transaction():
                pass

    def test_a_file_that_is_no_database(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"diary" * 1000)
        with pytest.raises(InfrastructureError, match="no database"):
            Store(f"sqlite:///{path}").migrate()

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "deep").write_text("")
        with pytest.raises(InfrastructureError, match="cannot be made"):
            Store(f"sqlite:///{tmp_path}/deep/farm.db")

    def test_a_damaged_file(self, store: Store, path: Path) -> None:
        with store.transaction() as t:
            for number in range(50):
                t.upsert_device(device(f"d{number}", labels={"x": "y" * 500}), NOW)
        store.close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'devices'").fetchone()[0]
        connection.close()
        content = bytearray(path.read_bytes())
        content[(root - 1) * page : root * page] = b"\xff" * page
        path.write_bytes(content)
        with pytest.raises(InfrastructureError, match="backup"), store.reading() as r:
            r.devices()

    def test_a_full_disk_is_said_and_loses_nothing(self, tmp_path: Path) -> None:
        """On a real file system of 1 MiB, mounted in a namespace of its own."""
        if shutil.which("unshare") is None:
            pytest.skip("needs unshare")
        script = textwrap.dedent(
            """
            import sys
            from farm.errors import InfrastructureError
            from farm.store.database import Store
            from tests.values import NOW, device
            store = Store(f"sqlite:///{sys.argv[1]}/farm.db")
            store.migrate()
            added = 0
            try:
                while True:
                    with store.transaction() as t:
                        t.upsert_device(device(f"d{added}", labels={"x": "y" * 20_000}), NOW)
                    added += 1
            except InfrastructureError as error:
                assert "disk is full" in error.remedy, error
            with store.reading() as r:
                assert len(r.devices()) == added > 0
            print("said so")
            """
        )
        mount = 'mount -t tmpfs -o size=1m none "$1" || exit 77; exec "$2" -c "$3" "$1"'
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parents[3],
        )
        if done.returncode == 77 or "unshare" in done.stderr:
            pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
        assert done.stdout == "said so\n", done.stderr


class TestPostgres:
    def test_a_server_that_does_not_run(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        pytest.importorskip("psycopg")
        with pytest.raises(InfrastructureError, match="does not serve"):
            Store(f"postgresql://farm@127.0.0.1:{port}/farm").migrate()

    @pytest.mark.skipif(not POSTGRES_URL, reason="FARM_TEST_POSTGRES_URL is not set")
    def test_a_database_that_does_not_exist(self) -> None:
        url = sa.make_url(str(POSTGRES_URL)).set(database="farm_nowhere")
        with pytest.raises(InfrastructureError, match="farm_nowhere"):
            Store(url.render_as_string(hide_password=False)).migrate()

    @pytest.mark.skipif(not POSTGRES_URL, reason="FARM_TEST_POSTGRES_URL is not set")
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_lost_connection_is_replaced(self, store: Store, database_url: str) -> None:
        with store.reading() as r:
            r.devices()
        with engine_of(database_url).connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        with store.reading() as r:
            assert r.devices() == []

    @pytest.mark.skipif(not POSTGRES_URL, reason="FARM_TEST_POSTGRES_URL is not set")
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_writer_that_never_ends_is_reported(self, store: Store, database_url: str, monkeypatch) -> None:
        monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 1)
        with store.transaction(), pytest.raises(InfrastructureError, match="Another process holds"):
            with Store(database_url).transaction():
                pass

    @pytest.mark.skipif(not POSTGRES_URL, reason="FARM_TEST_POSTGRES_URL is not set")
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_connection_lost_in_the_middle_is_reported(self, store: Store, database_url: str) -> None:
        with pytest.raises(InfrastructureError), store.transaction() as t:
            t.upsert_device(device(), NOW)
            with engine_of(database_url).connect() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            t.add_model(model_spec(program=blob("m", sha256("m"))), "ada", NOW)


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "oracle://db/farm"])
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://"):
        Store(url)
