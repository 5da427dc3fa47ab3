"""After an attempt a delivery is done, tried again later, or tried no more."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.deliveries import Delivery, DeliveryStatus, RetryPolicy, record_attempt
from gpukeeper.domain.events import Event, EventType
from tests.domain.builders import NOW, REPEATABLE, SECOND

POLICY = RetryPolicy(first=2 * SECOND, ceiling=60 * SECOND)
MIDDLE = 0.5
PENDING = Delivery(
    id="dlv_1",
    event=Event("evt_1", EventType.RUNNING, "ins_1", NOW, {}),
    url="https://hooks.example",
    is_trusted=True,
    lane="lane",
    status=DeliveryStatus.PENDING,
    created_at=NOW,
    due_at=NOW,
    allowed_attempts=4,
)


def tried(delivery: Delivery = PENDING, **changes: Any) -> Delivery:
    """Return a delivery after an attempt that failed, unless the changes say otherwise."""
    usual: dict[str, Any] = {
        "is_delivered": False,
        "is_gone": False,
        "retry_after": None,
        "now": NOW,
        "policy": POLICY,
        "random": MIDDLE,
    }
    return record_attempt(delivery, **{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"is_delivered": True}, DeliveryStatus.DELIVERED),
        ({"is_gone": True}, DeliveryStatus.ENDED),
        ({"is_delivered": True, "retry_after": SECOND}, DeliveryStatus.DELIVERED),
    ],
)
def test_a_final_answer_finishes_the_delivery(
    changes: dict[str, Any], status: DeliveryStatus
) -> None:
    done = tried(**changes)
    assert (done.status, done.attempts, done.due_at, done.finished_at) == (status, 1, None, NOW)


def test_a_failed_delivery_is_retried_three_times_with_doubled_delays() -> None:
    delivery, delays = PENDING, list[timedelta]()
    while delivery.status is DeliveryStatus.PENDING:
        delivery = tried(delivery)
        if delivery.due_at is not None:
            delays.append(delivery.due_at - NOW)
    assert delays == [2 * SECOND, 4 * SECOND, 8 * SECOND]
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.EXHAUSTED, 4)
    assert (delivery.due_at, delivery.finished_at) == (None, NOW)


def test_a_first_delay_above_the_ceiling_is_kept() -> None:
    policy = RetryPolicy(first=7200 * SECOND, ceiling=60 * SECOND)
    once = tried(policy=policy)
    assert once.due_at == NOW + 7200 * SECOND
    assert tried(once, policy=policy).due_at == NOW + 7200 * SECOND


@pytest.mark.parametrize(("asked", "seconds"), [(0, 2), (3, 3), (4, 4), (3600, 4)])
def test_the_receivers_wish_counts_between_once_and_twice_our_own_delay(
    asked: int, seconds: int
) -> None:
    assert tried(retry_after=asked * SECOND).due_at == NOW + timedelta(seconds=seconds)


@REPEATABLE
@given(
    st.integers(0, 60),
    st.none() | st.timedeltas(timedelta(0), timedelta(days=365)),
    st.floats(0, 1, exclude_max=True),
)
def test_no_receiver_puts_us_off_for_ever_or_is_hammered(
    attempts: int, retry_after: timedelta | None, random: float
) -> None:
    before = replace(PENDING, attempts=attempts, allowed_attempts=100)
    after = tried(before, retry_after=retry_after, random=random)
    assert after.status is DeliveryStatus.PENDING
    assert after.due_at is not None
    assert 0.8 * POLICY.first <= after.due_at - NOW <= 2.4 * POLICY.ceiling
