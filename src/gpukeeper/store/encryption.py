"""Sealing of the environment values that have to be stored: AES-256-GCM with one key."""

import base64
import binascii
import json
import os
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_KEY_BYTES = 32


class EnvsCipher:
    """Seals and opens small mappings; what is sealed for one row does not open in another."""

    def __init__(self, key: str) -> None:
        """Take the key as base64url of 32 bytes.  Raises ValueError when it is anything else."""
        try:
            raw = base64.b64decode(key.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise ValueError("the secret key is not base64url") from error
        if len(raw) != _KEY_BYTES:
            raise ValueError(f"the secret key has {len(raw)} bytes, {_KEY_BYTES} are needed")
        self._cipher = AESGCM(raw)

    def close(self, values: Mapping[str, str], *, row: str) -> str | None:
        """Return the values sealed for this row; None when there are none."""
        if not values:
            return None
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(dict(values)).encode(), row.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, text: str | None, *, row: str) -> dict[str, str]:
        """Return the values.  Raises InvalidTag when key, row or text do not belong together."""
        if text is None:
            return {}
        raw = base64.b64decode(text)
        opened = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], row.encode())
        values: dict[str, str] = json.loads(opened)
        return values
