"""Sealing: what is sealed opens with its own key, for its own row, and unchanged, or not at all."""

import base64
import secrets

import pytest
from cryptography.exceptions import InvalidTag

from gpukeeper.store.encryption import EnvsCipher

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(range(1, 33))).decode()
ENVS = {"TOKEN": "hush", "EMPTY": "", "ünï": "✓\n\x00"}


def _sealed(row: str = "ins_1") -> str:
    text = EnvsCipher(KEY).close(ENVS, row=row)
    assert text is not None
    return text


def test_what_is_sealed_opens_again() -> None:
    assert EnvsCipher(KEY).open(_sealed(), row="ins_1") == ENVS


def test_nothing_is_not_sealed() -> None:
    assert EnvsCipher(KEY).close({}, row="ins_1") is None
    assert EnvsCipher(KEY).open(None, row="ins_1") == {}


def test_what_is_sealed_shows_nothing_and_differs_each_time() -> None:
    first, second = _sealed(), _sealed()
    assert first != second
    for value in ("hush", "TOKEN"):
        assert value.encode() not in base64.b64decode(first)


def test_another_row_does_not_open_it() -> None:
    with pytest.raises(InvalidTag):
        EnvsCipher(KEY).open(_sealed("ins_1"), row="ins_2")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(InvalidTag):
        EnvsCipher(OTHER_KEY).open(_sealed(), row="ins_1")


def test_a_changed_text_does_not_open() -> None:
    raw = bytearray(base64.b64decode(_sealed()))
    for place in range(len(raw)):
        changed = bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(InvalidTag):
            EnvsCipher(KEY).open(base64.b64encode(changed).decode(), row="ins_1")


@pytest.mark.parametrize(
    "key",
    ["", "AAAA", "A" * 42, "A" * 43 + "=" + "A" * 4, "A" * 45, "\ud800", KEY + KEY],
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="secret key"):
        EnvsCipher(key)


def test_any_key_of_32_bytes_is_taken() -> None:
    for _ in range(20):
        key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        seal = EnvsCipher(key)
        assert seal.open(seal.close(ENVS, row="ins_1"), row="ins_1") == ENVS
