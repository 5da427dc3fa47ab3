"""Keep what was read from a SQLite file for as long as nobody has changed the file.

SQLite tells a connection whether any other one, of whatever process, has committed since it asked
last (``PRAGMA data_version``).  That is a look into memory that the processes share, so it costs a
hundredth of a read, and waits for nobody: it may be asked from the event loop.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# In rows: two of the longest pages, or as many single ones; some 4 kB each.
_CAPACITY = 2_000


@dataclass(frozen=True, slots=True)
class _Answer:
    task: asyncio.Task[Any]
    size: int


class ReadCache:
    """What was read since the last commit; whoever asks gets what a read at that moment would give.

    Holds ``capacity`` rows at most.  Used from one event loop; :meth:`close` from any thread.
    """

    def __init__(self, path: Path, *, capacity: int = _CAPACITY) -> None:
        self._path = path
        self._capacity = capacity
        self._closing = threading.Lock()
        self._is_closed = False
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        # What SQLite has said in this turn of the event loop.
        self._told: int | None = None
        # The oldest first.
        self._answers: dict[Hashable, _Answer] = {}
        self._size = 0

    async def read(
        self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]], *, size: int
    ) -> T:
        """Return what ``read`` gives, or gave under this key since the last commit.

        Whoever asks while it is being read waits for the same answer.  ``size`` is how many rows
        it has at most.  Raises what ``read`` raises, which is not kept.
        """
        version = self._told or self._ask()
        if version is None:
            return await read()
        if version != self._version:
            self._version, self._size = version, 0
            self._answers.clear()
        # It is younger than the version: had there been a commit since, there would be another.
        found = self._answers.get(key)
        task: asyncio.Task[T] = self._begin(key, read, size) if found is None else found.task
        # Whoever is cancelled does not take the answer from those who wait beside him.
        return task.result() if task.done() else await asyncio.shield(task)

    def close(self) -> None:
        """Close the connection, and keep nothing any more; idempotent."""
        with self._closing:
            self._is_closed = True
            if self._connection is not None:
                self._connection.close()

    def _ask(self) -> int | None:
        """Return what changes with every commit of any connection; None when it cannot be told.

        It holds for whoever goes on in this turn of the event loop: what he waited for, such as his
        request or his own commit, came before the question.  Whoever is woken by anything that
        comes after it goes on behind the end of the turn, which is where it is forgotten.
        """
        self._told = self._current()
        if self._told is not None:
            asyncio.get_running_loop().call_soon(self._end_turn)
        return self._told

    def _end_turn(self) -> None:
        self._told = None

    def _current(self) -> int | None:
        with self._closing:
            if self._is_closed:
                return None
            # Whoever reads instead meets the same trouble, and tells of it.
            with suppress(sqlite3.Error):
                if self._connection is None:
                    self._connection = _connect(self._path)
                # All of it is fetched: a statement that is not at its end would see no commit.
                ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
                return int(version)
        return None

    def _begin(
        self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]], size: int
    ) -> asyncio.Task[T]:
        answer = _Answer(asyncio.create_task(read()), size)
        if size <= self._capacity:
            self._answers[key] = answer
            self._size += size
            while self._size > self._capacity:
                self._drop(next(iter(self._answers)))
            answer.task.add_done_callback(lambda _: self._forget_failed(key, answer))
        return answer.task

    def _forget_failed(self, key: Hashable, answer: _Answer) -> None:
        has_failed = answer.task.cancelled() or answer.task.exception() is not None
        if has_failed and self._answers.get(key) is answer:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self._size -= self._answers.pop(key).size


def _connect(path: Path) -> sqlite3.Connection:
    # It must never wait for another process, and never create the file.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
