"""What Novita said is kept in the error: its reason, message and delay, but no secret."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gpukeeper.domain.errors import NovitaRejected, NovitaUnavailable
from gpukeeper.novita import protocol
from gpukeeper.novita.errors import error_from
from tests.novita.bodies import answer, error
from tests.novita.scripted import PURCHASE

CREATE = protocol.create_request(PURCHASE)
GET = protocol.machine_request("m1")
PAGE = "<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (error(400, "IMAGE_TOO_LARGE", "too large"), "IMAGE_TOO_LARGE", "too large"),
        ({"error": {"message": "too large", "code": "IMAGE_TOO_LARGE"}}, "IMAGE_TOO_LARGE", "too"),
        ({"error": {"message": "too large", "reason": "X"}}, "X", "too large"),
        ({"code": "IMAGE_TOO_LARGE", "message": "too large"}, "IMAGE_TOO_LARGE", "too large"),
        ({"error": {"message": "too large", "code": "400"}}, None, "too large"),
        ({"message": "too\n large"}, None, "too large"),
        ({"error": "too large"}, None, "too large"),
        ("too large", None, "too large"),
    ],
)
def test_reason_and_message_are_kept_from_every_shape(
    body: object, reason: str | None, text: str
) -> None:
    found = error_from(CREATE, answer(400, body))
    assert type(found) is NovitaRejected
    assert found.reason == reason
    assert text in found.message


def test_the_message_says_what_happened_what_novita_said_and_where() -> None:
    body = error(400, "INSUFFICIENT_RESOURCE", "insufficient resource")
    assert error_from(CREATE, answer(400, body)).message == (
        "Novita has no machine of this offer left: insufficient resource "
        "(create, HTTP 400, INSUFFICIENT_RESOURCE)"
    )
    assert error_from(GET, answer(502, PAGE)).message == (
        "Novita could not be reached or answered with a fault of its own (get, HTTP 502)"
    )


def test_a_key_that_may_not_do_this_is_not_called_a_wrong_key() -> None:
    permitted = "Novita does not permit this API key to do that: check what NOVITA_API_KEY may do"
    found = error_from(CREATE, answer(403, error(403, "FORBIDDEN", "no permission")))
    assert found.message == f"{permitted}: no permission (create, HTTP 403, FORBIDDEN)"
    wrong = "Novita refused the API key: check NOVITA_API_KEY"
    for status, reason in ((401, "UNAUTHORIZED"), (403, "INVALID_API_KEY")):
        assert error_from(GET, answer(status, error(status, reason))).message.startswith(wrong)
    quota = error_from(CREATE, answer(403, error(403, "FORBIDDEN", "quota exceeded")))
    assert quota.message.startswith("The Novita account's quota of instances or GPUs is used up:")


def test_no_message_grows_without_bound() -> None:
    found = error_from(CREATE, answer(400, error(400, "R" * 9999, "m" * 9999)))
    assert len(found.message) < 1000


def test_what_novita_echoes_of_a_purchase_s_secrets_is_hidden() -> None:
    purchase = replace(
        PURCHASE,
        template=replace(PURCHASE.template, image_auth_id="robot:registry-password"),
        envs={"TOKEN": "hf_secret", "LONG": "hf_secret_and_more", "DEBUG": "1"},
    )
    body = error(
        400, "VALIDATOR_PARAM", "1 bad: hf_secret_and_more, hf_secret, robot:registry-password"
    )
    found = error_from(protocol.create_request(purchase), answer(400, body))
    assert "1 bad: ***, ***, ***" in found.message
    assert "registry-password" not in repr(purchase)


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("7", timedelta(seconds=7)),
        ("Mon, 23 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("soon", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept(status: int, value: str, delay: timedelta | None) -> None:
    found = error_from(GET, answer(status, "", {"retry-after": value}))
    assert isinstance(found, NovitaUnavailable)
    assert found.retry_after == delay
