"""Every error shape of Novita's becomes the one error of ours that says what to do about it."""

import pytest

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
from gpukeeper.domain.instances import Command
from gpukeeper.novita import protocol
from gpukeeper.novita.errors import error_from, final_error, is_error, unreadable_response
from gpukeeper.novita.messages import Request
from tests.novita.bodies import answer, error
from tests.novita.scripted import PURCHASE

CREATE = protocol.create_request(PURCHASE)
START = protocol.verb_request(Command.START, "m1")
GET = protocol.machine_request("m1")
LIST = protocol.page_request(0, name=None)
TEMPLATE = protocol.template_request("t1")
PAGE = "<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("UNAUTHORIZED", BadCredentials),
        ("FORBIDDEN", BadCredentials),
        ("INVALID_API_KEY", BadCredentials),
        ("BALANCE_NOT_ENOUGH", InsufficientBalance),
        ("EXPIRED_OR_BALANCE_NOT_ENOUGH", InsufficientBalance),
        ("CREATE_INSTANCE_LIMIT", InsufficientBalance),
        ("BUDGET_NOT_ENOUGH", InsufficientBalance),
        ("NOT_ENOUGH_BUDGET", InsufficientBalance),
        ("CREATE_GPU_NUM_LIMIT", QuotaExceeded),
        ("OPERATION_LIMIT", QuotaExceeded),
        ("INSUFFICIENT_RESOURCE", OutOfStock),
        ("MIGRATE_INSUFFICIENT_RESOURCE", OutOfStock),
        ("RATE_LIMIT_EXCEEDED", RateLimited),
        ("VALIDATOR_PARAM", NovitaRejected),
        ("IMAGE_NOT_FOUND", NovitaRejected),
        ("BANNED_USER", NovitaRejected),
        ("A_NEW_ONE", NovitaRejected),
        (" insufficient_resource ", OutOfStock),
    ],
)
@pytest.mark.parametrize("request_", [CREATE, START, GET])
def test_the_reason_decides_whatever_was_asked(
    request_: Request, reason: str, kind: type[NovitaError]
) -> None:
    found = error_from(request_, answer(400, error(400, reason, "no")))
    assert type(found) is kind
    assert (found.reason, found.status) == (reason.strip().upper(), 400)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_the_reason_comes_before_the_status(status: int) -> None:
    found = error_from(CREATE, answer(status, error(status, "INSUFFICIENT_RESOURCE")))
    assert type(found) is OutOfStock


@pytest.mark.parametrize(
    "body",
    [
        error(404, "RESOURCE_NOT_FOUND", "resource not found"),
        error(404, "NOT_FOUNT", "not fount"),
        error(404),
        {"code": 404, "message": "no such machine"},
        {"error": {"code": 404, "message": "no such machine"}},
        {"message": "instance not fount"},
    ],
)
@pytest.mark.parametrize("request_", [GET, START, TEMPLATE])
def test_a_404_of_novita_s_own_means_not_found(request_: Request, body: object) -> None:
    assert type(error_from(request_, answer(404, body))) is NovitaNotFound


@pytest.mark.parametrize(
    "body",
    [
        error(400, "RESOURCE_NOT_FOUND"),
        error(400, "NOT_FOUND"),
        error(400, "NOT_FOUNT"),
        error(400, "TEMPLATE_NOT_FOUND"),
        error(400, "", "the instance is Not Fount"),
        error(400, "REQUEST", "template not found"),
        "not fount",
    ],
)
@pytest.mark.parametrize("request_", [GET, START, TEMPLATE])
def test_a_400_can_mean_not_found_too(request_: Request, body: object) -> None:
    assert type(error_from(request_, answer(400, body))) is NovitaNotFound


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        "404 page not found",
        '["odd"]',
        b"\xff\xfe\x00",
        "",
        {},
        {"message": "no Route matched with those values"},
        {"message": "Not Found", "request_id": "7f3a"},
        {"error": "Not Found", "status": 404, "path": "/gpu-instance"},
        {"code": "NOT_FOUND", "message": "not found"},
        {"error": {"code": "NOT_FOUND", "message": "not found"}},
        {"code": 5, "message": "Not Found", "details": []},
    ],
)
def test_a_404_of_a_gateway_is_never_proof_that_a_machine_is_gone(body: object) -> None:
    assert type(error_from(GET, answer(404, body))) is NovitaUnavailable
    assert type(error_from(START, answer(404, body))) is OutcomeUnknown


