"""Secrets that are looked for where none may be, in every spelling that they may be given."""

import base64
import html
import json
from collections.abc import Mapping
from urllib.parse import quote, quote_plus


def shown(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return which secret is shown at which place."""
    return [
        (secret, place)
        for secret, value in secrets.items()
        for spelling in [spellings(value)]
        for place, text in places.items()
        if any(each in text for each in spelling)
    ]


def spellings(secret: str) -> set[bytes]:
    """Return the secret as it is, escaped for URLs, pages and JSON, and in hex and base64."""
    raw = secret.encode()
    escaped = (quote(secret, safe=""), quote_plus(secret), html.escape(secret), json.dumps(secret))
    return {
        raw,
        raw.hex().encode(),
        raw.hex().upper().encode(),
        secret.encode("utf-16-le"),
        *(each.strip('"').encode() for each in escaped),
        *(encode(each) for each in _aligned(raw) for encode in _BASE64),
    }


_BASE64 = (base64.b64encode, base64.urlsafe_b64encode)


def _aligned(raw: bytes) -> list[bytes]:
    """Return what base64 encodes by itself of the secret, wherever in a longer text it begins."""
    tails = (raw, raw[1:], raw[2:])
    return [tail[: len(tail) // 3 * 3] for tail in tails]
