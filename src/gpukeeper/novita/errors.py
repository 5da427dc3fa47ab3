"""Turn what Novita answers instead of data into the error tree.

Novita's word (``reason``) decides first, its message in a few known cases, then the HTTP status
(Novita API notes §5).  Where a change was asked for and the answer does not say that it was
refused, the outcome is unknown.
"""

from dataclasses import dataclass

from gpukeeper.domain.backoff import parse_retry_after
from gpukeeper.domain.errors import (
    BadCredentials,
    InsufficientBalance,
    InvalidStateChange,
    NovitaError,
    NovitaNotFound,
    NovitaRejected,
    NovitaUnavailable,
    OutcomeUnknown,
    OutOfStock,
    QuotaExceeded,
    RateLimited,
    RefusedForGood,
)
from gpukeeper.novita import models
from gpukeeper.novita.messages import Request, Response
from gpukeeper.novita.redact import redact

_BY_REASON: dict[str, type[NovitaError]] = {
    "UNAUTHORIZED": BadCredentials,
    "FORBIDDEN": BadCredentials,
    "INVALID_API_KEY": BadCredentials,
    "BALANCE_NOT_ENOUGH": InsufficientBalance,
    "EXPIRED_OR_BALANCE_NOT_ENOUGH": InsufficientBalance,
    "CREATE_INSTANCE_LIMIT": InsufficientBalance,
    "BUDGET_NOT_ENOUGH": InsufficientBalance,
    "NOT_ENOUGH_BUDGET": InsufficientBalance,
    "CREATE_GPU_NUM_LIMIT": QuotaExceeded,
    "OPERATION_LIMIT": QuotaExceeded,
    "INSUFFICIENT_RESOURCE": OutOfStock,
    "MIGRATE_INSUFFICIENT_RESOURCE": OutOfStock,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "RESOURCE_NOT_FOUND": NovitaNotFound,
    "NOT_FOUND": NovitaNotFound,
    "NOT_FOUNT": NovitaNotFound,
    "TEMPLATE_NOT_FOUND": NovitaNotFound,
    # Something else than the machine is missing: its 404 must not read as "the machine is gone".
    "IMAGE_NOT_FOUND": NovitaRejected,
    "NETWORK_NOT_FOUND": NovitaRejected,
    "NETWORK_STORAGE_NOT_FOUND": NovitaRejected,
    "INSTANCE_LOCAL_STORAGE_NOT_FOUND": NovitaRejected,
    "JOB_NOT_FOUND": NovitaRejected,
}
_BY_MESSAGE: dict[str, type[NovitaError]] = {
    "invalid state change": InvalidStateChange,
    "not fount": NovitaNotFound,
    "template not found": NovitaNotFound,
}
# A 403 that speaks of these is about the account and not about the key: the console words the quota
# "You have exceeded the GPU instance quota" (§5).
_BY_WORD_OF_A_403: dict[str, type[NovitaError]] = {
    "quota": QuotaExceeded,
    "balance": InsufficientBalance,
    "recharge": InsufficientBalance,
}
# What a 403 says otherwise: the key is known, and may not do this.
_NOT_PERMITTED = "Novita does not permit this API key to do that: check what NOVITA_API_KEY may do"
# This place cannot do it now (§5): when buying, another place may.
_PLACE_IS_BUSY = frozenset(
    {"CLUSTER_STATUS", "NODE_STATUS", "DEPENDENT_RESOURCE_STATE", "CONFLICT"}
)
# What no repetition changes (§3.4): all other deletions are asked again until they are done.
_NEVER_DELETED = frozenset({"PREPAID_INSTANCE_NOT_SUPPORT_RELEASE", "VALIDATOR_PARAM"})
# Routes that name one machine or template; elsewhere nothing can be "not found".
_NAMES_ONE_THING = frozenset({"get", "start", "stop", "restart", "delete", "template"})

# Longer than any reason of Novita's, and short enough for a log line.
_REASON_MAX_CHARS = 100


def is_error(data: object) -> bool:
    """Whether a body has the shape of an error, whatever its HTTP status."""
    if not isinstance(data, dict):
        return False
    body = models.ErrorBody.model_validate(data)
    return bool(body.reason or body.error.reason or body.error.message) or _code(body) >= 400


def error_from(request: Request, answer: Response) -> NovitaError:
    """Return the error that an answer stands for; never raises."""
    said = _said(request, answer)
    return _error(_kind(request, said), request, answer, said)


def unreadable_response(request: Request, answer: Response) -> NovitaError:
    """Return the error for a success whose body is unreadable or lacks what was asked for."""
    said = _Said(reason="", message="the answer is unreadable", status=answer.status)
    return _error(_without_answer(request), request, answer, said)


