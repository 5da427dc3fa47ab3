"""What is kept for a moment: made once for all who ask, and anew as soon as something changed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gpukeeper.dashboard.page_cache import PageCache

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Maker:
    """Makes a value that counts how often it was made."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        self.made += 1
        return self.made


async def get(
    kept: PageCache, make: Maker, *, version: int = 1, at: float = 0, key: object = "page"
) -> int:
    now = NOW + at * SECOND
    return await kept.get(key, make, version=version, now=now, keep_for=2 * SECOND)


async def test_all_who_ask_at_the_same_time_share_one_answer() -> None:
    kept, make = PageCache(), Maker()

    assert await asyncio.gather(*(get(kept, make) for _ in range(50))) == [1] * 50


async def test_it_is_made_anew_after_a_while_or_a_change() -> None:
    kept, make = PageCache(), Maker()

    assert await get(kept, make) == 1
    assert await get(kept, make, at=1.9) == 1
    assert await get(kept, make, at=2) == 2
    assert await get(kept, make, at=2, version=2) == 3
    # Whoever looked for changes a moment earlier takes what is newer.
    assert await get(kept, make, at=2, version=1) == 3


async def test_what_could_not_be_made_is_tried_again() -> None:
    kept = PageCache()

    async def fail() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        await kept.get("page", fail, version=1, now=NOW, keep_for=SECOND)
    assert kept._turns == {}
    assert await get(kept, Maker()) == 1


async def test_no_more_is_kept_than_is_looked_at() -> None:
    kept, make = PageCache(), Maker()
    for number in range(200):
        await get(kept, make, key=number, at=number / 1000)

    assert await get(kept, make, key=199, at=0.2) == 200
    assert await get(kept, make, key=0, at=0.2) == 201
