"""What happened is derived from a change."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.events import ANNOUNCED, Change, Event, EventType
from gpukeeper.domain.instances import Status
from gpukeeper.domain.machines import SpotSignal
from tests.domain.builders import NOW, REPEATABLE, instance, requested
from tests.instances import edit

statuses = st.sampled_from(Status)
signals = st.sampled_from(SpotSignal)


@pytest.mark.parametrize("status", Status)
def test_every_status_has_an_event_of_its_name(status: Status) -> None:
    other = Status.STARTING if status is Status.RUNNING else Status.RUNNING
    name = "created" if status is Status.CREATING else status.value
    assert Change(instance(other), instance(status), NOW).event_types == (f"instance.{name}",)


def test_an_order_is_an_event_too() -> None:
    assert Change(None, requested(), NOW).event_types == (EventType.REQUESTED,)


def test_a_change_that_is_none_is_no_event() -> None:
    row = instance(Status.RUNNING)
    assert Change(row, edit(row, novita_status="running"), NOW).event_types == ()


@REPEATABLE
@given(statuses, signals, statuses, signals)
def test_a_change_of_status_has_exactly_one_event_and_a_notice_at_most_one(
    before: Status, was: SpotSignal, after: Status, is_now: SpotSignal
) -> None:
    change = Change(instance(before, spot_signal=was), instance(after, spot_signal=is_now), NOW)
    notices = [kind for kind in change.event_types if kind is EventType.RECLAIM_NOTIFIED]
    assert len(change.event_types) - len(notices) == (before is not after)
    assert len(notices) <= 1
    assert not notices or was is SpotSignal.NONE


def test_the_contracts_events_are_announced_and_the_way_between_is_not() -> None:
    way = {EventType.REQUESTED, EventType.STARTING, EventType.STOPPING, EventType.DELETING}
    beside = {EventType.SURPLUS_FOUND, EventType.SURPLUS_DELETED, EventType.PRICE_CHANGED}
    assert set(EventType) - way - beside == ANNOUNCED
    event = Event("evt_1", EventType.RUNNING, "ins_1", NOW, {})
    assert event.is_announced
    assert not replace(event, type=EventType.STARTING).is_announced
