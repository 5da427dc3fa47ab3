"""Read what forms send; whether one of our own pages has sent them is judged before."""

from urllib.parse import parse_qs

from starlette.requests import Request

from gpukeeper.domain.errors import GpuKeeperError

# The largest order there is: 100 environment values of 4095 characters, percent-encoded.
_MAX_FORM_BYTES = 2 * 1024 * 1024
_FORM_TYPE = "application/x-www-form-urlencoded"

Form = dict[str, str]


async def read_form(request: Request) -> Form:
    """Return the fields of a form, without spaces around them; of a repeated one the last.

    Raises ``unsupported_media_type`` and ``body_too_large``.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM_TYPE:
        raise GpuKeeperError(f"Forms are sent as {_FORM_TYPE}.", code="unsupported_media_type")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_FORM_BYTES:
            raise GpuKeeperError("The form is larger than any order.", code="body_too_large")
    fields = parse_qs(raw.decode("ascii", "replace"), errors="replace")
    return {name: values[-1].strip() for name, values in fields.items()}
