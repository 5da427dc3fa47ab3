"""``GET /api/events``: what a client of the stream sees, in process."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from gpukeeper.api.server_sent_events import Pace
from gpukeeper.domain.events import EventType
from gpukeeper.domain.instances import Status
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.nudges import Nudges
from gpukeeper.service.feed import Feed
from gpukeeper.store import migrations
from gpukeeper.store.db.database import Database, sqlite_url
from tests.api.conftest import Lines
from tests.api.double import ServiceDouble
from tests.api.samples import RUNNING
from tests.api.stream_driver import following
from tests.store.rows import an_instance, an_outbox, became, stored

OUTBOX = an_outbox()
# Long enough never to come in these tests, and short enough to come at once.
NEVER, AT_ONCE = timedelta(minutes=5), timedelta(milliseconds=5)

Write = Callable[[], "asyncio.Future[None]"]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Give a database with the rows of two instances, whose events are 1 and 2."""
    database = Database(sqlite_url(tmp_path / "test.db"))
    migrations.upgrade(database.engine)
    await stored(database, an_instance(1), an_instance(2), outbox=OUTBOX)
    yield database
    database.close()


@pytest.fixture
async def feed(database: Database, service: ServiceDouble) -> AsyncIterator[Feed]:
    """Give the feed that the application follows, with a loop that turns it when nudged."""
    nudges, nudged = Nudges(), asyncio.Event()
    nudges.connect(LoopName.EVENTS, nudged.set)
    service.feed = feed = Feed(database, nudges)

    async def turn() -> None:
        while True:
            await nudged.wait()
            nudged.clear()
            await feed.turn()

    task = asyncio.create_task(turn())
    yield feed
    task.cancel()
    await asyncio.wait((task,))


@pytest.fixture
def quiet(feed: Feed, make_app: Callable[..., FastAPI]) -> FastAPI:
    """Return an application whose streams have no heartbeats and never stall."""
    return make_app(stream_pace=Pace(heartbeat=NEVER, stall=NEVER))


async def happen(database: Database, feed: Feed, *statuses: Status, number: int = 1) -> None:
    """Take an instance through these statuses."""
    await became(database, f"ins_{number:06}", *statuses, outbox=OUTBOX)
    feed.nudges.wake(LoopName.EVENTS)


async def test_a_stream_begins_with_where_it_is_and_when_to_come_back(quiet: FastAPI) -> None:
    async with following(quiet) as stream:
        assert await stream.block() == {"retry": "2000", "": "heartbeat", "id": "2"}
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    assert stream.headers["x-accel-buffering"] == "no"
    assert "content-length" not in stream.headers


async def test_an_event_is_told_as_the_history_of_its_instance_shows_it(
    quiet: FastAPI, database: Database, feed: Feed
) -> None:
    async with following(quiet) as stream:
        await stream.block()
        await happen(database, feed, Status.CREATING)
        event = await stream.event()
    assert event is not None
    data = json.loads(event["data"])
    assert (event["id"], event["event"]) == ("3", "instance.created")
    assert data["type"] == "instance.created"
    assert data["id"].startswith("evt_")
    assert data["data"]["instance"]["id"] == "ins_000001"
    assert data["data"]["previousStatus"] == "requested"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ((("lastEventId", "1"),), {}),
        ((), {"last-event-id": "1"}),
        ((("lastEventId", "0"),), {"last-event-id": "1"}),
        ((("lastEventId", "1"),), {"last-event-id": ""}),
    ],
)
async def test_a_stream_goes_on_after_the_event_that_was_seen_last(
    quiet: FastAPI,
    database: Database,
    feed: Feed,
    query: tuple[tuple[str, str], ...],
    headers: dict[str, str],
) -> None:
    await happen(database, feed, Status.CREATING)
    async with following(quiet, *query, headers=headers) as stream:
        events = [await stream.event(), await stream.event()]
    assert [event and event["id"] for event in events] == ["2", "3"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ((("instanceId", "ins_000002"),), ["5", "6"]),
        ((("instanceId", "ins_000001"), ("instanceId", "ins_000002")), ["3", "4", "5", "6"]),
        ((("type", "instance.created"),), ["3", "5"]),
        ((("type", "instance.created"), ("type", "instance.lost")), ["3", "5", "6"]),
        ((("type", "instance.lost"), ("instanceId", "ins_000002")), ["6"]),
        ((("type", ""), ("instanceId", "")), ["3", "4", "5", "6"]),
    ],
)
async def test_a_stream_tells_only_what_is_wanted(
    quiet: FastAPI,
    database: Database,
    feed: Feed,
    service: ServiceDouble,
    query: tuple[tuple[str, str], ...],
    expected: list[str],
) -> None:
    for number in (1, 2):
        row = an_instance(number)
        service.rows[row.id] = row
    async with following(quiet, *query) as stream:
        await stream.block()
        await happen(database, feed, Status.CREATING, Status.STARTING, number=1)
        await happen(database, feed, Status.CREATING, Status.LOST, number=2)
        seen = list[str]()
        while len(seen) < len(expected):
            event = await stream.event()
            assert event is not None
            seen.append(event["id"])
    assert seen == expected


