"""Rows 6.1 and 6.3 to 6.5 of the requirements: what becomes of Novita's errors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from gpukeeper.config import variables
from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.serving import Json, Service
from tests.e2e.waiting import eventually

DEFAULTS = {variable.name: variable.default for variable in variables()}

# What goes wrong at Novita: how, what it is answered with, and which of Novita's words are kept.
REFUSED_PURCHASES: dict[str, tuple[Callable[[Novita], None], int, str, str]] = {
    "balance": (
        lambda novita: novita.fate("no-balance"),
        402,
        "insufficient_balance",
        "BALANCE_NOT_ENOUGH",
    ),
    "quota": (lambda novita: novita.fate("quota"), 409, "quota_exceeded", "CREATE_GPU_NUM_LIMIT"),
    "stock": (lambda novita: novita.fate("out-of-stock", times=9), 409, "out_of_stock", ""),
    "refusal": (
        lambda novita: novita.fate(
            "refuse", http_status=400, reason="IMAGE_NOT_FOUND", message="no such image"
        ),
        502,
        "novita_rejected",
        "no such image (create, HTTP 400, IMAGE_NOT_FOUND)",
    ),
    "key": (
        lambda novita: novita.fault("unauthorized", "create"),
        502,
        "novita_credentials",
        "UNAUTHORIZED",
    ),
    "rate": (
        lambda novita: novita.fault("rate-limit", "create", retry_after=1),
        503,
        "novita_rate_limited",
        "RATE_LIMIT_EXCEEDED",
    ),
}


@pytest.mark.parametrize("case", REFUSED_PURCHASES)
def test_6_1_errors_of_a_purchase_become_fitting_statuses_and_messages(
    service: Service, novita: Novita, case: str
) -> None:
    go_wrong, status, code, words = REFUSED_PURCHASES[case]
    go_wrong(novita)

    answer = service.try_order(name=f"refused-{case}")

    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"]
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status == 503)
    # Nothing was bought, and the history is complete.
    assert novita.machines(f"refused-{case}") == []
    kept = service.instance(problem["instanceId"])
    assert (kept["status"], kept["reason"]["code"], kept["isBilling"]) == ("failed", code, False)
    assert kept["attempts"] == problem["attempts"]
    assert {attempt["outcome"] for attempt in kept["attempts"]} == {code}


@pytest.mark.parametrize(
    ("fields", "status", "code", "words"),
    [
        ({"productName": "RTX 409"}, 400, "product_not_found", "'RTX 4090D 24GB'"),
        ({"templateId": "tpl-basc"}, 400, "template_not_found", "Did you mean 'tpl-basic'"),
        ({"region": "CN-HK-02"}, 400, "region_not_found", "CN-HK-01"),
        ({"region": "AS-SGP-02", "productName": "H100 SXM 80GB"}, 409, "out_of_stock", "sold out"),
        ({"maxPricePerHour": 0.1}, 409, "price_above_limit", "$0.175"),
    ],
)
def test_6_1_what_novita_does_not_have_is_told_before_anything_is_bought(
    service: Service,
    novita: Novita,
    fields: Json,
    status: int,
    code: str,
    words: str,
) -> None:
    purchases = len(novita.visits("create"))

    answer = service.try_order(**fields)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert words in answer.json()["detail"]
    assert len(novita.visits("create")) == purchases


def test_6_1_faults_of_novitas_own_are_unavailability(service: Service, novita: Novita) -> None:
    for gpu_num, kind in enumerate(("error", "html", "reset", "truncated", "cut"), start=2):
        novita.recover()
        novita.fault(kind, "products")

        # What was asked for lately is kept; nobody has asked for as many GPUs there.
        answer = service.try_order(region="EU-DE-01", gpuNum=gpu_num)

        assert (answer.status_code, answer.json()["code"]) == (503, "novita_unavailable"), kind
        assert int(answer.headers["retry-after"]) > 0


def test_6_3_429_backs_off_and_retries(serve: Serve, own_novita: Novita) -> None:
    service = serve(GPUKEEPER_SWEEP_INTERVAL="0")
    own_novita.fault("rate-limit", "products", times=1, retry_after=1)
    own_novita.fault("rate-limit", "create", times=1)

    instance = service.order(name="throttled")

    assert len(own_novita.machines("throttled")) == 1
    assert [each["outcome"] for each in instance["attempts"]] == ["accepted"]
    for route, least_seconds in (("products", 1), ("create", 0.8)):
        first, second = (visit.at for visit in own_novita.visits(route))
        assert (second - first).total_seconds() >= least_seconds


def test_6_4_timeouts_are_retried_up_to_three_times(serve: Serve, own_novita: Novita) -> None:
    service = serve(GPUKEEPER_NOVITA_TIMEOUT="0.5", GPUKEEPER_SWEEP_INTERVAL="0")
    own_novita.fault("timeout", "products", times=1)
    own_novita.fault("timeout", "template")

    # Side by side, because the pauses before the retries are long.
    with ThreadPoolExecutor() as pool:
        offers = pool.submit(service.get, "/api/offers")
        order = pool.submit(service.try_order, region="EU-DE-01")

    assert offers.result().status_code == 200
    assert len(own_novita.visits("products")) > 1
    assert order.result().status_code == 504
    assert order.result().json()["code"] == "novita_timeout"
    tries = [visit.at for visit in own_novita.visits("template")]
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    assert len(tries) == 1 + 3
    assert all(pause >= 0.8 * 2**number for number, pause in enumerate(pauses)), pauses
    assert own_novita.visits("create") == ()
    assert DEFAULTS["GPUKEEPER_NOVITA_RETRIES"] == "3"


def test_6_5_errors_are_logged_with_what_is_needed_to_find_the_cause(
    service: Service, novita: Novita
) -> None:
    novita.fate("refuse", http_status=400, reason="IMAGE_NOT_FOUND", message="no such image")
    headers = {"x-request-id": "chosen-by-the-caller"}

    problem = service.try_order(name="logged", headers=headers).json()

    [request] = eventually(
        lambda: service.log("request", request_id="chosen-by-the-caller"), "the line of the request"
    )
    assert (request["level"], request["status"]) == ("warning", 502)
    assert (request["code"], request["detail"]) == (problem["code"], problem["detail"])
    [refusal] = service.log("purchase_refused", instance_id=problem["instanceId"])
    assert refusal["novita_reason"] == "IMAGE_NOT_FOUND"
    assert "no such image" in refusal["novita_message"]
    assert (refusal["product_id"], refusal["region"]) == ("4090.16c62g", "CN-HK-01")
    [failure] = service.log("instance_changed", instance_id=problem["instanceId"], status="failed")
    assert (failure["level"], failure["code"]) == ("error", "novita_rejected")
    log_file = (service.data_dir / "logs" / "gpukeeper.log").read_text()
    assert "chosen-by-the-caller" in log_file
    assert problem["instanceId"] in log_file
