"""``gpukeeper events``: the history, and what comes."""

import json

import httpx2
import pytest

from tests.cli.program import Program
from tests.client.fake_service import EVENT, INSTANCE, Json, problem

HISTORY = "GET /api/instances/ins_01k/events"
STREAM = "GET /api/events"
RUNNING: Json = {
    "id": "evt_01j",
    "type": "instance.running",
    "timestamp": "2026-11-23T05:14:02.000Z",
    "data": {"instance": INSTANCE, "previousStatus": "starting", "error": None},
}
TEST: Json = {
    "id": "evt_t",
    "type": "webhook.test",
    "timestamp": "2026-11-23T06:00:00.000Z",
    "data": {"message": "This is a test event of gpukeeper."},
}

TABLE = """\
TIME                  EVENT             FROM      STATUS   REASON
2026-11-23 05:14:02Z  instance.running  starting  running  -
2026-11-23 05:22:30Z  instance.failed   starting  failed   Not running after 600 s. [startup_timeout]
"""  # noqa: E501 - as wide as the table is

RUNNING_LINE = "2026-11-23 05:14:02Z  instance.running             trainer (ins_01k)  running\n"
FAILED_LINE = (
    "2026-11-23 05:22:30Z  instance.failed              trainer (ins_01k)  failed  "
    "Not running after 600 s. [startup_timeout]\n"
)
TEST_LINE = "2026-11-23 06:00:00Z  webhook.test\n"


def stream(*events: Json) -> httpx2.Response:
    """Return a stream that ends after these events."""
    blocks = [f"id: {number}\ndata: {json.dumps(each)}\n\n" for number, each in enumerate(events)]
    return httpx2.Response(200, text="".join(blocks))


def test_the_history_of_an_instance_is_a_table(program: Program) -> None:
    program.service.reply(HISTORY, {"events": [RUNNING, EVENT]})
    ended = program.run("events", "ins_01k")
    assert (ended.status, ended.stdout, ended.stderr) == (0, TABLE, "")


def test_types_leave_out_the_others(program: Program) -> None:
    program.service.reply(HISTORY, {"events": [RUNNING, EVENT]})
    ended = program.run("events", "ins_01k", "--type", "instance.failed", "-o", "json")
    assert json.loads(ended.stdout) == {"events": [EVENT]}


def test_following_an_instance_shows_its_history_first_and_nothing_twice(program: Program) -> None:
    program.service.reply(HISTORY, {"events": [RUNNING]})
    program.service.reply(STREAM, stream(RUNNING, EVENT), KeyboardInterrupt())
    ended = program.run("events", "ins_01k", "-f")
    assert (ended.status, ended.stdout) == (130, RUNNING_LINE + FAILED_LINE)
    assert program.service.asked[:2] == ["GET /api/events?instanceId=ins_01k", HISTORY]


def test_following_all_shows_what_comes(program: Program) -> None:
    program.service.reply(STREAM, stream(RUNNING, TEST), KeyboardInterrupt())
    ended = program.run("events", "--follow", "--type", "instance.running")
    assert (ended.status, ended.stdout) == (130, RUNNING_LINE + TEST_LINE)
    assert program.service.asked[0] == "GET /api/events?type=instance.running"


def test_followed_events_are_a_line_of_json_each(program: Program) -> None:
    program.service.reply(STREAM, stream(RUNNING, EVENT), KeyboardInterrupt())
    ended = program.run("events", "-f", "-o", "json")
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [RUNNING, EVENT]


def test_a_connection_that_breaks_is_told_and_made_again(program: Program) -> None:
    refused = httpx2.ConnectError("[Errno 111] Connection refused")
    program.service.reply(STREAM, stream(RUNNING), refused, stream(EVENT), KeyboardInterrupt())
    ended = program.run("events", "-f")
    assert ended.stdout == RUNNING_LINE + FAILED_LINE
    assert ended.stderr.startswith(
        "No answer from http://127.0.0.1:8080: Connection refused. Connecting again.\n"
    )


@pytest.mark.parametrize(
    ("reply", "status"),
    [(httpx2.ConnectError("refused"), 5), (problem(401, "unauthorized"), 6)],
)
def test_a_stream_that_cannot_be_had_ends_as_every_command(
    program: Program, reply: httpx2.Response | BaseException, status: int
) -> None:
    program.service.reply(STREAM, reply)
    assert program.run("events", "-f").status == status


def test_an_instance_must_be_named_without_following(program: Program) -> None:
    ended = program.run("events")
    assert ended.status == 2
    assert "Name an instance, or follow all with -f." in ended.stderr