async def test_an_instance_may_be_named_by_novitas_id(
    quiet: FastAPI, database: Database, feed: Feed, service: ServiceDouble
) -> None:
    row = an_instance(1, novita_id="nv1")
    service.rows[row.id] = row
    async with following(quiet, ("instanceId", "nv1")) as stream:
        await stream.block()
        await happen(database, feed, Status.CREATING, number=2)
        await happen(database, feed, Status.CREATING, number=1)
        event = await stream.event()
    assert event is not None
    assert event["id"] == "4"


async def test_silence_is_broken_by_heartbeats(
    make_app: Callable[..., FastAPI], feed: Feed
) -> None:
    app = make_app(stream_pace=Pace(heartbeat=AT_ONCE, stall=NEVER))
    async with following(app) as stream:
        await stream.block()
        for _ in range(3):
            assert await stream.block() == {"": "heartbeat", "id": "2"}


async def test_heartbeats_move_the_id_past_what_is_not_wanted(
    make_app: Callable[..., FastAPI], feed: Feed, database: Database
) -> None:
    app = make_app(stream_pace=Pace(heartbeat=AT_ONCE, stall=NEVER))
    async with following(app, ("type", "instance.lost")) as stream:
        await stream.block()
        await happen(database, feed, Status.CREATING)
        block = await stream.block()
        while block is not None and block["id"] != "3":
            assert block["id"] == "2"
            block = await stream.block()
    assert block == {"": "heartbeat", "id": "3"}


async def test_a_client_that_does_not_read_is_let_go_and_resumes_without_a_gap(
    make_app: Callable[..., FastAPI], feed: Feed, database: Database, log: Lines
) -> None:
    app = make_app(stream_pace=Pace(heartbeat=AT_ONCE, stall=AT_ONCE))
    async with following(app) as stream:
        first = await stream.block()
        stream.may_read.clear()
        await happen(database, feed, Status.CREATING, Status.STARTING, Status.RUNNING)
        await stream.has_ended.wait()
    assert first is not None
    async with following(app, headers={"last-event-id": first["id"]}) as again:
        seen = [await again.event() for _ in range(3)]
    assert [event and event["id"] for event in seen] == ["3", "4", "5"]
    stalled, request = log()[:2]
    assert stalled["event"] == "event_stream_stalled"
    assert (request["event"], request["route"], request["status"]) == (
        "request",
        "/api/events",
        499,
    )


async def test_a_drain_ends_every_stream_in_order(quiet: FastAPI, feed: Feed) -> None:
    async with following(quiet) as one, following(quiet) as other:
        await one.block()
        await other.block()
        feed.nudges.drain()
        assert await one.block() is None
        assert await other.block() is None


async def test_200_clients_at_once_hear_the_same(
    quiet: FastAPI, feed: Feed, database: Database
) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(following(quiet)) for _ in range(200)]
        for stream in streams:
            await stream.block()
        statuses = (Status.CREATING, Status.STARTING, Status.RUNNING, Status.STOPPING)
        await happen(database, feed, *statuses)
        heard = [[await stream.event() for _ in statuses] for stream in streams]
    assert [event and event["id"] for event in heard[0]] == ["3", "4", "5", "6"]
    assert heard == [heard[0]] * 200


async def test_head_answers_without_a_stream(quiet: FastAPI) -> None:
    async with following(quiet, method="HEAD") as stream:
        assert await stream.block() is None
    assert stream.status == 200


async def test_a_stream_needs_a_key(quiet: FastAPI) -> None:
    async with following(quiet, key=None) as stream:
        await stream.messages.get()
    assert stream.status == 401


@pytest.mark.parametrize(
    ("query", "headers", "field", "message"),
    [
        ("", {"Last-Event-ID": "x"}, "Last-Event-ID", "is not an id that this service has given"),
        ("", {"Last-Event-ID": "3"}, "Last-Event-ID", "is not an id that this service has given"),
        ("lastEventId=-1", {}, "Last-Event-ID", "is not an id that this service has given"),
        ("lastEventId=1&lastEventId=2", {}, "lastEventId", "is given more than once"),
        ("type=running", {}, "type[0]", f"must be one of {', '.join(EventType)}"),
        ("since=1", {}, "since", "is unknown"),
    ],
)
@pytest.mark.usefixtures("feed")
async def test_a_wrong_question_is_answered_with_its_faults(
    client: httpx2.AsyncClient, query: str, headers: dict[str, str], field: str, message: str
) -> None:
    answer = await client.get(f"/api/events?{query}", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": field, "message": message}]


@pytest.mark.usefixtures("feed")
async def test_an_instance_that_nobody_knows_is_not_waited_for(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"/api/events?instanceId={RUNNING.id}&instanceId=ins_none")
    assert (answer.status_code, answer.json()["code"]) == (404, "instance_not_found")
