"""Follow the service's events over connections that may break, without a gap or a repeat."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2

from gpukeeper.client import http_requests
from gpukeeper.client.problems import is_temporary, read_problem, unreadable_response
from gpukeeper.contract.events import Event
from gpukeeper.contract.instances import Instance, Reason
from gpukeeper.contract.serialization import UNREADABLE
from gpukeeper.domain.errors import GpuKeeperError

# Three heartbeats that did not come: the connection is dead, whatever the network says.
_SILENCE_SECONDS = 45.0

# Before connecting again: a stream that ended in order is soon served by another process; one that
# cannot be had spares a service that is starting.
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0

Params = Mapping[str, Any]


@dataclass(frozen=True)
class EventInfo(Event):
    """One thing that happened; ``position`` is where following goes on after it.

    ``instance`` is how the instance was then; None for events about no instance.
    """

    position: str | None = None
    instance: Instance | None = field(init=False, repr=False)
    error: Reason | None = field(init=False)

    def __post_init__(self) -> None:
        instance, error = self.data.get("instance"), self.data.get("error")
        object.__setattr__(self, "instance", Instance.read(instance) if instance else None)
        object.__setattr__(self, "error", Reason.read(error) if error else None)

    @property
    def at(self) -> datetime | None:
        """Return when it happened."""
        return self.timestamp

    @property
    def status(self) -> str | None:
        """Return the status that the instance had then."""
        return None if self.instance is None else self.instance.status

    @property
    def previous_status(self) -> str | None:
        """Return the status that the instance had before."""
        previous: str | None = self.data.get("previousStatus")
        return previous


def follow_events(
    http: httpx2.Client,
    *,
    params: Params,
    last_event_id: str | None,
    on_trouble: Callable[[GpuKeeperError], None],
    sleep: Callable[[float], None],
) -> Iterator[EventInfo]:
    """Connect, and return the events as they come; a connection that breaks is made again.

    Raises ServiceUnreachable when the first connection fails, and ApiProblem when the service
    refuses; once there was a connection, a refusal that may be over soon is trouble like a break.
    """
    answer = _connect(http, params, last_event_id)

    def events() -> Iterator[EventInfo]:
        position, pause = last_event_id, _PAUSE_SECONDS
        latest: httpx2.Response | None = answer
        while True:
            try:
                if latest is None:
                    latest = _connect(http, params, position)
                for block in _blocks(http, latest):
                    position, pause = block.get("id", position), _PAUSE_SECONDS
                    if "data" in block:
                        yield _event(latest, block["data"], position)
            except GpuKeeperError as error:
                if not is_temporary(error):
                    raise
                on_trouble(error)
            latest = None
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    return events()


def _connect(http: httpx2.Client, params: Params, last_event_id: str | None) -> httpx2.Response:
    request = http.build_request(
        "GET",
        "/api/events",
        params=params,
        headers={
            "accept": "text/event-stream",
            **({} if last_event_id is None else {"last-event-id": last_event_id}),
        },
        timeout=httpx2.Timeout(http.timeout.connect, read=_SILENCE_SECONDS),
    )
    with http_requests.translate_network_errors(http):
        answer = http.send(request, stream=True)
        if answer.is_success:
            return answer
        with closing(answer):
            answer.read()
    raise read_problem(answer)


def _blocks(http: httpx2.Client, answer: httpx2.Response) -> Iterator[dict[str, str]]:
    """Yield the fields of each block; a block that was cut off by the end is none."""
    block: dict[str, str] = {}
    for line in _lines(http, answer):
        if not line:
            yield block
            block = {}
            continue
        name, _, value = line.partition(":")
        block[name] = value.removeprefix(" ")


def _lines(http: httpx2.Client, answer: httpx2.Response) -> Iterable[str]:
    with closing(answer):
        lines = answer.iter_lines()
        while True:
            with http_requests.translate_network_errors(http):
                line = next(lines, None)
            if line is None:
                return
            yield line


def _event(answer: httpx2.Response, data: str, position: str | None) -> EventInfo:
    try:
        return EventInfo.read(json.loads(data), position=position)
    except UNREADABLE as error:
        raise unreadable_response(answer) from error