@pytest.mark.parametrize("reason", ["PREPAID_INSTANCE_NOT_SUPPORT_RELEASE", "VALIDATOR_PARAM"])
def test_what_can_never_be_deleted_is_refused_for_good(reason: str) -> None:
    delete = protocol.verb_request(Command.DELETE, "m1")
    assert type(error_from(delete, answer(400, error(400, reason)))) is RefusedForGood
    assert type(error_from(START, answer(400, error(400, reason)))) is NovitaRejected


@pytest.mark.parametrize("reason", ["IMAGE_NOT_FOUND", "NETWORK_NOT_FOUND", "JOB_NOT_FOUND"])
def test_another_thing_that_is_missing_does_not_mean_the_machine_is(reason: str) -> None:
    assert type(error_from(START, answer(404, error(404, reason)))) is NovitaRejected


@pytest.mark.parametrize("request_", [CREATE, LIST])
@pytest.mark.parametrize("body", [error(404, "RESOURCE_NOT_FOUND"), error(404)])
def test_where_nothing_is_named_nothing_can_be_not_found(request_: Request, body: object) -> None:
    assert type(error_from(request_, answer(404, body))) is NovitaRejected


@pytest.mark.parametrize(
    "body",
    [
        error(400, "", "invalid state change"),
        error(400, "CONFLICT", "Invalid State Change: running"),
        {"error": {"message": "invalid state change", "code": 400}},
        {"error": "invalid state change"},
        "invalid state change",
    ],
)
def test_an_invalid_state_change_is_told_by_its_message(body: object) -> None:
    assert type(error_from(START, answer(400, body))) is InvalidStateChange


@pytest.mark.parametrize(
    "reason", ["CLUSTER_STATUS", "NODE_STATUS", "DEPENDENT_RESOURCE_STATE", "CONFLICT"]
)
def test_a_place_that_cannot_now_is_out_of_stock_when_buying_and_temporary_elsewhere(
    reason: str,
) -> None:
    body = error(400, reason, "node is draining")
    bought = error_from(CREATE, answer(400, body))
    assert (type(bought), bought.reason) == (OutOfStock, reason)
    assert type(error_from(START, answer(400, body))) is NovitaUnavailable
    assert type(error_from(GET, answer(400, body))) is NovitaUnavailable


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "", BadCredentials),
        (401, PAGE, BadCredentials),
        (403, "", BadCredentials),
        (403, {"message": "denied"}, BadCredentials),
        (403, {"message": "You have exceeded the GPU instance quota"}, QuotaExceeded),
        (403, error(403, "FORBIDDEN", "instance Quota reached"), QuotaExceeded),
        (403, error(403, "FORBIDDEN", "please recharge"), InsufficientBalance),
        (403, error(403, "FORBIDDEN", "no permission"), BadCredentials),
        (401, error(401, "UNAUTHORIZED", "quota of keys"), BadCredentials),
        (403, PAGE, NovitaUnavailable),
        (429, "", RateLimited),
        (429, PAGE, RateLimited),
        (429, error(429, "LIST_BILL_TOO_FAST"), RateLimited),
        (400, "", NovitaRejected),
        (400, {"message": "bad"}, NovitaRejected),
        (400, "bad request", NovitaRejected),
        (400, PAGE, NovitaUnavailable),
        (409, {}, NovitaRejected),
        (422, {}, NovitaRejected),
        (408, "", NovitaUnavailable),
        (500, error(500, "UNKNOWN"), NovitaUnavailable),
        (500, error(500, "WALLET_NOT_FOUND"), NovitaUnavailable),
        (502, PAGE, NovitaUnavailable),
        (503, "", NovitaUnavailable),
        (504, PAGE, NovitaUnavailable),
        (599, "odd", NovitaUnavailable),
        (301, "", NovitaUnavailable),
        (302, PAGE, NovitaUnavailable),
    ],
)
def test_without_a_known_reason_the_status_decides(
    status: int, body: object, kind: type[NovitaError]
) -> None:
    assert type(error_from(GET, answer(status, body))) is kind
    lost = OutcomeUnknown if kind is NovitaUnavailable else kind
    assert type(error_from(CREATE, answer(status, body))) is lost
    assert type(error_from(START, answer(status, body))) is lost


