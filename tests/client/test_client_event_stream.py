"""Following events: connections break, and nothing is missed or comes twice."""

import json
from collections.abc import Iterator
from itertools import islice

import httpx2
import pytest

from gpukeeper.client import ApiProblem, EventInfo, ServiceUnreachable
from gpukeeper.domain.errors import GpuKeeperError
from tests.client.fake_service import EVENT, FakeService, FakeTime, problem

ROUTE = "GET /api/events"
REFUSED = httpx2.ConnectError("[Errno 111] Connection refused")


class Torn(httpx2.SyncByteStream):
    """A body that breaks off instead of ending."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        """Yield the text and break."""
        yield self._text.encode()
        raise httpx2.RemoteProtocolError("peer closed connection")


def told(*numbers: int, begins_at: int = 0) -> str:
    """Return a stream that begins there and tells of these events."""
    head = f"retry: 2000\n: heartbeat\nid: {begins_at}\n\n"
    return head + "".join(
        f"id: {number}\nevent: x\ndata: {json.dumps(EVENT | {'id': f'evt_{number}'})}\n\n"
        for number in numbers
    )


def stream(text: str) -> httpx2.Response:
    """Return a stream that ends in order after this text."""
    return httpx2.Response(200, text=text, headers={"content-type": "text/event-stream"})


class Follower:
    """Follows a scripted service and keeps what it is told of trouble."""

    def __init__(self, *replies: httpx2.Response | BaseException) -> None:
        self.service, self.time = FakeService(), FakeTime()
        self.trouble: list[str] = []
        self.service.reply(ROUTE, *replies)

    def follow(self, **options: object) -> Iterator[EventInfo]:
        """Follow with these options."""

        def on_trouble(error: GpuKeeperError) -> None:
            self.trouble.append(error.message)

        return self.service.connect().follow(
            on_trouble=on_trouble,
            sleep=self.time.sleep,
            **options,  # type: ignore[arg-type]  # each test passes what the method takes
        )

    @property
    def resumed(self) -> list[str | None]:
        """After which event each connection began."""
        return [each.headers.get("last-event-id") for each in self.service.requests]


def test_events_are_read_with_their_position() -> None:
    follower = Follower(stream(told(4)))
    event = next(follower.follow())
    assert (event.id, event.type, event.position) == ("evt_4", "instance.failed", "4")
    assert event.instance is not None
    assert (event.instance.id, event.instance.status) == ("ins_01k", "failed")
    assert follower.service.requests[0].headers["accept"] == "text/event-stream"


def test_filters_are_sent_with_every_connection() -> None:
    follower = Follower(stream(told(1)), stream(told(2)))
    list(islice(follower.follow(instance_ids=["a", "b"], types=["instance.lost"]), 2))
    query = "instanceId=a&instanceId=b&type=instance.lost"
    assert follower.service.asked == [f"GET /api/events?{query}"] * 2


def test_a_stream_that_ends_or_breaks_is_resumed_after_the_last_event() -> None:
    cut = httpx2.Response(200, stream=Torn(told(2, 3) + "id: 4\nevent: x\nda"))
    follower = Follower(stream(told(1)), cut, stream(told(4)))
    events = list(islice(follower.follow(last_event_id="0"), 4))
    assert [event.id for event in events] == ["evt_1", "evt_2", "evt_3", "evt_4"]
    assert follower.resumed == ["0", "1", "3"]
    assert follower.trouble == ["No answer from http://gpukeeper.test: peer closed connection."]


def test_a_stream_that_broke_before_its_first_event_is_resumed_where_it_began() -> None:
    follower = Follower(stream(told(begins_at=7)), stream(told(8)))
    assert next(follower.follow()).id == "evt_8"
    assert follower.resumed == [None, "7"]


def test_a_service_that_is_away_is_asked_again_ever_more_slowly() -> None:
    away: list[httpx2.Response | BaseException] = [
        REFUSED,
        httpx2.Response(503, text="proxy"),
        *[REFUSED] * 4,
    ]
    follower = Follower(stream(told(1)), *away, stream(told(2)))
    events = list(islice(follower.follow(), 2))
    assert [event.id for event in events] == ["evt_1", "evt_2"]
    assert follower.time.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert len(follower.trouble) == 6


def test_a_service_that_cannot_be_reached_at_first_is_an_error_at_once() -> None:
    with pytest.raises(ServiceUnreachable):
        Follower(REFUSED).follow()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_refusal_that_may_be_over_soon_is_asked_again(status: int) -> None:
    refusal = problem(status, "too_many_connections", "All connections are busy.")
    follower = Follower(stream(told(1)), refusal, stream(told(2)))
    events = list(islice(follower.follow(), 2))
    assert [event.id for event in events] == ["evt_1", "evt_2"]
    assert (follower.resumed, follower.trouble) == (
        [None, "1", "1"],
        ["All connections are busy."],
    )


def test_a_refusal_of_the_first_connection_is_an_error_at_once() -> None:
    with pytest.raises(ApiProblem):
        Follower(problem(503, "too_many_connections")).follow()


@pytest.mark.parametrize("before", [[], [stream(told(1))]])
def test_a_refusal_ends_the_following(before: list[httpx2.Response]) -> None:
    follower = Follower(*before, problem(400, "invalid_request"))
    with pytest.raises(ApiProblem) as refusal:
        list(follower.follow())
    assert refusal.value.error_code == "invalid_request"


def test_what_is_not_an_event_is_not_the_services_answer() -> None:
    follower = Follower(stream("data: {}\n\n"))
    with pytest.raises(ApiProblem, match="another program"):
        next(follower.follow())
