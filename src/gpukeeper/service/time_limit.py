"""Bound how long a caller waits for what is asked of Novita on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from gpukeeper.domain.errors import NovitaTimeout, RateLimited
from gpukeeper.novita.client import NovitaClient

# Every read is answered within 10 s; the rest is for the store, and for the way back.
READ_LIMIT = timedelta(seconds=9)

# A shorter pause between two calls is the usual pace.
_PAUSE = timedelta(seconds=1)


@asynccontextmanager
async def limit_time(limit: timedelta, novita: NovitaClient) -> AsyncIterator[None]:
    """Give up what Novita is asked inside after ``limit``, retries and pauses included.

    Raises RateLimited when it is held back because Novita asked for a pause, else NovitaTimeout.
    """
    try:
        async with asyncio.timeout(limit.total_seconds()):
            yield
    except TimeoutError as error:
        pause = novita.pause
        if pause > _PAUSE:
            raise RateLimited("Novita asked for a pause.", retry_after=pause) from error
        seconds = limit.total_seconds()
        raise NovitaTimeout(f"Novita has not answered within {seconds:g} s.") from error
