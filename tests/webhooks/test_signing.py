"""Signatures: the published vector, an independent verifier, rotation, and tampering."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from gpukeeper.webhooks.signing import (
    SignatureMismatch,
    headers,
    new_secret,
    parse_secret,
    sign,
    verify,
)

# The example of the Standard Webhooks and Svix documentation.
SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
WEBHOOK_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SENT_AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OTHER = SecretStr(new_secret(bytes(range(32))))
keys = st.binary(min_size=24, max_size=64)
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def signed(*secrets: SecretStr) -> dict[str, str]:
    return headers(secrets, webhook_id=WEBHOOK_ID, sent_at=SENT_AT, body=BODY)


def test_the_published_vector_is_met() -> None:
    assert signed(SECRET) == {
        "webhook-id": WEBHOOK_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }
    verify([SECRET], headers=signed(SECRET), body=BODY, now=SENT_AT)


@settings(deadline=None)
@given(key=keys, webhook_id=ids, text=st.text(), zone=offsets)
def test_an_independent_verifier_accepts_every_signature(
    key: bytes, webhook_id: str, text: str, zone: timezone
) -> None:
    secret = SecretStr(new_secret(key))
    body = text.encode()
    now = datetime.now(zone)
    made = headers([OTHER, secret], webhook_id=webhook_id, sent_at=now, body=body)
    Webhook(secret.get_secret_value()).verify(body, made, json_parse=False)
    verify([secret], headers=made, body=body, now=now)


@settings(deadline=None)
@given(key=keys, webhook_id=ids, text=st.text())
def test_signatures_of_an_independent_signer_are_accepted(
    key: bytes, webhook_id: str, text: str
) -> None:
    secret = new_secret(key)
    made = {
        "Webhook-Id": webhook_id,
        "Webhook-Timestamp": "1614265330",
        "Webhook-Signature": Webhook(secret).sign(webhook_id, SENT_AT, text),
    }
    verify([SecretStr(secret)], headers=made, body=text.encode(), now=SENT_AT)


@settings(deadline=None)
@given(at=st.integers(0, len(BODY) - 1), mask=st.integers(1, 255))
def test_no_byte_of_the_body_can_be_changed(at: int, mask: int) -> None:
    body = bytearray(BODY)
    body[at] ^= mask
    with pytest.raises(SignatureMismatch):
        verify([SECRET], headers=signed(SECRET), body=bytes(body), now=SENT_AT)


def test_the_time_zone_of_a_time_does_not_change_its_signature() -> None:
    elsewhere = SENT_AT.astimezone(timezone(timedelta(hours=8)))
    key = bytes(32)
    assert sign(key, webhook_id="a", sent_at=elsewhere, body=BODY) == sign(
        key, webhook_id="a", sent_at=SENT_AT, body=BODY
    )


def test_either_secret_is_accepted_while_one_replaces_the_other() -> None:
    made = signed(OTHER, SECRET)
    assert made["webhook-signature"].split(" ")[1] == SIGNATURE
    verify([SECRET], headers=made, body=BODY, now=SENT_AT)
    verify([OTHER], headers=made, body=BODY, now=SENT_AT)
    verify([OTHER, SECRET], headers=signed(SECRET), body=BODY, now=SENT_AT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"webhook-id": "msg_other"}, "No signature"),
        ({"webhook-id": ""}, "webhook-id is missing"),
        ({"webhook-timestamp": "1614265331"}, "No signature"),
        ({"webhook-timestamp": ""}, "webhook-timestamp is missing"),
        ({"webhook-timestamp": "soon"}, "not a Unix time"),
        ({"webhook-timestamp": "-1"}, "not a Unix time"),
        ({"webhook-timestamp": "٣"}, "not a Unix time"),
        ({"webhook-timestamp": "9" * 5000}, "not a Unix time"),
        ({"webhook-signature": ""}, "webhook-signature is missing"),
        ({"webhook-signature": "v1"}, "No signature"),
        ({"webhook-signature": SIGNATURE.removeprefix("v1,")}, "No signature"),
        ({"webhook-signature": SIGNATURE.replace("v1", "v1a")}, "No signature"),
        ({"webhook-signature": SIGNATURE.lower()}, "No signature"),
        ({"webhook-signature": "v1,é"}, "No signature"),
    ],
)
def test_a_changed_header_is_refused_with_the_reason(change: dict[str, str], message: str) -> None:
    with pytest.raises(SignatureMismatch, match=message):
        verify([SECRET], headers=signed(SECRET) | change, body=BODY, now=SENT_AT)


def test_a_signature_of_another_secret_is_refused() -> None:
    with pytest.raises(SignatureMismatch, match="No signature"):
        verify([OTHER], headers=signed(SECRET), body=BODY, now=SENT_AT)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_may_be_five_minutes_off(seconds: int) -> None:
    now = SENT_AT + timedelta(seconds=seconds)
    verify([SECRET], headers=signed(SECRET), body=BODY, now=now)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_old_or_future_webhook_is_refused(seconds: int) -> None:
    now = SENT_AT + timedelta(seconds=seconds)
    with pytest.raises(SignatureMismatch, match="too long ago, or in the future"):
        verify([SECRET], headers=signed(SECRET), body=BODY, now=now)


@settings(deadline=None)
@given(keys)
def test_a_new_secret_is_a_valid_one(key: bytes) -> None:
    secret = new_secret(key)
    assert parse_secret(f" {secret}\n").get_secret_value() == secret
    assert parse_secret(secret.rstrip("=")).get_secret_value() == secret.rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_not base64 at all, surely not base64",
        "whsec_ключключключключключключключключ",
        "whsec_" + b64encode(bytes(23)).decode(),
        "whsec_" + b64encode(bytes(65)).decode(),
        b64encode(bytes(32)).decode(),
        "WHSEC_" + b64encode(bytes(32)).decode(),
    ],
)
def test_a_wrong_secret_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_ followed by the base64 of 24 to 64 bytes") as info:
        parse_secret(text)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(info.value)


def test_too_few_random_bytes_make_no_secret() -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        new_secret(bytes(16))
