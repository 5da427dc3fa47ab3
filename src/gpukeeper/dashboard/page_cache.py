"""Keep what is costly to make and the same for everyone who looks, for a moment."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

# Addresses are as many as people type; more than these are not looked at at the same time.
_MOST_KEPT = 64


@dataclass(slots=True)
class PageCache:
    """Values under keys; equal questions at the same time share one answer."""

    _values: dict[Hashable, tuple[int, datetime, Any]] = field(default_factory=dict)
    _turns: dict[Hashable, asyncio.Lock] = field(default_factory=dict)

    async def get(
        self,
        key: Hashable,
        make: Callable[[], Awaitable[T]],
        *,
        version: int,
        now: datetime,
        keep_for: timedelta,
    ) -> T:
        """Return what is kept under the key, or make it.

        It is kept for as long as it is of this ``version`` and younger than ``keep_for``.  Raises
        what ``make`` raises, and keeps nothing then.
        """
        async with self._turns.setdefault(key, asyncio.Lock()):
            known = self._values.get(key)
            if known is not None and known[0] >= version and now - known[1] < keep_for:
                value: T = known[2]
                return value
            self._drop_oldest()
            try:
                made = await make()
                self._values[key] = (version, now, made)
            finally:
                # Of what could not be made, nothing may stay: a caller invents any number of keys.
                if key not in self._values:
                    self._turns.pop(key, None)
            return made

    def _drop_oldest(self) -> None:
        if len(self._values) >= _MOST_KEPT:
            oldest = min(self._values, key=lambda key: self._values[key][1])
            del self._values[oldest]
            self._turns.pop(oldest, None)
