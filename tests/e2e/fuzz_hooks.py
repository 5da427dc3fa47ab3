"""Let Schemathesis show many wrong keys without being taken for one who guesses."""

from itertools import count
from typing import Any

from requests import Session

_numbers = count()
_send = Session.send


def send(session: Session, request: Any, **options: Any) -> Any:
    """Send a request from an address of its own, as a proxy would tell it.

    Schemathesis takes every header that it is told of for a parameter of the API, so this one is
    added on the way.
    """
    number = next(_numbers)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    request.headers["X-Forwarded-For"] = address
    return _send(session, request, **options)


setattr(Session, "send", send)  # noqa: B010 - mypy forbids a plain assignment
