"""What can go wrong between a client and the service, and how an answer becomes such an error."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx2

from gpukeeper.contract.instances import Attempt, Instance
from gpukeeper.contract.serialization import UNREADABLE
from gpukeeper.domain.errors import Fault, GpuKeeperError

# What a proxy answers when it cannot reach the service behind it.
_GATEWAY_STATUSES = frozenset({502, 503, 504})

# Answers that are worth asking again for.
_TEMPORARY_STATUSES = frozenset({429, 502, 503, 504})


class InvalidArgument(GpuKeeperError, ValueError):
    """What was passed to the client cannot be used; nothing was sent."""

    code = "invalid_argument"


class UnusableKey(InvalidArgument):
    """What was given as the API key cannot be one."""


class UnusableEnvironment(InvalidArgument):
    """A proxy or certificates that the environment names cannot be used; ``faults`` says which."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} {sentence}" for name, sentence in faults.items()))
        self.faults = dict(faults)


class AmbiguousName(GpuKeeperError):
    """Several instances have this name; ``instances`` are those that may be meant."""

    code = "ambiguous_name"

    def __init__(self, name: str, instances: Sequence[Instance]) -> None:
        known = "; ".join(
            f"{each.id}, {each.status}, ordered {each.created_at:%Y-%m-%d %H:%M:%SZ}"
            if each.created_at
            else f"{each.id}, {each.status}"
            for each in instances
        )
        super().__init__(f"Several instances are called '{name}'. Give the id of one: {known}.")
        self.instances = tuple(instances)


class ServiceUnreachable(GpuKeeperError):
    """The service did not answer; ``may_have_arrived`` tells whether it may have been asked."""

    code = "service_unreachable"

    def __init__(self, message: str, *, may_have_arrived: bool) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class WaitTimedOut(GpuKeeperError):
    """The instance did not get there in time; ``instance`` is how it was seen last."""

    code = "wait_timed_out"

    def __init__(self, message: str, *, instance: Instance) -> None:
        super().__init__(message)
        self.instance = instance


class NotRunning(GpuKeeperError):
    """The instance will not run by itself; ``instance`` is how it ended, ``error_code`` why."""

    code = "not_running"

    def __init__(self, instance: Instance) -> None:
        reason = instance.reason
        why = f": {reason.message}" if reason else "."
        super().__init__(
            f"'{instance.name}' ({instance.id}) is {instance.status}{why}",
            code=reason.code if reason else None,
        )
        self.instance = instance


class ApiProblem(GpuKeeperError):
    """The service answered with a problem (RFC 9457).

    ``error_code`` is the stable word to branch on (``out_of_stock``, ``unauthorized``, …) and
    ``message`` the sentence for people.  ``faults`` names the fields that are wrong, ``attempts``
    the tries to buy, and ``request_id`` finds the request in the service's log.  An order that
    failed leaves the instance ``instance_id``; ``novita_reason`` is Novita's word for a refusal.
    ``unexpected_answer`` is the code of an answer that is not the service's.
    """

    code = "unexpected_answer"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        title: str = "",
        faults: Sequence[Fault] = (),
        attempts: Sequence[Attempt] = (),
        request_id: str | None = None,
        instance_id: str | None = None,
        novita_reason: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.title = title
        self.faults = tuple(faults)
        self.attempts = tuple(attempts)
        self.request_id = request_id
        self.instance_id = instance_id
        self.novita_reason = novita_reason
        self.retry_after = retry_after


def is_temporary(error: GpuKeeperError) -> bool:
    """Whether the same question may be answered a little later."""
    if isinstance(error, ApiProblem):
        return error.status in _TEMPORARY_STATUSES
    return isinstance(error, ServiceUnreachable)


def read_problem(response: httpx2.Response) -> GpuKeeperError:
    """Return the error that an answer other than success stands for."""
    body = read_json(response)
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return _foreign(response)
    title = str(body.get("title") or "")
    return ApiProblem(
        str(body.get("detail") or title or body["code"]),
        status=response.status_code,
        code=body["code"],
        title=title,
        faults=_faults(body.get("errors")),
        attempts=_attempts(body),
        request_id=body.get("requestId") or None,
        instance_id=body.get("instanceId") or None,
        novita_reason=body.get("novitaReason") or None,
        retry_after=_retry_after(response),
    )


def read_json(response: httpx2.Response) -> Any:
    """Return the JSON of an answer, or None when it is not JSON."""
    try:
        return response.json()
    except ValueError:
        return None


def redact_address(address: str) -> str:
    """Return an address without what stands before an @ or after a question mark."""
    return re.sub("//[^/]*@", "//", re.split("[?#]", address)[0])


def unreadable_response(response: httpx2.Response) -> ApiProblem:
    """Return the error for an answer that claims success and is not the service's."""
    return ApiProblem(
        f"{response.url} answered {response.status_code}, but not as gpukeeper does: "
        "is another program listening there?",
        status=response.status_code,
    )


def _foreign(response: httpx2.Response) -> GpuKeeperError:
    said = f"{response.url} answered {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in _GATEWAY_STATUSES:
        return ServiceUnreachable(
            f"{said}: the service behind it does not answer.", may_have_arrived=True
        )
    if response.has_redirect_location:
        place = redact_address(response.headers["location"])
        message = f"{said} to {place}: use that address."
    else:
        message = f"{said}, but not as gpukeeper does: is another program listening there?"
    return ApiProblem(message, status=response.status_code)


def _faults(errors: Any) -> tuple[Fault, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        Fault(str(each.get("field", "")), str(each.get("message", "")))
        for each in errors
        if isinstance(each, dict)
    )


def _attempts(body: dict[str, Any]) -> tuple[Attempt, ...]:
    """Read the attempts; a problem without readable ones is still worth showing."""
    try:
        return tuple(map(Attempt.read, body.get("attempts") or ()))
    except UNREADABLE:
        return ()


def _retry_after(response: httpx2.Response) -> timedelta | None:
    text = response.headers.get("retry-after", "")
    return timedelta(seconds=int(text)) if text.isdecimal() and len(text) < 9 else None
