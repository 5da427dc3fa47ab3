"""Ids sort by time, and a machine's name carries our mark and no other."""

import re
from datetime import datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpukeeper.domain.ids import (
    earliest_id,
    is_ours,
    new_deployment,
    new_id,
    novita_name,
    ordered_name,
)
from tests.domain.builders import NOW, REPEATABLE

ZEROS, ONES = bytes(10), b"\xff" * 10
names = st.from_regex(r"[A-Za-z0-9-]{1,48}", fullmatch=True)
times = st.timedeltas(timedelta(0), timedelta(days=36500)).map(lambda age: NOW + age)


@REPEATABLE
@given(times, times, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_a_later_id_sorts_after_an_earlier_one(
    one: datetime, other: datetime, first: bytes, second: bytes
) -> None:
    assume(abs(one - other) >= timedelta(milliseconds=2))
    is_later = new_id("ins", one, first) > new_id("ins", other, second)
    assert is_later == (one > other)


def test_an_id_is_its_prefix_and_26_characters_that_nobody_misreads() -> None:
    assert re.fullmatch(r"ins_[0-9a-hjkmnp-tv-z]{26}", new_id("ins", NOW, ONES))
    assert new_id("ins", NOW, ZEROS).endswith("0" * 16)
    assert new_id("ins", NOW, ONES).endswith("z" * 16)
    assert earliest_id("ins", NOW) == new_id("ins", NOW, ZEROS)


def test_every_random_bit_counts() -> None:
    flipped = [(1 << bit).to_bytes(10) for bit in range(80)]
    assert len({new_id("ins", NOW, random) for random in [ZEROS, *flipped]}) == 81


@REPEATABLE
@given(names, st.binary(min_size=3, max_size=3), st.binary(min_size=5, max_size=5))
def test_a_machines_name_carries_our_mark_and_fits_novitas_limit(
    name: str, deployment_bytes: bytes, order_bytes: bytes
) -> None:
    deployment = new_deployment(deployment_bytes)
    machine_name = novita_name(name, deployment, order_bytes)
    assert re.fullmatch(r"[A-Za-z0-9-]{1,63}", machine_name)
    assert is_ours(machine_name, deployment)
    assert ordered_name(machine_name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "trainer",
        "trainer-gk",
        "trainer-gkte5t",
        "te5t12345678",
        "trainer-te5t12345678",
        "trainer-gkte5t1234567",
        "trainer-gkte5t123456789",
        "trainer-gkx7hr12345678",
        "trainer-gkte5t1234567u",
        "trainer-gkte5t1234567I",
        "trainer-GKte5t12345678",
        "trainer-gkte5t12345678 copy",
    ],
)
def test_a_name_without_our_whole_mark_is_not_ours(name: str) -> None:
    assert not is_ours(name, "te5t")


def test_only_the_last_mark_counts() -> None:
    assert is_ours("a-gkx7hr12345678-gkte5t12345678", "te5t")
    assert ordered_name("a-gkx7hr12345678-gkte5t12345678") == "a-gkx7hr12345678"
    assert not is_ours("a-gkte5t12345678-gkx7hr12345678", "te5t")


def test_a_name_without_a_mark_was_ordered_as_it_is() -> None:
    assert ordered_name("console") == "console"
    assert ordered_name("-gkte5t12345678") == "-gkte5t12345678"
