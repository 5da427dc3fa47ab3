"""The clock that the whole service goes by, which does not follow a jump before it is confirmed."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from gpukeeper.domain import clock_trust
from gpukeeper.domain.clock_trust import ClockDoubt
from gpukeeper.store.db.database import Database
from gpukeeper.store.db.shared_clock import newest_time
from gpukeeper.telemetry import get_logger

# The loops read the clock every few seconds, so longer a process was stopped, or both clocks lie.
LONGEST_LAPSE = timedelta(seconds=60)
# A service that was off asks Novita what time it is before it takes orders, and waits no longer.
_PATIENCE = timedelta(seconds=10)
# How often it is looked whether the clock is in doubt, and how often Novita is asked if so.
_EVERY = timedelta(seconds=1)
_ASK_EVERY = timedelta(seconds=10)


def read_steady_clock() -> float:
    """Return seconds that never jump, and that pass while the machine sleeps where it can tell."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class TrustedClock:
    """Tells the time by a ``source``, unless that has jumped ahead (``domain/clock_trust.py``).

    ``newest`` is the time that was stored last.  ``longest_lapse`` is how long the process is never
    silent for; without it, a pause of the process is no jump.  ``on_change`` is told of each doubt,
    and None of its end.  May be asked from any thread.
    """

    def __init__(
        self,
        source: Callable[[], datetime],
        *,
        steady: Callable[[], float],
        newest: datetime | None,
        longest_lapse: timedelta | None,
        on_change: Callable[[ClockDoubt | None], None],
    ) -> None:
        self._source = source
        self._steady = steady
        self._longest_lapse = longest_lapse
        self._on_change = on_change
        self._reading = threading.Lock()
        self._time = clock_trust.begin_time(newest, source(), steady())
        if self._time.doubt is not None:
            on_change(self._time.doubt)

    def __call__(self) -> datetime:
        """Return the time."""
        return self._read().at

    @property
    def doubt(self) -> ClockDoubt | None:
        """Why the source is not followed at present, if it is not."""
        return self._read().doubt

    @property
    def ahead(self) -> timedelta:
        """By how much the source is ahead and not followed; nothing while it is."""
        doubt = self.doubt
        return timedelta(0) if doubt is None else doubt.ahead

    def hear(self, date: str | None) -> None:
        """Take note of what an answer of Novita's says in its ``Date``, if anything."""
        novita = None if date is None else _parsed(date)
        if novita is not None:
            self._read(novita)

    def _read(self, novita: datetime | None = None) -> clock_trust.TrustedTime:
        with self._reading:
            before, source = self._time, self._source()
            after = clock_trust.read_time(
                before, source, self._steady(), longest_lapse=self._longest_lapse
            )
            if novita is not None:
                after = clock_trust.check_with_novita(after, source, novita)
            self._time = after
        is_news = (before.doubt is None) is not (after.doubt is None)
        if is_news or (before.doubt and after.doubt and before.doubt.ahead != after.doubt.ahead):
            self._on_change(after.doubt)
        return after


def open_clock(
    database: Database,
    source: Callable[[], datetime],
    *,
    steady: Callable[[], float],
    may_jump: bool = True,
) -> TrustedClock:
    """Return the clock of a service that starts on this database.  Raises StoreError."""
    newest = None
    if may_jump:
        with database.engine.connect() as connection:
            newest = newest_time(connection)
    return TrustedClock(
        source,
        steady=steady,
        newest=newest,
        # Where others share the database, their time has gone on while this process was stopped.
        longest_lapse=LONGEST_LAPSE if may_jump and not database.is_shared else None,
        on_change=_tell,
    )


async def settle_once(clock: TrustedClock, ask: Callable[[], Awaitable[None]]) -> None:
    """Have Novita asked for the time once if it is in doubt; do not wait for it for long."""
    if clock.doubt is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                await ask()


async def settle_forever(clock: TrustedClock, ask: Callable[[], Awaitable[None]]) -> None:
    """Have Novita asked for as long as the time is in doubt, whenever it is; never returns."""
    while True:
        rest = _EVERY
        if clock.doubt is not None:
            await ask()
            rest = _ASK_EVERY
        await asyncio.sleep(rest.total_seconds())


def _tell(doubt: ClockDoubt | None) -> None:
    log = get_logger("gpukeeper")
    if doubt is None:
        log.info("clock_trusted")
    else:
        log.warning(
            "clock_jumped",
            ahead_seconds=doubt.ahead.total_seconds(),
            consequence="time goes on from before, until Novita's time confirms the jump",
        )


def _parsed(date: str) -> datetime | None:
    """Return the time of an HTTP date; None for one that cannot be understood."""
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo is not None else None
