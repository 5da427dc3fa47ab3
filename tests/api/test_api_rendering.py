"""What is written once is written as it would be each time."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from gpukeeper.api import rendering
from gpukeeper.api.rendering import instance_json, page_json
from gpukeeper.contract.instances import describe_instance
from gpukeeper.contract.serialization import to_dict
from gpukeeper.service import Page, View
from tests.api.samples import NOW, RUNNING

SEEN = View(RUNNING, NOW, is_stale=False)


def test_an_instance_is_written_as_its_body_says() -> None:
    written = json.loads(instance_json(SEEN))
    assert written == to_dict(describe_instance(RUNNING, observed_at=NOW, is_stale=False))


def test_an_instance_that_has_not_changed_is_written_once() -> None:
    assert instance_json(SEEN) is instance_json(View(RUNNING, NOW, is_stale=False))


def test_an_instance_is_written_anew_with_whatever_is_seen_of_it() -> None:
    later = NOW + timedelta(minutes=1)
    for view in (SEEN, View(RUNNING, later, is_stale=False), View(RUNNING, later, is_stale=True)):
        written = json.loads(instance_json(view))
        assert written == to_dict(
            describe_instance(RUNNING, observed_at=view.observed_at, is_stale=view.is_stale)
        )
    renamed = replace(RUNNING, id="ins_other")
    assert json.loads(instance_json(replace(SEEN, instance=renamed)))["id"] == "ins_other"


def test_a_page_has_its_instances_and_where_the_next_begins() -> None:
    page = Page((SEEN, SEEN), 7, "next")
    body = to_dict(describe_instance(RUNNING, observed_at=NOW, is_stale=False))
    assert json.loads(page_json(page)) == {
        "instances": [body, body],
        "total": 7,
        "nextCursor": "next",
    }
    assert page_json(page) is page_json(page)
    assert json.loads(page_json(Page((), 0, None))) == {
        "instances": [],
        "total": 0,
        "nextCursor": None,
    }


def test_of_many_instances_the_last_ones_stay_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_CAPACITY", 2)
    monkeypatch.setattr(rendering, "_written", {})
    first, second, third = (replace(SEEN, instance=replace(RUNNING, id=id_)) for id_ in "abc")
    written = [instance_json(view) for view in (first, second, third)]
    assert instance_json(second) is written[1]
    assert instance_json(third) is written[2]
    assert instance_json(first) is not written[0]
    assert instance_json(first) == written[0]
