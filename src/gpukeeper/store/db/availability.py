"""Whether the database works, as the units that ran on it have met it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from gpukeeper.domain.errors import StoreUnavailable

Probe = Callable[[], Awaitable[object]]
# Gets what is wrong, or None when that is over.
OnOutage = Callable[[str | None], None]


def _tell_nobody(_: str | None) -> None:
    """Tell nobody."""


class Availability:
    """What any unit has met, until the same is proved well again.

    ``on_change`` is told of each trouble that is another one than before, and of its end.
    """

    def __init__(self) -> None:
        self.on_change: OnOutage = _tell_nobody
        self._met: str | None = None
        self._prove: Probe | None = None
        self._proof: asyncio.Task[None] | None = None

    def meet(self, sentence: str, prove: Probe) -> None:
        """Note what a unit has met, and what proves that it is over by returning.

        A proof raises StoreUnavailable while it is not.
        """
        is_news = sentence != self._met
        self._met, self._prove = sentence, prove
        if is_news:
            self.on_change(sentence)

    async def trouble(self, *, patience_seconds: float) -> str | None:
        """Return what is wrong, or None; a proof that takes longer than the patience is none yet.

        One that is under way is waited for again, and not begun twice.
        """
        is_begun = self._proof is not None and not self._proof.done()
        await self._wait(patience_seconds)
        if is_begun and self._proof is not None and self._proof.done():
            # What began before we asked says nothing of now.
            await self._wait(patience_seconds)
        return self._met

    async def _wait(self, seconds: float) -> None:
        if self._prove is None:
            return
        if self._proof is None or self._proof.done():
            self._proof = asyncio.create_task(self._try(self._prove))
        await asyncio.wait([self._proof], timeout=seconds)

    async def _try(self, prove: Probe) -> None:
        # Whatever a proof meets proves nothing; after a close nobody asks any more.
        with suppress(StoreUnavailable, SQLAlchemyError, RuntimeError):
            await prove()
            # Another unit may have met something meanwhile.
            if self._prove is prove:
                self._met = self._prove = None
                self.on_change(None)
