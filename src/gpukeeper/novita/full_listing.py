"""Read every page of a list whose first page may be number 0 or 1, and say whether that is all.

Novita does not document the number of the first page; most likely it is 1 and 0 means the same
(Novita API notes §3.2).  Reading starts at 0 and learns from the answers, so that a list that
starts at 1 costs one call too many only once.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass

from gpukeeper.domain.machines import Observation
from gpukeeper.novita.protocol import PAGE_SIZE, Page

# Pages beyond the expected ones that are still read, for lists that grow or repeat a page.
_SPARE_PAGES = 2
# Once it is known how many there are, so many are asked for side by side: a thousand pages one
# after the other would be a thousand times Novita's answer time.
_AT_A_TIME = 4


@dataclass(frozen=True, slots=True)
class Pages:
    """What was read: the ids of all machines, and those of them that were wanted.

    ``first`` is the number of the page to begin with next time.
    """

    ids: Set[str]
    machines: tuple[Observation, ...]
    is_complete: bool
    calls: int
    first: int


@dataclass(frozen=True, slots=True)
class _Read:
    """What is kept of a page once its machines were looked at."""

    ids: tuple[str, ...]
    unreadable: int
    total: int | None


def _every(_: Observation) -> bool:
    return True


async def read_pages(
    fetch: Callable[[int], Awaitable[Page]],
    *,
    first: int = 0,
    is_wanted: Callable[[Observation], bool] = _every,
) -> Pages:
    """Read all pages from number ``first`` (0 or 1) on, each machine once, as it was shown last.

    Machines that are not wanted are dropped page by page, so that a large fleet that says nothing
    new is never held.  The result is complete only when every row was readable and as many machines
    were seen as Novita counts.  Rows may move between pages meanwhile, so an absence still wants
    confirming.  Raises what ``fetch`` raises.
    """
    pages: list[_Read] = []
    seen: set[str] = set()
    wanted: dict[str, Observation] = {}

    def take_in(page: Page) -> None:
        for machine in page.machines:
            wanted.pop(machine.novita_id, None)
            if is_wanted(machine):
                wanted[machine.novita_id] = machine
        ids = tuple(machine.novita_id for machine in page.machines)
        seen.update(ids)
        pages.append(_Read(ids, page.unreadable, page.total))

    async def read(numbers: Sequence[int]) -> bool:
        known = len(seen)
        for page in await _all_of(fetch, numbers):
            take_in(page)
        return len(seen) > known

    number = first
    while True:
        numbers = range(number, number + _side_by_side(number, first, pages))
        brought_new = await read(numbers)
        number = numbers[-1]
        if _is_everything(seen, pages):
            break
        # Page 1 may repeat page 0, and page 0 may be empty: only later ones end a list.
        if not brought_new and (number >= 2 or first == 1):
            break
        if number - first >= _expected_pages(pages) + _SPARE_PAGES:
            break
        number += 1

    begin_next = 1 if first == 1 or _starts_at_one(pages) else 0
    if first == 1 and not _is_everything(seen, pages) and await read([0]):
        begin_next = 0
    return Pages(
        ids=seen,
        machines=tuple(wanted.values()),
        is_complete=_is_everything(seen, pages) and not any(page.unreadable for page in pages),
        calls=len(pages),
        first=begin_next,
    )


async def _all_of(fetch: Callable[[int], Awaitable[Page]], numbers: Sequence[int]) -> list[Page]:
    """Return these pages, in order; when one cannot be had, the others are not waited for."""
    if len(numbers) == 1:
        return [await fetch(numbers[0])]
    asked = [asyncio.ensure_future(fetch(number)) for number in numbers]
    try:
        return await asyncio.gather(*asked)
    finally:
        for each in asked:
            each.cancel()


def _side_by_side(number: int, first: int, pages: list[_Read]) -> int:
    """Return how many pages to ask for at once: of those that are surely there, if any."""
    is_learning = number < 2 or not pages
    left = 0 if is_learning else first + _expected_pages(pages) - number
    return min(max(left, 1), _AT_A_TIME)


def _is_everything(seen: Set[str], pages: list[_Read]) -> bool:
    """Whether nothing is left to read, by the last total that Novita gave."""
    last = pages[-1]
    if last.total is None or len(seen) < last.total:
        return False
    # More than Novita counts: it leaves some rows out of its count, so only a page that is not
    # full shows the end.
    return len(seen) == last.total or len(last.ids) < PAGE_SIZE


def _expected_pages(pages: list[_Read]) -> int:
    page_length = max(len(page.ids) + page.unreadable for page in pages)
    return math.ceil((pages[-1].total or 0) / max(page_length, 1))


def _starts_at_one(pages: list[_Read]) -> bool:
    """Whether page 1 was the first: page 0 was empty, or was the same page."""
    if len(pages) < 2 or not pages[1].ids:
        return False
    zero, one = pages[0].ids, pages[1].ids
    return not zero or zero == one
