"""Live events over a real socket: complete, in order, and gone when the service stops."""

import itertools
import random
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.serving import Service

Seen = tuple[str, str, str]


def follow(service: Service, last_event_id: str, **query: str) -> Iterator[Seen]:
    """Yield id, type and data of each event until the connection ends."""
    headers = {"last-event-id": last_event_id}
    with service.http.stream("GET", "/api/events", params=query, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        block: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
                continue
            if "data" in block:
                yield block["id"], block["event"], block["data"]
            block = {}


def until_running(events: Iterator[Seen]) -> list[Seen]:
    """Return the events up to the first machine that runs."""
    heard = list[Seen]()
    for seen in events:
        heard.append(seen)
        if seen[1] == "instance.running":
            break
    return heard


def kinds(heard: list[Seen]) -> list[str]:
    """Return the types of events, without their prefix."""
    return [kind.removeprefix("instance.") for _, kind, _ in heard]


def now(service: Service) -> str:
    """Return the id of the newest event."""
    with service.http.stream("GET", "/api/events") as answer:
        ids = (line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id:"))
        return next(ids)


@pytest.mark.parametrize("seed", range(3))
def test_clients_that_lose_their_connection_anywhere_miss_and_repeat_nothing(
    service: Service, seed: int
) -> None:
    draw, begin = random.Random(seed), now(service)
    instance_ids = [service.order(name=f"live-{seed}-{number}")["id"] for number in range(3)]
    ending = threading.Thread(
        target=lambda: [service.http.delete(f"/api/instances/{each}") for each in instance_ids]
    )
    ending.start()
    heard: list[Seen] = []
    left = len(instance_ids)
    while left:
        position = heard[-1][0] if heard else begin
        for seen in itertools.islice(follow(service, position), draw.randint(1, 3)):
            heard.append(seen)
            left -= seen[1] == "instance.deleted"
            if not left:
                break
    ending.join()

    ids = [int(event_id) for event_id, _, _ in heard]
    assert ids == list(range(int(begin) + 1, ids[-1] + 1))
    for instance_id in instance_ids:
        own = [seen for seen in heard if instance_id in seen[2]]
        assert kinds(own) == service.history(instance_id)


def test_a_stream_that_is_read_while_the_service_stops_ends_and_holds_nothing_up(
    serve: Serve,
) -> None:
    service = serve()
    begin, heard, has_begun = now(service), list[str](), threading.Event()

    def read() -> None:
        for _, kind, _ in follow(service, begin):
            heard.append(kind)
            has_begun.set()

    readers = [threading.Thread(target=read) for _ in range(5)]
    for reader in readers:
        reader.start()
    service.order()
    assert has_begun.wait(60)
    assert service.stop() == 0
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    # What does not end by itself is cancelled when the server's grace is over, and logged.
    assert [line for line in service.log() if "graceful shutdown exceeded" in line["event"]] == []


def test_a_restarted_service_goes_on_where_the_killed_one_was(serve: Serve) -> None:
    service = serve()
    begin = now(service)
    instance_id = service.running()["id"]
    first = list(itertools.islice(follow(service, begin), 2))
    service.kill()
    service.start()
    rest = until_running(follow(service, first[-1][0]))
    assert kinds(first + rest) == service.history(instance_id)


def test_an_api_apart_from_the_engine_finds_the_events_by_itself(serve: Serve) -> None:
    engine = serve()
    api = Service(
        engine.directory / "api",
        {**engine.settings, "GPUKEEPER_DATA_DIR": str(engine.data_dir)},
        role="api",
    )
    api.start()
    try:
        begin = now(api)
        events = follow(api, begin)
        instance_id = api.order()["id"]
        assert kinds(until_running(events)) == api.history(instance_id)
    finally:
        api.close()