def final_error(
    request: Request, error: NovitaUnavailable, *, was_told_to_wait: bool
) -> NovitaError:
    """Return what an error means once all retries have failed.

    A purchase that is throttled for ever without being told how long to wait has met the quota
    of GPU instances, not a speed limit (§5).
    """
    is_quota = (
        request.route == "create" and error.reason == "RATE_LIMIT_EXCEEDED" and not was_told_to_wait
    )
    if not is_quota:
        return error
    return QuotaExceeded(error.message, reason=error.reason, status=error.status)


@dataclass(frozen=True, slots=True)
class _Said:
    """What an error answer says; ``status`` is the HTTP status that it stands for.

    Only what is ``by_novita`` itself is proof that a machine does not exist: its errors carry a
    ``reason`` or a number as ``code`` (§5).  Anything else, a page, a text, nothing, or other JSON,
    may come from a gateway, which knows of no machine.
    """

    reason: str
    message: str
    status: int
    by_novita: bool = False
    is_page: bool = False


def _said(request: Request, answer: Response) -> _Said:
    data = answer.parsed()
    if not isinstance(data, dict):
        return _said_in_text(answer)
    body = models.ErrorBody.model_validate(data)
    code = _code(body)
    status = answer.status
    if answer.is_success:
        # Without a word that is known, an error in a success does not say that nothing was done.
        unknown = 500 if request.is_change else 400
        status = code if 400 <= code < 600 else unknown
    reason = body.reason or body.error.reason or _word(body.code_text, body.error.code_text)
    message = body.message or body.error.message
    by_novita = bool(body.reason or body.error.reason) or code >= 400
    word = redact(reason, request.secrets).upper()[:_REASON_MAX_CHARS]
    return _Said(word, message, status, by_novita=by_novita)


def _said_in_text(answer: Response) -> _Said:
    text = answer.body.decode("utf-8", "replace").strip()
    is_page = text.startswith("<") or "html" in answer.headers.get("content-type", "").lower()
    return _Said("", "" if is_page else text, answer.status, is_page=is_page)


def _code(body: models.ErrorBody) -> int:
    return max(body.code, body.error.code)


def _word(*codes: str) -> str:
    return next((code for code in codes if code and not code.isdigit()), "")


def _kind(request: Request, said: _Said) -> type[NovitaError]:
    if request.route == "delete" and said.reason in _NEVER_DELETED:
        return RefusedForGood
    kind = _kind_by_word(said) or _kind_by_reason(said) or _kind_by_message(said.message)
    if kind is NovitaNotFound and request.route not in _NAMES_ONE_THING:
        return NovitaRejected
    if kind is not None:
        return kind
    if said.reason in _PLACE_IS_BUSY:
        return OutOfStock if request.route == "create" else NovitaUnavailable
    return _kind_by_status(request, said)


def _kind_by_reason(said: _Said) -> type[NovitaError] | None:
    """Return what a word means; "not found" as a ``code`` is what gateways say, too."""
    kind = _BY_REASON.get(said.reason)
    return None if kind is NovitaNotFound and not said.by_novita else kind


def _kind_by_word(said: _Said) -> type[NovitaError] | None:
    if said.status != 403 or said.is_page:
        return None
    lowered = said.message.lower()
    return next((kind for word, kind in _BY_WORD_OF_A_403.items() if word in lowered), None)


def _kind_by_message(message: str) -> type[NovitaError] | None:
    lowered = message.lower()
    return next((kind for text, kind in _BY_MESSAGE.items() if text in lowered), None)


def _kind_by_status(request: Request, said: _Said) -> type[NovitaError]:
    status = said.status
    if status == 429:
        return RateLimited
    if status == 401 or (status == 403 and not said.is_page):
        return BadCredentials
    is_refused = 400 <= status < 500 and status != 408 and not said.is_page
    if not is_refused or (status == 404 and not said.by_novita):
        return _without_answer(request)
    if status == 404 and request.route in _NAMES_ONE_THING:
        return NovitaNotFound
    return NovitaRejected


def _without_answer(request: Request) -> type[NovitaError]:
    return OutcomeUnknown if request.is_change else NovitaUnavailable


def _error(kind: type[NovitaError], request: Request, answer: Response, said: _Said) -> NovitaError:
    message = _sentence(kind, request, answer, said)
    reason = said.reason or None
    if not issubclass(kind, NovitaUnavailable):
        return kind(message, reason=reason, status=answer.status)
    retry_after = parse_retry_after(answer.headers.get("retry-after"), now=answer.asked_at)
    return kind(message, reason=reason, status=answer.status, retry_after=retry_after)


def _sentence(kind: type[NovitaError], request: Request, answer: Response, said: _Said) -> str:
    """Say what happened (the error's docstring), what Novita said to it, and where."""
    opening = (kind.__doc__ or "").rstrip(".")
    if kind is BadCredentials and said.status == 403 and said.reason != "INVALID_API_KEY":
        opening = _NOT_PERMITTED
    message = redact(said.message, request.secrets)
    where = ", ".join(filter(None, (request.route, f"HTTP {answer.status}", said.reason)))
    return f"{opening}: {message} ({where})" if message else f"{opening} ({where})"
