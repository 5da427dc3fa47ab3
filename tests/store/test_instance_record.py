"""Replicas of all versions read the same bodies, whatever the parts of an instance are."""

import json
from pathlib import Path

from gpukeeper.store import instance_record

# Written by the version whose instances had no parts, with something in every field.
STORED = json.loads(Path(__file__).with_name("instance_body.json").read_text())
# What a body has had from the beginning; the first versions knew no other keys.
FIRST_KEYS = ["id", "novita_name", "order", "status", "desired", "created_at", "deadline_at"]


def test_a_stored_body_is_read_whole_and_written_with_the_same_keys() -> None:
    row = instance_record.parse(json.dumps(STORED))
    assert json.loads(instance_record.dump(row)) == STORED


def test_a_body_without_the_keys_of_later_versions_is_read() -> None:
    first = {key: STORED[key] for key in FIRST_KEYS}
    row = instance_record.parse(json.dumps(first))
    assert (row.machine.novita_id, row.purchase.attempts, row.watch.misses) == (None, (), 0)
    assert json.loads(instance_record.dump(row)).keys() == STORED.keys()


def test_keys_of_a_newer_version_are_no_fault() -> None:
    newer = STORED | {"new_key": {"a": 1}}
    assert instance_record.parse(json.dumps(newer)) == instance_record.parse(json.dumps(STORED))
