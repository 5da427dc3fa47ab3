"""Read what forms send; whether one of our own pages has sent them is judged before."""

from urllib.parse import parse_qs

from starlette.requests import Request

from gpukeeper.domain.errors import Fault, GpuKeeperError, InvalidOrder

# The largest order there is: 100 environment values of 4095 characters, percent-encoded.
_MAX_FORM_BYTES = 2 * 1024 * 1024
# Our forms have twenty fields, and no field more lines than an order has variables; a value
# that is a certificate takes fifty.
_MAX_FIELDS = 100
_MAX_LINES = 1000
_FORM_TYPE = "application/x-www-form-urlencoded"

Form = dict[str, str]


async def read_form(request: Request) -> Form:
    """Return the fields of a form, without spaces around them; of a repeated one the last.

    Raises ``unsupported_media_type``, ``body_too_large`` and InvalidOrder.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM_TYPE:
        raise GpuKeeperError(f"Forms are sent as {_FORM_TYPE}.", code="unsupported_media_type")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_FORM_BYTES:
            raise GpuKeeperError("The form is larger than any order.", code="body_too_large")
    text = raw.decode("ascii", "replace")
    try:
        fields = parse_qs(text, errors="replace", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidOrder(faults=[Fault("form", f"has more than {_MAX_FIELDS} fields")]) from error
    form = {name: values[-1].strip() for name, values in fields.items()}
    long = [name for name, value in form.items() if len(value.splitlines()) > _MAX_LINES]
    if long:
        message = f"must have at most {_MAX_LINES} lines"
        raise InvalidOrder(faults=[Fault(name, message) for name in long])
    return form