def test_a_page_is_also_known_by_its_content_type() -> None:
    headers = {"content-type": "Text/HTML; charset=utf-8"}
    assert type(error_from(GET, answer(400, "oops", headers))) is NovitaUnavailable


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (error(400, "X"), True),
        ({"reason": "X"}, True),
        ({"code": 400}, True),
        ({"code": "500"}, True),
        ({"error": "no"}, True),
        ({"error": {"message": "no"}}, True),
        ({"error": {"code": 404}}, True),
        ({"error": {"reason": "X"}}, True),
        ({}, False),
        ({"code": 0, "reason": "", "message": "fine", "error": None}, False),
        ({"code": 200}, False),
        ({"error": ""}, False),
        ({"error": {}}, False),
        ([], False),
        ("error", False),
        (None, False),
    ],
)
def test_a_body_is_a_refusal_only_when_it_says_so(body: object, is_one: bool) -> None:
    assert is_error(body) is is_one


def test_a_refusal_in_a_success_takes_its_own_code_for_the_status() -> None:
    assert type(error_from(GET, answer(200, error(500, "", "away")))) is NovitaUnavailable
    assert type(error_from(GET, answer(200, error(404)))) is NovitaNotFound
    assert type(error_from(GET, answer(200, {"reason": "ODD"}))) is NovitaRejected


@pytest.mark.parametrize(
    "body", [{"error": "upstream timed out"}, error(10_001), {"reason": "ODD"}]
)
def test_an_unknown_error_in_a_success_does_not_say_that_nothing_was_bought(body: object) -> None:
    assert type(error_from(CREATE, answer(200, body))) is OutcomeUnknown
    assert type(error_from(START, answer(200, body))) is OutcomeUnknown
    assert type(error_from(CREATE, answer(200, error(400)))) is NovitaRejected
    assert type(error_from(CREATE, answer(200, {"reason": "BALANCE_NOT_ENOUGH"}))) is (
        InsufficientBalance
    )


def test_a_bad_answer_to_a_change_leaves_its_outcome_unknown() -> None:
    assert type(unreadable_response(GET, answer(200, ""))) is NovitaUnavailable
    assert type(unreadable_response(START, answer(200, ""))) is OutcomeUnknown


def test_a_purchase_throttled_for_ever_without_a_delay_has_met_the_quota() -> None:
    throttled = RateLimited("slow down", reason="RATE_LIMIT_EXCEEDED", status=429)
    last = final_error(CREATE, throttled, was_told_to_wait=False)
    assert type(last) is QuotaExceeded
    assert (last.reason, last.status) == ("RATE_LIMIT_EXCEEDED", 429)


@pytest.mark.parametrize(
    ("request_", "reason", "was_told_to_wait"),
    [
        (CREATE, "RATE_LIMIT_EXCEEDED", True),
        (CREATE, None, False),
        (START, "RATE_LIMIT_EXCEEDED", False),
        (LIST, "RATE_LIMIT_EXCEEDED", False),
    ],
)
def test_any_other_throttling_stays_what_it_is(
    request_: Request, reason: str | None, was_told_to_wait: bool
) -> None:
    throttled = RateLimited(reason=reason)
    assert final_error(request_, throttled, was_told_to_wait=was_told_to_wait) is throttled
