"""How durations, money and times are written for people."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gpukeeper.dashboard import filters
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.instances import Command, PurchaseIntent, Status
from tests.domain.builders import NOW, offer, requested


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.42, "0.4 s"),
        (41, "41 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (7500, "2 h 5 min"),
        (7201, "2 h"),
        (90_061, "1 d 1 h"),
        (86_400, "1 d"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert filters.duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (0, "0 s"), (59, "59 s"), (61, "1 min"), (90_000, "1 d")]
)
def test_an_age_has_its_largest_unit(seconds: float, text: str) -> None:
    assert filters.age(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "—"),
        (Decimal(0), "$0.00"),
        (Decimal("0.004"), "< $0.01"),
        (Decimal(1234), "$1,234.00"),
    ],
)
def test_a_cost_is_in_cents_and_less_is_said_to_be_less(amount: Decimal | None, text: str) -> None:
    assert filters.cost(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(None, "—"), (Decimal("0.17500"), "$0.175"), (Decimal(2), "$2.000")]
)
def test_all_prices_have_the_same_places(amount: Decimal | None, text: str) -> None:
    assert filters.price(amount) == text


def test_a_moment_is_utc_and_an_unknown_one_is_a_dash() -> None:
    at = datetime(2026, 11, 3, 5, 2, 5, tzinfo=UTC)

    assert filters.moment(at) == "3 Nov 2026, 05:02:05 UTC"
    assert filters.machine_time(at) == "2026-11-03T05:02:05Z"
    assert filters.moment(None) == "—"


def test_words_between_backticks_are_code_and_everything_is_escaped() -> None:
    assert filters.inline("Send `<b>` or `x`, & go.") == (
        "Send <code>&lt;b&gt;</code> or <code>x</code>, &amp; go."
    )


def test_every_status_and_verb_has_its_words() -> None:
    assert set(filters.STATUS_MEANS) == set(Status)
    assert set(filters.CONSEQUENCES) == set(Command)
    assert all(filters.tone(word) for word in (*Status, *DeliveryStatus))


@pytest.mark.parametrize("status", [Status.REQUESTED, Status.FAILED, Status.DELETING])
def test_while_a_purchase_is_not_answered_no_page_says_that_nothing_was_bought(
    status: Status,
) -> None:
    row = requested(status=status, intent=PurchaseIntent(offer(), NOW))
    assert not filters.is_refused(row)
    said = filters.meaning(row).lower()
    assert "machine" in said
    assert "nothing" not in said
    assert "refused" not in said
