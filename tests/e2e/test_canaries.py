"""The search for secrets finds each of them, however it is written."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.e2e.canaries import shown

SECRET = 'canary "5b2e"/\u00e9&<7>'


@pytest.mark.parametrize(
    "write",
    [
        str.encode,
        lambda text: json.dumps({"a": text}).encode(),
        lambda text: quote(text, safe="").encode(),
        lambda text: text.encode().hex().encode(),
        *(
            lambda text, before=before: base64.b64encode(before + text.encode() + b": and more")
            for before in (b"", b"u", b"us", b"user:")
        ),
        lambda text: base64.urlsafe_b64encode(text.encode()),
    ],
)
def test_a_secret_is_found_however_it_is_written(write: Callable[[str], bytes]) -> None:
    places = {"a page": b"<p>" + write(SECRET) + b"</p>", "another": write("something else")}

    assert shown({"the secret": SECRET}, places) == [("the secret", "a page")]
