"""Any replica may be killed at any moment: the others take over, and nothing is done twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.replicas.lease_record import Held, Inheritance, inherited
from tests.replicas.run import run, summed_up

# `make replicas` takes 50.
KILLS = 3

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_killed_replicas_lose_and_double_nothing_and_are_taken_over_in_time(
    tmp_path: Path,
) -> None:
    figures = run(KILLS, directory=tmp_path)

    counts, takeovers = figures.counts, figures.takeovers
    assert counts.broken == ()
    assert counts.orders > 0
    assert counts.webhooks_announced > 0
    assert (counts.lost, counts.doubled, counts.orphans, counts.webhooks_missing) == (0, 0, 0, 0)
    assert takeovers.hits > 0
    # How long it took is a figure of `make replicas`: here only that it came about.
    assert takeovers.never == 0


def test_only_what_the_dead_held_last_is_counted_as_taken_over() -> None:
    changes = [
        held("instances 1", "a", "doomed", 0),
        held("instances 1", None, "doomed", 1),
        held("instances 1", "b", "other", 2),
        held("instances 2", "c", "doomed", 3),
        held("instances 2", "d", "other", 27),
        held("deliveries 3", "e", "doomed", 4),
        held("deliveries 5", "g", "other", 4),
    ]

    assert what_became(changes) == [
        ("instances 2", 22.0, 22.0, False),
        ("deliveries 3", None, None, True),
    ]


def test_what_others_put_off_is_owed_from_then_on() -> None:
    changes = [
        held("instances 1", "a", "doomed", 4, due=4),
        held("instances 1", "a", "other", 6, due=90),
        held("instances 1", "b", "third", 92, due=90),
        held("instances 2", "c", "doomed", 4, due=4),
        held("instances 2", "c", "other", 6, due=None),
    ]

    assert what_became(changes) == [
        ("instances 1", 2.0, 87.0, False),
        ("instances 2", None, None, False),
    ]


def test_what_is_late_and_what_is_left_behind_is_counted() -> None:
    takeovers = summed_up(
        [
            Inheritance("instances 1", "one", 20.0, since_kill=20.0),
            Inheritance("deliveries 2", "one", 31.5, since_kill=31.5),
            Inheritance("deliveries 3", "two", None, is_due=True),
            Inheritance("instances 4", "two", None),
            Inheritance("instances 5", "two", 1.0, since_kill=40.0),
        ]
    )

    assert (takeovers.hits, takeovers.rows) == (2, 5)
    assert takeovers.by_table == {"instances": 3, "deliveries": 2}
    assert (takeovers.late, takeovers.put_off) == (1, 1)
    assert (takeovers.settled, takeovers.never) == (1, 1)
    assert takeovers.longest == 31.5


def what_became(changes: list[Held]) -> list[tuple[str, float | None, float | None, bool]]:
    """Return what became of the rows of one who was killed in the fifth second."""
    return [
        (each.row_id, each.waited, each.since_kill, each.is_due)
        for each in inherited(changes, {"doomed": at(5)})
    ]


def held(row_id: str, token: str | None, by: str, second: int, *, due: int | None = 0) -> Held:
    """Return a change of a row."""
    return Held(row_id, token, None if due is None else at(due), by, at(second))


def at(second: int) -> datetime:
    """Return a moment."""
    return NOW + timedelta(seconds=second)
