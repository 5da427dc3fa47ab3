"""WHERE AN ERROR BECOMES AN EXIT STATUS, and the sentences that go with it."""

import re

from gpukeeper.cli.terminal.instance_tables import attempt_text
from gpukeeper.cli.terminal.output import note
from gpukeeper.client import ApiProblem, ServiceUnreachable, WaitTimedOut
from gpukeeper.domain.errors import GpuKeeperError, InvalidConfiguration

FAILED = 1
USAGE = 2
TIMED_OUT = 3
NOTHING_FOR_SALE = 4
UNREACHABLE = 5
REFUSED = 6
BAD_CONFIGURATION = 78  # EX_CONFIG of sysexits.h

_STATUS_OF_CODE = {
    "invalid_request": USAGE,
    "invalid_argument": USAGE,
    "ambiguous_name": USAGE,
    "product_not_found": USAGE,
    "template_not_found": USAGE,
    "region_not_found": USAGE,
    WaitTimedOut.code: TIMED_OUT,
    "out_of_stock": NOTHING_FOR_SALE,
    "price_above_limit": NOTHING_FOR_SALE,
    ServiceUnreachable.code: UNREACHABLE,
    "unauthorized": REFUSED,
    "too_many_wrong_keys": REFUSED,
    "novita_credentials": REFUSED,
    "insufficient_balance": REFUSED,
    "quota_exceeded": REFUSED,
}

# A field of an order, as faults name it: ``gpuNum``, ``envs.PATH``, ``ports[1]``.
_FIELD = re.compile(r"(?P<name>\w+)(?:\.(?P<key>.*)|\[(?P<index>[0-9]+)\].*)?")

_OPTION_OF_FIELD = {
    "name": "NAME",
    "productName": "--product",
    "templateId": "--template",
    "gpuNum": "--gpus",
    "rootfsSize": "--disk",
    "billingMode": "--billing",
    "region": "--region",
    "regions": "--region",
    "maxPricePerHour": "--max-price",
    "envs": "--env",
    "ports": "--port",
    "webhookUrl": "--webhook-url",
    "labels": "--label",
    "startupTimeout": "--startup-timeout",
    "onFailure": "--on-failure",
}

_ADVICE = {
    "product_not_found": "'gpukeeper offers' shows what is for sale.",
    "region_not_found": "Without --region the service's GPUKEEPER_REGION is meant; "
    "'gpukeeper offers --region …' shows what is for sale in another.",
    "template_not_found": "Novita's console lists the templates and their ids.",
    "out_of_stock": "'gpukeeper offers', with the order's --disk, --gpus and --region, shows what "
    "is for sale; further --region are tried too.",
    "price_above_limit": "Raise --max-price; 'gpukeeper offers' shows the prices.",
    "unauthorized": "Put one of the service's GPUKEEPER_API_KEYS into GPUKEEPER_API_KEY.",
    "too_many_wrong_keys": "Correct GPUKEEPER_API_KEY, here or wherever a wrong one is sent from.",
    "novita_credentials": "Check the service's NOVITA_API_KEY with 'gpukeeper check'.",
    "insufficient_balance": "Top up the Novita account.",
    "quota_exceeded": "Delete what is not needed ('gpukeeper ls'), or ask Novita for more.",
    "instance_not_found": "'gpukeeper ls' shows what there is.",
    "delivery_not_found": "'gpukeeper deliveries ls' shows what there is.",
    "wrong_status": "'gpukeeper show' tells where the instance is.",
    "foreign_machine": "If it is yours: 'gpukeeper orphans adopt --foreign', then 'gpukeeper rm'.",
    "idempotency_key_reused": "Another order needs another --idempotency-key.",
    "internal_error": "The service's log has the cause under the request id.",
    ServiceUnreachable.code: "Is it running ('gpukeeper serve')? GPUKEEPER_URL says where it is.",
    WaitTimedOut.code: "It goes on: 'gpukeeper wait' waits again, 'gpukeeper rm' deletes it.",
}


def find_exit_status(code: str) -> int:
    """Return the exit status for the code of an error or of an instance's reason."""
    return _STATUS_OF_CODE.get(code, FAILED)


def report_error(error: GpuKeeperError, *, advice: str | None = None) -> int:
    """Write to stderr what went wrong and what to do about it; return the exit status.

    ``advice`` stands in for the one that belongs to the error's code.
    """
    if isinstance(error, InvalidConfiguration):
        for fault in error.faults:
            note(f"{fault.field}: {fault.message}")
        return BAD_CONFIGURATION
    note(f"Error: {_headline(error)} [{error.error_code}]")
    if isinstance(error, ApiProblem):
        _report_details(error)
    if advice is None:
        print_advice(error.error_code)
    else:
        note(advice)
    return find_exit_status(error.error_code)


def print_advice(code: str) -> None:
    """Write to stderr what to do about an error, if there is something."""
    if code in _ADVICE:
        note(_ADVICE[code])


def _headline(error: GpuKeeperError) -> str:
    # The sentence of a problem with faults repeats the first of them; each is listed below.
    if isinstance(error, ApiProblem) and error.faults and error.title:
        return error.title
    return error.message


def _report_details(problem: ApiProblem) -> None:
    for fault in problem.faults:
        note(f"  {_option(fault.field)}: {fault.message}")
    for attempt in problem.attempts:
        note(f"  tried {attempt_text(attempt)}")
    if problem.retry_after is not None:
        note(f"  try again in {problem.retry_after.total_seconds():g} s")
    named = (
        ("instance", problem.instance_id),
        ("Novita's reason", problem.novita_reason),
        ("request id", problem.request_id),
    )
    for name, value in named:
        if value:
            note(f"  {name}: {value}")


def _option(field: str) -> str:
    """Return the option that a field of an order was given with; other fields as they are."""
    found = _FIELD.fullmatch(field)
    option = _OPTION_OF_FIELD.get(found["name"]) if found else None
    if found is None or option is None:
        return field
    if found["index"]:
        return f"{option} ({field})"
    return f"{option} {found['key']}" if found["key"] else option
