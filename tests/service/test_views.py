"""How fresh an instance is, and the texts that lead from page to page."""

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.errors import InvalidOrder
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.service.views import (
    CachedPage,
    View,
    build_view,
    decode_cursor,
    encode_cursor,
)
from gpukeeper.store.facts import SweepState
from tests.instances import edit
from tests.store.rows import NOW, SECOND, an_instance

PATIENCE = 150 * SECOND
WATCHED = an_instance(
    1, status=Status.RUNNING, novita_id="nv1", accepted_at=NOW, observed_at=NOW + 30 * SECOND
)


def _at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def _viewed(
    row: Instance = WATCHED,
    *,
    at: float = 100,
    patience: timedelta | None = PATIENCE,
    **looks: Any,
) -> View:
    return build_view(row, SweepState(**looks), _at(at), patience=patience)


def test_a_machine_that_was_seen_lately_is_fresh() -> None:
    assert _viewed() == View(WATCHED, _at(30), is_stale=False)


def test_a_complete_look_that_changed_nothing_makes_it_fresher() -> None:
    seen = _viewed(at=300, seen_at=_at(290), tried_at=_at(291))
    assert seen == View(WATCHED, _at(290), is_stale=False)


def test_an_older_look_does_not_make_it_older() -> None:
    assert _viewed(seen_at=_at(10)).observed_at == _at(30)


def test_a_machine_that_was_never_observed_is_as_fresh_as_the_look_that_showed_it() -> None:
    row = edit(WATCHED, observed_at=None)
    assert _viewed(row, seen_at=_at(60)).observed_at == _at(60)


@pytest.mark.parametrize(
    "facts",
    [
        {"doubts": 1},
        {"misses": 1},
        {"confirm_at": NOW},
        {"accepted_at": NOW + 400 * SECOND},
        {"accepted_at": None},
    ],
)
def test_a_look_that_did_not_agree_with_the_row_does_not_make_it_fresher(
    facts: dict[str, Any],
) -> None:
    row = edit(WATCHED, **facts)
    assert _viewed(row, at=300, seen_at=_at(290)) == View(row, _at(30), is_stale=True)


@pytest.mark.parametrize(("at", "is_stale"), [(180, False), (180.000001, True)])
def test_a_machine_is_stale_when_no_look_came_for_too_long(at: float, is_stale: bool) -> None:
    assert _viewed(at=at).is_stale is is_stale


@pytest.mark.parametrize(
    ("accepted_at", "at", "is_stale"), [(NOW + 99 * SECOND, 200, False), (None, 200, True)]
)
def test_a_machine_that_nobody_saw_yet_is_as_old_as_its_purchase(
    accepted_at: datetime | None, at: float, is_stale: bool
) -> None:
    row = edit(WATCHED, observed_at=None, accepted_at=accepted_at)
    assert _viewed(row, at=at) == View(row, None, is_stale=is_stale)


def test_without_looks_at_the_settled_fleet_nothing_is_late() -> None:
    assert not _viewed(at=1e6, patience=None).is_stale


def test_a_machine_is_stale_after_a_look_that_failed() -> None:
    assert _viewed(error="Novita did not answer in time.", tried_at=_at(90)).is_stale
    assert _viewed(error="Novita did not answer in time.").is_stale


def test_a_machine_that_was_refreshed_after_a_look_that_failed_is_fresh() -> None:
    refreshed = edit(WATCHED, observed_at=_at(95))
    assert not _viewed(refreshed, error="Novita did not answer.", tried_at=_at(90)).is_stale


@pytest.mark.parametrize("facts", [{"novita_id": None}, {"gone_at": NOW}])
def test_where_there_is_no_machine_nothing_is_stale(facts: dict[str, Any]) -> None:
    row = edit(WATCHED, **facts)
    seen = _viewed(row, at=1e6, error="Novita did not answer.", seen_at=_at(60))
    assert seen == View(row, _at(30), is_stale=False)


@given(st.integers(1, 2**62 - 1))
def test_a_cursor_leads_back_to_where_the_page_ended(number: int) -> None:
    cursor = encode_cursor(number)
    assert cursor is not None
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(cursor) == number


def test_no_cursor_is_the_first_page_and_the_last_page_has_none() -> None:
    assert encode_cursor(None) is None
    assert decode_cursor(None) is None


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "A",
        "=",
        "MTI=x",
        _cursor("0"),
        _cursor("-1"),
        _cursor("1.5"),
        _cursor("abc"),
        _cursor(str(2**62)),
        _cursor("9" * 5000),
    ],
)
def test_a_text_that_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidOrder) as failure:
        decode_cursor(cursor)
    assert [fault.field for fault in failure.value.faults] == ["cursor"]


@given(st.text(max_size=30))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    try:
        number = decode_cursor(text)
    except InvalidOrder:
        return
    assert number is not None
    assert 0 < number < 2**62


def _listed(*rows: Instance) -> CachedPage:
    return CachedPage(rows, 7, 3, SweepState())


def test_a_page_has_the_views_of_its_rows() -> None:
    page = _listed(WATCHED).page(_at(100), patience=PATIENCE)
    assert page.views == (_viewed(),)
    assert (page.total, decode_cursor(page.next_cursor)) == (7, 3)


def test_a_page_is_the_same_until_time_makes_one_of_its_machines_stale() -> None:
    settled = an_instance(2, status=Status.DELETED)
    later = edit(WATCHED, observed_at=_at(60))
    listed = _listed(WATCHED, settled, later)
    fresh = listed.page(_at(100), patience=PATIENCE)
    # The first is late after 180 seconds, the other after 210.
    assert listed.page(_at(180), patience=PATIENCE) is fresh
    stale = listed.page(_at(181), patience=PATIENCE)
    assert [view.is_stale for view in stale.views] == [True, False, False]
    assert listed.page(_at(210), patience=PATIENCE) is stale
    staler = listed.page(_at(211), patience=PATIENCE)
    assert [view.is_stale for view in staler.views] == [True, False, True]
    assert listed.page(_at(9999), patience=PATIENCE) is staler


def test_a_page_is_made_anew_when_the_clock_is_set_back() -> None:
    listed = _listed(WATCHED)
    assert listed.page(_at(181), patience=PATIENCE).views[0].is_stale
    assert not listed.page(_at(100), patience=PATIENCE).views[0].is_stale


def test_a_page_whose_machines_are_never_late_is_the_same_for_ever() -> None:
    listed = _listed(WATCHED)
    assert listed.page(_at(0), patience=None) is listed.page(_at(1e9), patience=None)
