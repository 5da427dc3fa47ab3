"""What the figures say, and how they are drawn."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gpukeeper.dashboard.charts import (
    draw_area,
    draw_stack,
    draw_strips,
    draw_timeline,
    round_top,
    ticks,
)
from gpukeeper.domain.instances import Status
from gpukeeper.domain.status_timeline import StatusPeriod, Window
from tests.dashboard.conftest import Dashboard

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_an_area_is_drawn_in_steps_below_a_round_number() -> None:
    drawn = draw_area([0.0, 1.5, 0.75])

    assert drawn.top == 2
    assert drawn.peak == 1.5
    assert drawn.line == "M0 100.0V100.0H1V25.0H2V62.5H3"
    assert drawn.fill == "M0 100V100.0V100.0H1V25.0H2V62.5H3V100Z"


def test_areas_lie_on_top_of_each_other_and_empty_ones_are_left_out() -> None:
    drawn = draw_stack({"running": [1.0, 1.0], "failed": [0.0, 0.0], "stopped": [0.0, 1.0]})

    assert [layer.name for layer in drawn.layers] == ["running", "stopped"]
    assert drawn.top == 2
    assert drawn.layers[1].fill == "M0 100V50.0V50.0H1V0.0H2V100Z"


def test_nothing_at_all_can_be_drawn() -> None:
    assert draw_area([]).peak == 0
    assert draw_stack({}).layers == ()
    assert draw_strips({}) == ()
    assert draw_timeline([], NOW) == ()


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (0.3, 0.3), (1, 1), (1.01, 2), (2.3, 3), (7, 8), (8.1, 10), (22, 30), (1000, 1000)],
)
def test_a_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert round_top(value) == pytest.approx(top)


def test_products_share_a_scale_and_the_quickest_comes_first() -> None:
    slow, quick = draw_strips({"slow": [8 * SECOND, 10 * SECOND], "quick": [SECOND, 2 * SECOND]})[
        ::-1
    ]

    assert (quick.name, quick.places, quick.median) == ("quick", (10.0, 20.0), SECOND)
    assert (slow.name, slow.places, slow.slowest) == ("slow", (80.0, 100.0), 10 * SECOND)


def test_a_span_is_never_too_narrow_to_be_seen_and_all_fill_the_bar() -> None:
    ends = [NOW + SECOND, NOW + 2 * SECOND, None]
    spans = [
        StatusPeriod(Status.REQUESTED, NOW, ends[0]),
        StatusPeriod(Status.STARTING, NOW + SECOND, ends[1]),
        StatusPeriod(Status.RUNNING, NOW + 2 * SECOND, None),
    ]

    laid = draw_timeline(spans, NOW + timedelta(days=30))

    assert min(piece.width for piece in laid) > 1
    assert sum(piece.width for piece in laid) == pytest.approx(100, abs=0.1)
    assert laid[1].took == SECOND


def test_ticks_are_evenly_spread() -> None:
    window = Window(NOW, NOW + timedelta(hours=4), 96)

    assert ticks(window) == tuple(NOW + timedelta(hours=number) for number in range(5))


async def test_trends_show_spending_statuses_and_times_to_running(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()
    await dashboard.rig.advance(hours=3)
    failed = await dashboard.rig.order(name="other", product_name="RTX 3090 24GB")
    await dashboard.rig.advance(minutes=3)

    page = await dashboard.get("/trends?last=day")

    assert running.machine.price_per_hour is not None
    spent = float(running.machine.price_per_hour) * 3
    assert f"${spent:.2f}" <= page.text.partition("at most; ")[2][:5] <= f"${spent + 0.05:.2f}"
    assert "2 \N{MULTIPLICATION SIGN} running" in page.text
    assert "Machines by status running 2" in page.text
    times = page.text.partition("From the order to running")[2]
    assert "RTX 4090 24GB" in times
    assert "RTX 3090 24GB" in times
    assert failed.status is Status.CREATING
    assert "Last week" in (await dashboard.get("/trends?last=week")).text
    assert "Spend rate" in (await dashboard.get("/trends?last=nonsense")).text


async def test_trends_of_a_young_service_are_of_the_time_that_there_was(
    dashboard: Dashboard,
) -> None:
    for number in range(4):
        await dashboard.rig.running(name=f"machine-{number}", max_price_per_hour=Decimal("0.175"))
    await dashboard.rig.advance(seconds=30)
    assert dashboard.rig.clock() - NOW < timedelta(minutes=20)

    pages = [await dashboard.get(path) for path in ("/trends", "/trends?last=day")]

    for page in pages:
        assert "$0.700 per hour now, $0.700 at most; $0." in page.text
        assert "$0.00" not in page.text
        assert "running 4" in page.text
        (running,) = page.all("path", class_="layer-running")
        # Of a scale to 4 machines, 4 are all of it.
        assert running["d"].endswith("V0.0H96V100Z")
        assert "4 2 0" in page.text
    assert pages[0].all("a", href="/trends?last=hour")[0]["aria-current"] == "true"


async def test_the_first_day_of_trends_is_the_last_one_and_a_week_has_dates(
    dashboard: Dashboard,
) -> None:
    await dashboard.rig.running()
    dashboard.rig.clock.at += timedelta(hours=30)

    page = await dashboard.get("/trends")
    week = await dashboard.get("/trends?last=week")

    assert page.all("a", href="/trends?last=day")[0]["aria-current"] == "true"
    assert re.search(r"1 Jan 00:0\d .* 2 Jan 06:0\d", week.text)


async def test_the_line_of_spending_is_shown_when_it_has_points(dashboard: Dashboard) -> None:
    await dashboard.rig.order()
    assert (await dashboard.get("/")).all("a", class_="spark") == []

    await dashboard.rig.advance(minutes=10)
    assert len((await dashboard.get("/")).all("a", class_="spark")) == 1


async def test_trends_of_an_empty_store_say_that_there_is_nothing(dashboard: Dashboard) -> None:
    page = await dashboard.get("/trends")

    assert "No machine existed in this time." in page.text
    assert "No instance came up in this time." in page.text
