"""Read the JSON body of a request, within limits and without guessing."""

import hashlib
import json
from decimal import Decimal, DecimalException
from typing import Any

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.requests import Request

from gpukeeper.domain.errors import Fault, GpuKeeperError, InvalidOrder

# No order that Novita would accept comes near: 100 environment values of 4095 characters make
# 400 kB.
MAX_BODY_BYTES = 1024 * 1024

_JSON_TYPE = "application/json"


async def json_body(request: Request) -> Any:
    """Return the request's body as JSON, numbers with a fraction as :class:`~decimal.Decimal`.

    An empty body is ``{}``.  The content type is looked at before anything is read, and reading
    ends at the limit.  Raises ``unsupported_media_type``, ``body_too_large`` and InvalidOrder.
    """
    check_json_type(request.headers)
    raw = await read_body(request)
    return _parse(raw) if raw else {}


async def _refuse_body(request: Request) -> None:
    if await json_body(request) != {}:
        raise InvalidOrder(faults=[Fault("body", "must be empty or {}")])


# For routes that take no body: nobody who sends one is left to believe that it was heeded.
NO_BODY = Depends(_refuse_body)


def body_hash(body: Any) -> str:
    """Return a hash that is equal for equal JSON, however it was written down."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def is_json(headers: Headers) -> bool:
    """Whether a request says that its body is JSON."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON_TYPE


def check_json_type(headers: Headers) -> None:
    """Refuse a request whose body is not JSON; without a body, no content type is needed.

    Raises ``unsupported_media_type``.
    """
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if ("content-type" in headers or has_body) and not is_json(headers):
        raise GpuKeeperError(
            "The body must be JSON: send it with 'Content-Type: application/json'.",
            code="unsupported_media_type",
        )


async def read_body(request: Request) -> bytes:
    """Return the request's body.  Reading ends at the limit: raises ``body_too_large``."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(raw)


def _parse(raw: bytes) -> Any:
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
        )
        # Half of a surrogate pair is legal JSON, but no text: nothing could store or send it.
        json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON: {error}"
    except UnicodeError:
        problem = "is not valid JSON: it is not UTF-8, or has half of a surrogate pair"
    except _NotPlain as error:
        problem = str(error)
    except (ValueError, DecimalException):
        problem = "is not usable JSON: a number in it is too long"
    except RecursionError:
        problem = "is not usable JSON: it is nested too deeply"
    raise InvalidOrder(faults=[Fault("body", problem)])


class _NotPlain(ValueError):
    """The JSON can be read in more than one way, or is an extension of JSON."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotPlain("names a field twice, so that it is unclear which is meant")
    return found


def _refuse_constant(word: str) -> Any:
    raise _NotPlain(f"is not valid JSON: {word} is not a JSON number")


def _too_large() -> GpuKeeperError:
    return GpuKeeperError("The body has more than 1 MiB.", code="body_too_large")
