"""The real process is killed at bad moments: nothing is lost, doubled or forgotten."""

from pathlib import Path

from tests.crash.run import run

# `make crash` takes 200; the first of its seeds have every kind of moment.
KILLS = 20


def test_kill_9_at_bad_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    figures = run(KILLS, directory=tmp_path)

    counts = figures.counts
    assert counts.broken == ()
    assert figures.kills == sum(figures.moments.values()) == KILLS
    assert counts.orders > 0
    assert counts.webhooks_announced > 0
    assert (counts.lost, counts.doubled, counts.orphans, counts.webhooks_missing) == (
        0,
        0,
        0,
        0,
    )
