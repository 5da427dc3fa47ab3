"""The client retries what surely did not happen, and repeats nothing else."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
import pytest

from gpukeeper.domain.errors import (
    BadCredentials,
    InsufficientBalance,
    InvalidStateChange,
    LeaseLost,
    NovitaError,
    NovitaNotFound,
    NovitaRejected,
    NovitaTimeout,
    NovitaUnavailable,
    OutcomeUnknown,
    OutOfStock,
    QuotaExceeded,
    RateLimited,
)
from gpukeeper.domain.machines import Phase
from gpukeeper.domain.products import BillingMode
from gpukeeper.novita.client import NovitaClient
from tests.novita.bodies import error, machine
from tests.novita.scripted import (
    API_KEY,
    PURCHASE,
    FakeTime,
    ScriptedNovita,
    client_of,
    reply,
)

Question = Callable[[NovitaClient], Awaitable[object]]

READS: list[Question] = [
    lambda client: client.get("m1"),
    lambda client: client.connection("m1"),
    lambda client: client.list_all(),
    lambda client: client.products(cluster_id=None, billing_mode=BillingMode.SPOT, gpu_num=1),
    lambda client: client.clusters(),
    lambda client: client.template("t1"),
    lambda client: client.registry_auths(),
    lambda client: client.balance(),
]
CHANGES: list[Question] = [
    lambda client: client.create(PURCHASE),
    lambda client: client.start("m1"),
    lambda client: client.stop("m1"),
    lambda client: client.restart("m1"),
    lambda client: client.delete("m1"),
]
LOST_ANSWERS = [
    httpx2.ReadTimeout("too late"),
    httpx2.WriteTimeout("too late"),
    httpx2.ReadError("reset"),
    httpx2.WriteError("broken pipe"),
    httpx2.CloseError("closed"),
    httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    httpx2.LocalProtocolError("odd"),
    httpx2.DecodingError("not gzip"),
    ConnectionResetError("reset"),
    TimeoutError(),
    reply(500, error(500, "UNKNOWN", "oops")),
    reply(502, "<html>502</html>"),
    reply(504, ""),
]
NEVER_SENT = [
    httpx2.ConnectError("connection refused"),
    httpx2.ConnectTimeout("too late"),
    httpx2.PoolTimeout("none free"),
    httpx2.ProxyError("no tunnel"),
    httpx2.UnsupportedProtocol("ftp"),
]
THROTTLED = error(429, "RATE_LIMIT_EXCEEDED", "slow down")


async def test_a_purchase_returns_the_id_and_is_sent_once_with_the_key() -> None:
    novita = ScriptedNovita(reply(200, {"id": "37d312386c80a3b9"}))
    assert await client_of(novita).create(PURCHASE) == "37d312386c80a3b9"
    (request,) = novita.requests
    assert str(request.url) == (
        "https://novita.example/gpu-instance/openapi/v1/gpu/instance/create"
    )
    assert request.headers["authorization"] == f"Bearer {API_KEY}"
    assert request.headers["content-type"] == "application/json"
    assert novita.body()["name"] == "trainer-gkabc"


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "delete"])
async def test_a_verb_is_sent_once_and_accepts_any_success(verb: str) -> None:
    novita = ScriptedNovita(reply(200, ""))
    await getattr(client_of(novita), verb)("m1")
    assert novita.paths == [f"/gpu-instance/openapi/v1/gpu/instance/{verb}"]
    assert novita.body() == {"instanceId": "m1"}


@pytest.mark.parametrize("lost", LOST_ANSWERS)
@pytest.mark.parametrize("ask", CHANGES)
async def test_a_change_whose_answer_was_lost_is_not_repeated(
    ask: Question, lost: httpx2.Response | Exception
) -> None:
    novita = ScriptedNovita(lost)
    with pytest.raises(OutcomeUnknown):
        await ask(client_of(novita))
    assert len(novita.requests) == 1


@pytest.mark.parametrize("body", ["", "{}", '{"id": ""}', "<html></html>", '{"id": "37'])
async def test_a_purchase_that_succeeded_without_an_id_is_not_repeated(body: str) -> None:
    novita = ScriptedNovita(reply(200, body))
    with pytest.raises(OutcomeUnknown):
        await client_of(novita).create(PURCHASE)
    assert len(novita.requests) == 1


@pytest.mark.parametrize("failure", NEVER_SENT)
@pytest.mark.parametrize("ask", CHANGES)
async def test_a_change_that_was_surely_not_sent_is_tried_again(
    ask: Question, failure: Exception
) -> None:
    time = FakeTime()
    novita = ScriptedNovita(failure, failure, reply(200, {"id": "m1"}))
    await ask(client_of(novita, time))
    assert time.slept == [1, 2]


@pytest.mark.parametrize("failure", NEVER_SENT)
@pytest.mark.parametrize("ask", CHANGES)
async def test_a_change_that_can_never_be_sent_surely_did_not_happen(
    ask: Question, failure: Exception
) -> None:
    novita = ScriptedNovita(failure)
    with pytest.raises(NovitaUnavailable) as caught:
        await ask(client_of(novita))
    assert caught.value.__cause__ is failure
    assert len(novita.requests) == 4


@pytest.mark.parametrize("failure", [*LOST_ANSWERS, *NEVER_SENT])
@pytest.mark.parametrize("ask", READS)
async def test_a_read_that_failed_is_tried_three_more_times(
    ask: Question, failure: httpx2.Response | Exception
) -> None:
    time = FakeTime()
    novita = ScriptedNovita(failure)
    with pytest.raises(NovitaUnavailable):
        await ask(client_of(novita, time))
    assert len(novita.requests) == 4
    assert time.slept == [1, 2, 4]


async def test_a_read_that_works_at_last_gives_its_answer() -> None:
    novita = ScriptedNovita(
        httpx2.ReadTimeout("late"), reply(503, ""), reply(200, "{"), reply(200, machine("m1"))
    )
    assert (await client_of(novita).get("m1")).phase is Phase.UP


async def test_a_timeout_of_a_read_is_told_from_other_failures() -> None:
    with pytest.raises(NovitaTimeout, match="ReadTimeout"):
        await client_of(ScriptedNovita(httpx2.ReadTimeout("late"))).balance()


async def test_retries_can_be_switched_off() -> None:
    novita = ScriptedNovita(reply(503, ""))
    with pytest.raises(NovitaUnavailable):
        await client_of(novita, retries=0).balance()
    assert len(novita.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(400, error(400, "INSUFFICIENT_RESOURCE")), OutOfStock),
        (reply(400, error(400, "CLUSTER_STATUS")), OutOfStock),
        (reply(400, error(400, "BALANCE_NOT_ENOUGH")), InsufficientBalance),
        (reply(400, error(400, "CREATE_GPU_NUM_LIMIT")), QuotaExceeded),
        (reply(400, error(400, "VALIDATOR_PARAM")), NovitaRejected),
        (reply(401, error(401, "UNAUTHORIZED")), BadCredentials),
        (reply(200, error(400, "IMAGE_NOT_FOUND")), NovitaRejected),
    ],
)
async def test_a_refused_purchase_is_not_tried_again(
    answer: httpx2.Response, kind: type[NovitaError]
) -> None:
    novita = ScriptedNovita(answer)
    with pytest.raises(kind):
        await client_of(novita).create(PURCHASE)
    assert len(novita.requests) == 1


async def test_an_invalid_state_change_and_a_gone_machine_are_told_apart() -> None:
    with pytest.raises(InvalidStateChange):
        await client_of(ScriptedNovita(reply(400, {"message": "invalid state change"}))).start("m")
    with pytest.raises(NovitaNotFound):
        await client_of(ScriptedNovita(reply(404, error(404)))).delete("m")


@pytest.mark.parametrize("ask", [*READS, *CHANGES])
async def test_a_throttled_call_waits_as_long_as_it_is_told(ask: Question) -> None:
    time = FakeTime()
    throttled = reply(429, THROTTLED, retry_after="7")
    novita = ScriptedNovita(throttled)
    with pytest.raises(RateLimited) as caught:
        await ask(client_of(novita, time))
    assert caught.value.retry_after == timedelta(seconds=7)
    assert len(novita.requests) == 4
    assert time.slept == [7, 7, 7]


async def test_a_delay_of_nothing_still_backs_off() -> None:
    time = FakeTime()
    with pytest.raises(RateLimited):
        await client_of(ScriptedNovita(reply(429, THROTTLED, retry_after="0")), time).get("m1")
    assert time.slept == [1, 2, 4]


async def test_a_throttled_purchase_goes_through_once_it_may() -> None:
    novita = ScriptedNovita(reply(429, THROTTLED), reply(200, {"id": "m1"}))
    assert await client_of(novita).create(PURCHASE) == "m1"


async def test_a_purchase_throttled_without_a_delay_to_the_end_has_met_the_quota() -> None:
    time = FakeTime()
    with pytest.raises(QuotaExceeded) as caught:
        await client_of(ScriptedNovita(reply(429, THROTTLED)), time).create(PURCHASE)
    assert caught.value.reason == "RATE_LIMIT_EXCEEDED"
    assert time.slept == [1, 2, 4]


async def test_a_purchase_that_was_once_told_a_delay_was_only_throttled() -> None:
    novita = ScriptedNovita(reply(429, THROTTLED, retry_after="1"), reply(429, THROTTLED))
    with pytest.raises(RateLimited):
        await client_of(novita).create(PURCHASE)


async def test_a_read_throttled_to_the_end_is_no_quota() -> None:
    with pytest.raises(RateLimited):
        await client_of(ScriptedNovita(reply(429, THROTTLED))).get("m1")


async def test_nobody_is_kept_waiting_for_a_very_long_pause() -> None:
    time = FakeTime()
    novita = ScriptedNovita(reply(429, THROTTLED, retry_after="3600"), reply(200, machine("m1")))
    client = client_of(novita, time)
    with pytest.raises(RateLimited):
        await client.get("m1")
    with pytest.raises(RateLimited) as caught:
        await client.get("m1")
    assert caught.value.retry_after == timedelta(minutes=15)
    assert len(novita.requests) == 1
    time.now += timedelta(minutes=15)
    assert (await client.get("m1")).novita_id == "m1"


async def test_a_change_is_called_off_at_the_last_moment_before_any_of_its_tries() -> None:
    novita = ScriptedNovita(reply(429, THROTTLED))
    checks: list[int] = []

    def check() -> None:
        checks.append(len(novita.requests))
        if novita.requests:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        await client_of(novita).create(PURCHASE, check=check)
    assert checks == [0, 1]
    assert len(novita.requests) == 1
