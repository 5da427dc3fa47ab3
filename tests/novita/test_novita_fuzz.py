"""Whatever Novita answers is read, or refused with an error of the program's own."""

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instances import Command
from gpukeeper.domain.products import BillingMode
from gpukeeper.novita import protocol
from gpukeeper.novita.messages import Request, Response
from tests.novita import bodies

ASKED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

Reader = Callable[[Request, Response], object]

READERS: dict[str, tuple[Request, Reader]] = {
    "created": (Request("POST", "/create", "create"), protocol.created_id),
    "verb": (protocol.verb_request(Command.STOP, "m1"), protocol.check_change),
    "machine": (protocol.machine_request("m1"), protocol.observation),
    "connection": (protocol.machine_request("m1"), protocol.connection),
    "page": (protocol.page_request(0, name=None), protocol.page),
    "products": (
        protocol.products_request(cluster_id=None, billing_mode=BillingMode.SPOT, gpu_num=1),
        protocol.products,
    ),
    "clusters": (protocol.clusters_request(), protocol.clusters),
    "template": (protocol.template_request("tpl"), protocol.template),
    "registry auths": (protocol.registry_auths_request(), protocol.registry_auths),
    "balance": (protocol.balance_request(), protocol.balance),
}
RECORDED: tuple[object, ...] = (
    bodies.machine("m1"),
    {"instances": [bodies.machine("m1"), bodies.machine("m2")], "total": 2},
    {"data": [bodies.product()]},
    bodies.CLUSTERS,
    bodies.template(),
    bodies.error(400, "RESOURCE_NOT_FOUND", "no such thing"),
    {"data": [{"id": "a", "name": "n", "username": "u", "password": "p"}]},
    {"availableBalance": "1234567"},
    {"id": "m1"},
)

_fields = st.sampled_from(
    [
        *("id", "Id", "name", "status", "instances", "total", "data", "template", "code", "reason"),
        *(
            "message",
            "error",
            "errors",
            "portMappings",
            "statusError",
            "createdAt",
            "envs",
            "ports",
        ),
        *("availableBalance", "spotReclaimTime", "price", "connectComponentSSH", "regions"),
    ]
)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["9" * 400, "1e999999", "NaN", "-Infinity", "\ud800", "0x10", "running"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_fields | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=25,
)


@st.composite
def mutated(draw: st.DrawFn) -> object:
    """Return a recorded body in which some values are others."""
    body = copy.deepcopy(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(1, 4))):
        place: object = body
        while isinstance(place, dict | list) and place:
            keys: list[object] = list(place) if isinstance(place, dict) else [*range(len(place))]
            key = draw(st.sampled_from(keys))
            inner = place[key]  # type: ignore[call-overload] # a key of its own
            if not isinstance(inner, dict | list) or draw(st.booleans()):
                place[key] = draw(_json)  # type: ignore[call-overload] # likewise
                break
            place = inner
    return body


_contents = (
    st.binary(max_size=300)
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
    | (_json | mutated()).map(lambda value: json.dumps(value).encode())
    | st.tuples(mutated(), st.integers(0, 200)).map(
        lambda cut: json.dumps(cut[0]).encode()[: cut[1]]
    )
    | st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"1" * 5000])
)
_answers = st.builds(
    Response,
    st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 409, 429, 500, 502, 599]),
    st.dictionaries(
        st.sampled_from(["retry-after", "content-type", "x-request-id"]), st.text(max_size=20)
    ),
    _contents,
    st.just(ASKED_AT),
)


@pytest.mark.parametrize("name", READERS)
@given(answer=_answers)
def test_any_answer_is_read_or_refused_in_our_own_words(name: str, answer: Response) -> None:
    request, read = READERS[name]
    refusal: GpuKeeperError | None = None
    try:
        read(request, answer)
    except GpuKeeperError as error:
        refusal = error
    assert refusal is None or (str(refusal) and refusal.code)
