"""All pages are read whatever number the first one has, and what is missing is admitted."""

import asyncio
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.domain.errors import NovitaUnavailable
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.novita.full_listing import Pages, read_pages
from gpukeeper.novita.protocol import Page
from tests.novita.bodies import ASKED_AT


def observations(ids: Sequence[str]) -> tuple[Observation, ...]:
    return tuple(
        Observation(novita_id=novita_id, name="", word="running", phase=Phase.UP, at=ASKED_AT)
        for novita_id in ids
    )


class Fleet:
    """A paged list; ``zero`` is what page 0 is: ``first``, the ``same`` as page 1, or ``empty``."""

    def __init__(self, size: int, *, zero: str, page_length: int = 100) -> None:
        self.ids = [f"m{number}" for number in range(size)]
        self.zero = zero
        self.page_length = page_length
        self.asked: list[int] = []

    async def fetch(self, number: int) -> Page:
        self.asked.append(number)
        index = number
        if self.zero != "first":
            index = number - 1 if number or self.zero == "empty" else 0
        start = index * self.page_length
        ids = self.ids[start : start + self.page_length] if index >= 0 else []
        return Page(observations(ids), unreadable=0, total=len(self.ids))


class Script:
    """A list that answers each page number from a table, and nothing beyond it."""

    def __init__(self, total: int | None, *pages: Sequence[str], unreadable: int = 0) -> None:
        self.total = total
        self.pages = pages
        self.unreadable = unreadable
        self.asked: list[int] = []

    async def fetch(self, number: int) -> Page:
        self.asked.append(number)
        ids = self.pages[number] if number < len(self.pages) else []
        return Page(observations(ids), self.unreadable if ids else 0, self.total)


def ids_of(pages: Pages) -> list[str]:
    return [machine.novita_id for machine in pages.machines]


@pytest.mark.parametrize("zero", ["first", "same", "empty"])
@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250, 300])
@pytest.mark.parametrize("page_length", [100, 50, 7])
async def test_every_machine_is_found_once_however_pages_are_numbered_and_clamped(
    zero: str, size: int, page_length: int
) -> None:
    fleet = Fleet(size, zero=zero, page_length=page_length)
    pages = await read_pages(fleet.fetch)
    assert sorted(ids_of(pages)) == sorted(fleet.ids)
    assert pages.is_complete
    assert pages.calls == len(fleet.asked) <= max(math.ceil(size / page_length), 1) + 1


@settings(deadline=None)
@given(
    st.sampled_from(["first", "same", "empty"]),
    st.sampled_from(["first", "same", "empty"]),
    st.integers(min_value=0, max_value=500),
    st.integers(min_value=1, max_value=100),
)
async def test_what_was_learned_holds_and_is_unlearned_when_it_proves_wrong(
    zero: str, zero_later: str, size: int, page_length: int
) -> None:
    learned = await read_pages(Fleet(size, zero=zero, page_length=page_length).fetch)
    later = Fleet(size, zero=zero_later, page_length=page_length)
    pages = await read_pages(later.fetch, first=learned.first)
    assert pages.is_complete
    assert sorted(ids_of(pages)) == sorted(later.ids)
    if zero == zero_later:
        again = Fleet(size, zero=zero, page_length=page_length)
        steady = await read_pages(again.fetch, first=pages.first)
        assert steady.is_complete
        assert steady.calls == max(math.ceil(size / page_length), 1)


@pytest.mark.parametrize("size", [1, 100])
async def test_up_to_a_hundred_machines_cost_one_call(size: int) -> None:
    fleet = Fleet(size, zero="same")
    assert (await read_pages(fleet.fetch)).calls == 1


async def test_a_list_that_starts_at_one_costs_its_extra_call_only_once() -> None:
    fleet = Fleet(250, zero="same")
    first = await read_pages(fleet.fetch)
    assert (first.calls, first.first) == (4, 1)
    fleet.asked.clear()
    second = await read_pages(fleet.fetch, first=first.first)
    assert (second.calls, second.first, second.is_complete) == (3, 1, True)
    assert fleet.asked == [1, 2, 3]


async def test_a_list_that_turns_out_to_start_at_zero_is_read_whole_all_the_same() -> None:
    fleet = Fleet(250, zero="first")
    pages = await read_pages(fleet.fetch, first=1)
    assert pages.is_complete
    assert len(pages.machines) == 250
    assert pages.first == 0


async def test_a_short_list_is_not_complete() -> None:
    short = Script(5, ["a", "b"])
    pages = await read_pages(short.fetch)
    assert ids_of(pages) == ["a", "b"]
    assert not pages.is_complete
    assert len(short.asked) <= 4


