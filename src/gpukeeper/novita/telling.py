"""Make what Novita says fit to be told: on one line, not too long, without secrets."""

from collections.abc import Iterable

# Longer than any message of Novita's, and short enough for a log line or a webhook.
_MAX_CHARS = 500
# Anything shorter is no secret, and hiding it would garble messages.
_SECRET_MIN_CHARS = 6


def told(text: str, secrets: Iterable[str]) -> str:
    """Return a text of Novita's as it may be logged, stored and sent; it may echo ``secrets``."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_MIN_CHARS:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:_MAX_CHARS]
