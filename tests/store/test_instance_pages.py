"""Pages of instances: newest first, each row once, narrowed by status and part of the name."""

import pytest

from gpukeeper.domain.instances import Status
from gpukeeper.store import pagination
from gpukeeper.store.db.database import Database
from tests.store.rows import an_instance, stored

Shown = tuple[list[int], int, int | None]


async def _page(
    database: Database,
    *,
    status: Status | None = None,
    name: str | None = None,
    before: int | None = None,
    limit: int = 10,
) -> Shown:
    rows, total, following = await database.read(
        lambda c: pagination.list_page(
            c, statuses=[status] if status else [], name=name, before=before, limit=limit
        )
    )
    return [int(row.id.removeprefix("ins_")) for row in rows], total, following


async def test_a_store_without_instances_has_an_empty_page(database: Database) -> None:
    assert await _page(database) == ([], 0, None)


async def test_pages_follow_each_other_newest_first_and_show_every_row_once(
    database: Database,
) -> None:
    await stored(database, *(an_instance(number) for number in range(1, 8)))
    seen: list[int] = []
    before: int | None = None
    sizes = []
    while True:
        numbers, total, before = await _page(database, before=before, limit=3)
        seen += numbers
        sizes.append(len(numbers))
        assert total == 7
        if before is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert sizes == [3, 3, 1]


async def test_a_page_that_is_exactly_full_is_the_last(database: Database) -> None:
    await stored(database, *(an_instance(number) for number in range(1, 4)))
    assert await _page(database, limit=3) == ([3, 2, 1], 3, None)


async def test_orders_that_come_in_between_do_not_shift_the_next_page(database: Database) -> None:
    await stored(database, *(an_instance(number) for number in range(1, 5)))
    _, _, before = await _page(database, limit=2)
    await stored(database, an_instance(5))
    assert await _page(database, before=before, limit=2) == ([2, 1], 5, None)


async def test_a_status_narrows_rows_and_total(database: Database) -> None:
    await stored(
        database,
        an_instance(1, status=Status.RUNNING),
        an_instance(2),
        an_instance(3, status=Status.RUNNING),
    )
    assert await _page(database, status=Status.RUNNING, limit=1) == ([3], 2, 3)
    assert await _page(database, status=Status.RUNNING, before=3) == ([1], 2, None)
    assert await _page(database, status=Status.LOST) == ([], 0, None)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("", [6, 5, 4, 3, 2, 1]),
        ("train", [2, 1]),
        ("TRAIN", [2, 1]),
        ("ner", [2, 1]),
        ("%", [3]),
        ("_", [4]),
        ("100%", [3]),
        ("a_b", [4]),
        ("/", [5]),
        ("\\", [6]),
        ("'", []),
        ("nothing", []),
    ],
)
async def test_a_part_of_a_name_is_taken_literally_and_in_any_case(
    database: Database, part: str, expected: list[int]
) -> None:
    names = ["trainer", "Trainer-2", "100%", "a_b", "a/b", "a\\b"]
    rows = [an_instance(number, order={"name": name}) for number, name in enumerate(names, 1)]
    await stored(database, *rows)
    numbers, total, _ = await _page(database, name=part)
    assert numbers == expected
    assert total == len(expected)


async def test_status_and_name_narrow_together(database: Database) -> None:
    await stored(
        database,
        an_instance(1, status=Status.RUNNING),
        an_instance(2, status=Status.RUNNING, order={"name": "other"}),
        an_instance(3),
    )
    assert await _page(database, status=Status.RUNNING, name="train") == ([1], 1, None)