async def test_a_short_list_does_not_unlearn_where_pages_start() -> None:
    pages = await read_pages(Script(5, ["a", "b"], ["a", "b"]).fetch, first=1)
    assert not pages.is_complete
    assert pages.first == 1


async def test_an_empty_list_that_claims_machines_is_not_complete() -> None:
    pages = await read_pages(Script(3).fetch)
    assert pages.machines == ()
    assert not pages.is_complete


async def test_an_empty_list_that_counts_nothing_is_complete() -> None:
    pages = await read_pages(Script(0).fetch)
    assert (pages.machines, pages.is_complete, pages.calls) == ((), True, 1)


async def test_without_a_total_nothing_is_complete_and_reading_ends() -> None:
    endless = Script(None, *[[f"m{number}"] for number in range(50)])
    pages = await read_pages(endless.fetch)
    assert not pages.is_complete
    assert pages.calls <= 3


async def test_a_row_that_could_not_be_read_makes_the_list_incomplete() -> None:
    pages = await read_pages(Script(2, ["a"], ["a"], unreadable=1).fetch)
    assert not pages.is_complete
    lucky = await read_pages(Script(1, ["a"], unreadable=1).fetch)
    assert not lucky.is_complete


async def test_rows_that_move_to_an_earlier_page_are_kept_once_and_the_last_total_counts() -> None:
    class Shifting(Script):
        async def fetch(self, number: int) -> Page:
            page = await super().fetch(number)
            self.total = 3
            return page

    pages = await read_pages(Shifting(4, ["a", "b"], ["b", "c"]).fetch)
    assert ids_of(pages) == ["a", "b", "c"]
    assert pages.is_complete


async def test_a_list_that_grew_while_it_was_read_is_not_complete() -> None:
    class Growing(Script):
        async def fetch(self, number: int) -> Page:
            self.total = 3 + number
            return await super().fetch(number)

    assert not (await read_pages(Growing(3, ["a", "b"], ["c"]).fetch)).is_complete


async def test_rows_that_the_total_leaves_out_do_not_hide_the_last_page() -> None:
    ids = [f"m{number}" for number in range(210)]
    pages = await read_pages(Script(150, ids[:100], ids[100:200], ids[200:]).fetch)
    assert len(pages.machines) == 210
    assert pages.is_complete


async def test_a_list_that_never_ends_is_given_up_as_incomplete() -> None:
    full_page = [f"m{number}" for number in range(100)]
    dripping = Script(1000, full_page, *[[f"late{number}"] for number in range(1000)])
    pages = await read_pages(dripping.fetch)
    assert not pages.is_complete
    assert pages.calls <= 13


async def test_a_page_that_fails_fails_the_whole_look() -> None:
    class Breaking(Fleet):
        async def fetch(self, number: int) -> Page:
            if number == 2:
                raise NovitaUnavailable
            return await super().fetch(number)

    with pytest.raises(NovitaUnavailable):
        await read_pages(Breaking(250, zero="first").fetch)


async def test_pages_that_are_surely_there_are_asked_for_four_at_a_time() -> None:
    fleet = Fleet(1000, zero="same")
    under_way, most = 0, 0

    async def fetch(number: int) -> Page:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await fleet.fetch(number)

    pages = await read_pages(fetch, first=1)
    assert pages.is_complete
    assert (pages.calls, most) == (10, 4)
    assert sorted(fleet.asked) == list(range(1, 11))


async def test_when_one_page_cannot_be_had_the_others_are_not_waited_for() -> None:
    fleet = Fleet(1000, zero="same")
    ended: list[int] = []

    async def fetch(number: int) -> Page:
        if number == 3:
            raise NovitaUnavailable
        if number > 3:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(number)
        return await fleet.fetch(number)

    with pytest.raises(NovitaUnavailable):
        await read_pages(fetch, first=1)
    await asyncio.sleep(0)
    assert ended == [4, 5]


async def test_of_machines_that_are_not_wanted_only_the_ids_are_kept() -> None:
    pages = await read_pages(
        Script(3, ["a", "b"], ["c"]).fetch, is_wanted=lambda seen: seen.novita_id == "b"
    )
    assert pages.ids == {"a", "b", "c"}
    assert [machine.novita_id for machine in pages.machines] == ["b"]
    assert pages.is_complete


async def test_a_machine_that_moves_between_pages_is_wanted_as_it_was_shown_last() -> None:
    shown: list[Observation] = []

    def is_wanted(seen: Observation) -> bool:
        shown.append(seen)
        return [each.novita_id for each in shown].count(seen.novita_id) == 1

    pages = await read_pages(Script(3, ["a", "b"], ["b", "c"]).fetch, is_wanted=is_wanted)
    assert pages.ids == {"a", "b", "c"}
    assert [machine.novita_id for machine in pages.machines] == ["a", "c"]
