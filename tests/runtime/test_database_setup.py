"""A database that is not there yet is waited for, and not for ever."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import event, text

from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.process import check, migrate
from gpukeeper.runtime.database_setup import PATIENCE, explain_store_errors, open_database, upgrade
from gpukeeper.store import migrations
from gpukeeper.store.db import postgres as store_postgres
from tests.postgres import Databases, Server, server
from tests.runtime.conftest import Configure

# Nothing listens on the discard port.
_NOWHERE = "postgresql://postgres:hunter2-password@127.0.0.1:9/postgres"


@dataclass(slots=True)
class Waiting:
    """Time that passes only when it is waited for; the server comes with the third pause."""

    server: Server | None = None
    at: float = 500.0
    pauses: list[float] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        self.at += seconds
        self.pauses.append(seconds)
        if self.server is not None and len(self.pauses) == 3:
            self.server.start()

    def timer(self) -> float:
        return self.at


def test_a_server_that_does_not_come_is_waited_for_30_seconds(configure: Configure) -> None:
    settings = configure(GPUKEEPER_DATABASE_URL=_NOWHERE)
    waiting = Waiting()
    with pytest.raises(InvalidConfiguration) as failure:
        open_database(settings, pause=waiting.pause, timer=waiting.timer)
    assert sum(waiting.pauses) == PATIENCE.total_seconds() == 30
    (fault,) = failure.value.faults
    assert fault.field == "GPUKEEPER_DATABASE_URL"
    assert "cannot be used: " in fault.message
    assert "hunter2" not in fault.message


def test_what_is_waited_for_is_said_once(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting()
    with pytest.raises(InvalidConfiguration):
        open_database(
            configure(GPUKEEPER_DATABASE_URL=_NOWHERE), pause=waiting.pause, timer=waiting.timer
        )
    assert len(waiting.pauses) > 1
    assert len(caplog.records) == 1


def test_a_server_that_comes_in_time_is_used(configure: Configure) -> None:
    with server() as late:
        late.stop()
        waiting = Waiting(late)
        settings = configure(GPUKEEPER_DATABASE_URL=late.url)
        database = open_database(settings, pause=waiting.pause, timer=waiting.timer)
        with database.engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        database.close()
    assert len(waiting.pauses) == 3


def test_a_file_that_cannot_be_made_is_named(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    with pytest.raises(InvalidConfiguration, match=r"gpukeeper\.db cannot be opened"):
        open_database(configure())


def test_a_file_that_another_process_migrates_is_waited_for(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    settings = configure()
    migrate(settings)
    database = open_database(settings)
    event.listen(database.engine, "connect", be_impatient)
    with closing(sqlite3.connect(settings.database_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                other.execute("ROLLBACK")

        assert upgrade(database, settings, pause=pause, timer=lambda: 0.0) == migrations.newest()
    database.close()
    assert len(pauses) == 3
    assert [record.message.count("locked by another") for record in caplog.records] == [1]


def test_a_file_that_stays_locked_is_said_to_be(configure: Configure) -> None:
    settings = configure()
    migrate(settings)
    database = open_database(settings)
    event.listen(database.engine, "connect", be_impatient)
    waiting = Waiting()
    with closing(sqlite3.connect(settings.database_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(InvalidConfiguration, match="locked by another process"),
            explain_store_errors(settings),
        ):
            upgrade(database, settings, pause=waiting.pause, timer=waiting.timer)
    database.close()
    assert sum(waiting.pauses) == PATIENCE.total_seconds()


def be_impatient(connection: sqlite3.Connection, record: object) -> None:
    """Do not wait for the lock."""
    connection.execute("PRAGMA busy_timeout = 0").close()


def test_a_pooler_that_lends_sessions_is_refused_with_advice(
    configure: Configure, postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_postgres, "shares_sessions", lambda engine: True)
    with postgres.new() as url:
        settings = configure(GPUKEEPER_DATABASE_URL=url)
        with pytest.raises(InvalidConfiguration, match="pool_mode = session"):
            open_database(settings)
        assert "pool_mode = session" in check(settings)[1].message
