"""Threads that run units of work: whatever has queued up meanwhile is run together.

A group costs one transaction and wakes the event loop once, however many units it has.
"""

import asyncio
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Unit = Callable[[Connection], T]
# What came of a unit: its result, or what it raised.
Outcome = tuple[Any, BaseException | None]


@dataclass(frozen=True, slots=True)
class _Queued:
    unit: Unit[Any]
    answer: asyncio.Future[Any]


class BatchExecutor:
    """One queue and the threads that empty it; each takes ``group_size`` units at most at once.

    ``run`` runs a group and returns an outcome for each of its units; what it raises is the
    outcome of all.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Unit[Any]]], Sequence[Outcome]],
        *,
        group_size: int,
        threads: int = 1,
    ) -> None:
        self._run = run
        self._group_size = group_size
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=name, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, unit: Unit[T]) -> asyncio.Future[T]:
        """Queue a unit; it runs even if whoever waits for it is cancelled."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Queued(unit, answer))
        return answer

    def close(self) -> None:
        """Run what is queued and end the threads; nothing may be submitted any more."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            if group:
                _tell(group, self._outcomes(group))

    def _next_group(self) -> tuple[list[_Queued], bool]:
        group: list[_Queued] = []
        while len(group) < self._group_size:
            try:
                queued = self._queue.get(block=not group)
            except queue.Empty:
                break
            if queued is None:
                return group, False
            group.append(queued)
        return group, True

    def _outcomes(self, group: Sequence[_Queued]) -> Sequence[Outcome]:
        outcomes, failure = capture_outcome(lambda: self._run([queued.unit for queued in group]))
        return outcomes if failure is None else [(None, failure)] * len(group)


def capture_outcome(run: Callable[[], Any]) -> Outcome:
    """Run something and return what came of it, whatever that is."""
    try:
        return run(), None
    except BaseException as error:  # noqa: BLE001 - handed to everyone who waits
        return None, error


def _tell(group: Sequence[_Queued], outcomes: Sequence[Outcome]) -> None:
    """Tell everyone who waits, each event loop in one go."""
    answers: defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome]]]
    answers = defaultdict(list)
    for queued, outcome in zip(group, outcomes, strict=True):
        answers[queued.answer.get_loop()].append((queued.answer, outcome))
    for loop, told in answers.items():
        # A loop that is closed has nobody who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_answer, told)


def _answer(told: Sequence[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for answer, (result, failure) in told:
        if answer.done():
            continue
        if failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(failure)
