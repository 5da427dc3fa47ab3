"""Whatever bytes Novita sends, the answer is data or an error of ours, never an accident."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.domain.errors import NovitaError
from gpukeeper.novita import models, protocol
from gpukeeper.novita.messages import Request, Response
from tests.novita.bodies import answer, error, machine, product, rows, template
from tests.novita.test_novita_protocol import CREATE, READS, STOP, Reader

EVERY_QUESTION: list[tuple[Request, Reader]] = [
    *READS,
    (CREATE, protocol.created_id),
    (STOP, protocol.check_change),
]
WELL_FORMED: list[dict[str, Any]] = [
    machine(),
    rows("a", "b"),
    {"data": [product()]},
    template(),
    error(400, "CONFLICT", "no"),
    {"error": {"code": "X", "message": "no"}},
    {"availableBalance": "1"},
]
FIELDS = sorted(
    {name for body in WELL_FORMED for name in body}
    | set(machine())
    | set(product())
    | set(template()["template"])
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(),
    st.sampled_from(["", "0", "-1", "running", "1e999999", "NaN", "\ud800", "9" * 5000]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text()), inner, max_size=4),
    ),
    max_leaves=12,
)
bodies = st.one_of(
    st.binary(),
    st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"9" * 5000]),
    values.map(lambda value: json.dumps(value).encode()),
)
statuses = st.one_of(st.sampled_from([200, 204, 400, 404, 429, 500]), st.integers(100, 599))
headers = st.dictionaries(st.sampled_from(["retry-after", "content-type"]), st.text(), max_size=2)


@settings(deadline=None)
@given(statuses, headers, bodies)
def test_any_answer_to_any_question_is_data_or_a_novita_error(
    status: int, header: dict[str, str], body: bytes
) -> None:
    given_answer = answer(status, body, header)
    for request, read in EVERY_QUESTION:
        with suppress(NovitaError):
            read(request, given_answer)


@settings(deadline=None)
@given(st.sampled_from(WELL_FORMED), st.data())
def test_any_field_of_a_good_answer_may_hold_anything(
    body: dict[str, Any], data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(sorted(body)))
    spoiled = answer(200, {**body, field: data.draw(values)})
    for request, read in EVERY_QUESTION:
        with suppress(NovitaError):
            read(request, spoiled)


@settings(deadline=None)
@given(values.filter(lambda value: isinstance(value, dict)))
def test_any_object_reads_as_any_model_and_can_be_stored(value: dict[str, Any]) -> None:
    for model in (
        models.Machine,
        models.Product,
        models.Template,
        models.MachinePage,
        models.ErrorBody,
    ):
        text = repr(model.model_validate(value))
        assert text.encode("utf-8")


@pytest.mark.parametrize("body", [b"", b"null", b"{", b"\x80", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_reads_as_nothing(body: bytes) -> None:
    assert answer(200, body).parsed() is None


def test_no_repr_of_an_answer_shows_its_body() -> None:
    shown = Response(200, {}, b"secret-in-body", answer(200).asked_at)
    assert "secret-in-body" not in repr(shown)
