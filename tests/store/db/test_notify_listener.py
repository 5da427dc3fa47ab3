"""What one process tells is heard by the others, also after a connection was lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from gpukeeper.domain.wakeups import LoopName
from gpukeeper.store.db import notify, notify_listener
from gpukeeper.store.db.database import Database
from gpukeeper.store.db.notify_listener import Listener
from gpukeeper.store.db.shared_clock import SharedClock
from tests.store.rows import NOW, SECOND

_END_LISTENERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'gpukeeper listening' AND datname = current_database()
"""
# Nothing listens on the discard port.
_NOWHERE = "postgresql://postgres@127.0.0.1:9/postgres"
_PATIENCE_SECONDS = 20
# Both replace what is waited for in service, so that no test waits for it.
_SOON_SECONDS = 0.01


@dataclass(slots=True)
class Ears:
    """What a listener has said so far."""

    signals: list[tuple[frozenset[LoopName], str | None]] = field(default_factory=list)
    missed: int = 0
    lost: list[str] = field(default_factory=list)
    back: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, wakes: Iterable[LoopName], instance_id: str | None) -> None:
        self.signals.append((frozenset(wakes), instance_id))
        self._changed.set()

    def miss(self) -> None:
        self.missed += 1
        self._changed.set()

    def lose(self, error: str) -> None:
        self.lost.append(error)
        self._changed.set()

    def return_(self) -> None:
        self.back += 1
        self._changed.set()

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait for what was heard to be so."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_listener, "_REST_SECONDS", _SOON_SECONDS)
    monkeypatch.setattr(notify_listener, "_HEARTBEAT_SECONDS", _SOON_SECONDS)


@asynccontextmanager
async def listening_to(url: str, ears: Ears, origin: str = "ours") -> AsyncIterator[Listener]:
    """Listen for as long as the block lasts."""
    listener = Listener(
        url,
        origin=origin,
        clock=SharedClock(NOW, steady=asyncio.get_running_loop().time),
        on_signal=ears.hear,
        on_missed=ears.miss,
        on_lost=ears.lose,
        on_back=ears.return_,
    )
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])


def do(url: str, statement: str) -> None:
    """Run a statement on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


async def tell(database: Database, *instance_ids: str) -> None:
    """Tell of changes of instances, as a process on this database does."""
    await database.write(
        lambda connection: notify.notify(connection, list(LoopName), instance_ids=instance_ids)
    )


async def test_what_another_process_tells_is_heard_and_what_we_tell_is_not(
    postgres_url: str, postgres_database: Database
) -> None:
    ears = Ears()
    ours = Database(postgres_url)
    async with listening_to(postgres_url, ears, ours.origin):
        await ears.until(lambda: ears.missed)
        await tell(ours, "ins_ours")
        await tell(postgres_database, "ins_theirs")
        await ears.until(lambda: ears.signals)
    ours.close()
    assert ears.signals == [(frozenset(LoopName), "ins_theirs")]
    assert (ears.missed, ears.lost) == (1, [])


async def test_each_of_several_instances_is_told_of_and_whom_to_wake_is_said_once(
    postgres_url: str, postgres_database: Database
) -> None:
    ears = Ears()
    ids = [f"ins_{number:026}" for number in range(300)]
    async with listening_to(postgres_url, ears):
        await ears.until(lambda: ears.missed)
        await tell(postgres_database, *ids)
        await ears.until(lambda: len(ears.signals) == len(ids))
    assert [instance_id for _, instance_id in ears.signals] == ids
    assert [wakes for wakes, _ in ears.signals if wakes] == [frozenset(LoopName)]


async def test_after_a_lost_connection_everyone_is_woken_and_signals_are_heard_again(
    postgres_url: str, postgres_database: Database
) -> None:
    ears = Ears()
    async with listening_to(postgres_url, ears) as listener:
        await ears.until(lambda: ears.missed == 1)
        do(postgres_url, _END_LISTENERS)
        await ears.until(lambda: ears.missed == 2)
        assert len(ears.lost) == 1
        assert listener.is_running
        await tell(postgres_database, "ins_after")
        await ears.until(lambda: ears.signals)
    assert ears.signals == [(frozenset(LoopName), "ins_after")]


async def test_the_time_is_the_databases_as_soon_as_it_is_asked(
    postgres_url: str, postgres_database: Database
) -> None:
    ears = Ears()
    async with listening_to(postgres_url, ears) as listener:
        # Whoever has heard something has asked before.
        await ears.until(lambda: ears.missed)
        await tell(postgres_database, "ins_any")
        await ears.until(lambda: ears.signals)
        assert listener.beat_at is not None
        distance = abs(listener.clock() - postgres_database.told_time())
    # The clock began on another day.
    assert distance < 5 * SECOND


async def test_what_is_no_signal_is_complained_of_and_the_next_one_is_heard(
    postgres_url: str, postgres_database: Database
) -> None:
    ears = Ears()
    async with listening_to(postgres_url, ears):
        await ears.until(lambda: ears.missed)
        strange = ("no json", "7", "[1, 2]", '["x", 5, null]', '["x", [["a"]], null]')
        for payload in strange:
            do(postgres_url, f"NOTIFY {notify.CHANNEL}, '{payload}'")
        await ears.until(lambda: len(ears.lost) == len(strange))
        await tell(postgres_database, "ins_after")
        await ears.until(lambda: ears.signals)
    assert all(complaint.startswith("not understood: ") for complaint in ears.lost)
    assert ears.missed == 1


async def test_a_server_that_is_away_is_asked_again_and_again_until_the_end() -> None:
    ears = Ears()
    async with listening_to(_NOWHERE, ears) as listener:
        await ears.until(lambda: len(ears.lost) == 3)
        assert listener.is_running
        assert listener.beat_at is None
    assert not listener.is_running
    assert (set(ears.lost), ears.missed) == ({"Connection refused"}, 0)


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_listener, "_PATIENCE_SECONDS", _SOON_SECONDS)
    ears = Ears()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, listening_to(f"postgresql://postgres@127.0.0.1:{port}/postgres", ears):
        await ears.until(lambda: ears.lost)
    assert ears.lost[0] == "TimeoutError"


def test_words_of_a_newer_version_are_left_out() -> None:
    known = next(iter(LoopName))
    signal = notify.parse_payload(f'["theirs", ["of tomorrow", "{known.value}"], null]')
    assert signal == notify.NotifyPayload("theirs", frozenset({known}), None)
