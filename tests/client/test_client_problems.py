"""What the client makes of answers that are no success, and of no answer at all."""

from datetime import timedelta
from decimal import Decimal

import httpx2
import pytest

from gpukeeper.client import ApiProblem, Client, ServiceUnreachable
from gpukeeper.domain.errors import Fault, GpuKeeperError
from tests.client.fake_service import INSTANCE, FakeService, problem

ROUTE = "GET /api/orphans"


def error_after(reply: httpx2.Response | Exception) -> GpuKeeperError:
    """Return what the client raises when the service answers this."""
    service = FakeService()
    service.reply(ROUTE, reply)
    with pytest.raises(GpuKeeperError) as raised:
        service.connect().orphans()
    return raised.value


def test_a_problem_keeps_all_that_the_service_said() -> None:
    error = error_after(
        problem(
            503,
            "novita_rate_limited",
            "Novita asks for fewer calls.",
            headers={"retry-after": "7"},
            errors=[{"field": "gpuNum", "message": "too many"}],
            attempts=INSTANCE["attempts"],
            instanceId="ins_01k",
            novitaReason="TOO_MANY_REQUESTS",
        )
    )
    assert isinstance(error, ApiProblem)
    assert (error.error_code, error.status) == ("novita_rate_limited", 503)
    assert str(error) == "Novita asks for fewer calls."
    assert error.faults == (Fault("gpuNum", "too many"),)
    assert error.attempts[0].price_per_hour == Decimal("0.175")
    assert error.request_id == "req_7"
    assert (error.instance_id, error.novita_reason) == ("ins_01k", "TOO_MANY_REQUESTS")
    assert error.retry_after == timedelta(seconds=7)


def test_a_problem_with_odd_parts_is_still_a_problem() -> None:
    error = error_after(
        problem(409, "out_of_stock", errors="none", attempts=[1], headers={"retry-after": "soon"})
    )
    assert isinstance(error, ApiProblem)
    assert error.error_code == "out_of_stock"
    assert (error.faults, error.attempts, error.retry_after) == ((), (), None)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_a_service_behind_it_is_no_answer(status: int) -> None:
    error = error_after(httpx2.Response(status, text="<h1>Bad Gateway</h1>"))
    assert isinstance(error, ServiceUnreachable)
    assert str(status) in error.message


def test_a_redirect_names_the_address_to_use() -> None:
    error = error_after(httpx2.Response(301, headers={"location": "https://gpukeeper.test/"}))
    assert isinstance(error, ApiProblem)
    assert "https://gpukeeper.test/" in error.message


def test_a_redirect_is_told_without_what_may_be_secret_in_it() -> None:
    place = "https://me:hunter22@gpukeeper.test/x?token=hunter23"
    error = error_after(httpx2.Response(301, headers={"location": place}))
    assert "https://gpukeeper.test/x:" in error.message
    assert "hunter" not in error.message


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hunter22@127.0.0.1:1",
        "http://hunter22@127.0.0.1:1/",
        "me:hunter22@host",
        "http://me:hunter22@[bad",
        "ftp://me:hunter22@host",
        "http://host:1?token=hunter22",
        "http://host:bad?token=hunter22",
        "ftp://host?token=hunter22",
        "http://host#hunter22",
    ],
)
def test_an_address_with_a_password_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|has more than") as caught:
        Client(address)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>Welcome to another program</html>"),
        httpx2.Response(200, json=[]),
        httpx2.Response(200, json={"orphans": [{"name": "no id"}]}),
        httpx2.Response(200, json={"orphans": None}),
        httpx2.Response(404, text="Not Found"),
        httpx2.Response(500, json={"error": "?"}),
    ],
)
def test_an_answer_of_another_program_is_called_unexpected(answer: httpx2.Response) -> None:
    error = error_after(answer)
    assert isinstance(error, ApiProblem)
    assert error.error_code == "unexpected_answer"
    assert "http://gpukeeper.test/api/orphans" in error.message


@pytest.mark.parametrize(
    ("cause", "may_have_arrived"),
    [
        (httpx2.ConnectError("[Errno 111] Connection refused"), False),
        (httpx2.ConnectTimeout("timed out"), False),
        (httpx2.ReadTimeout("timed out"), True),
        (httpx2.RemoteProtocolError("Server disconnected"), True),
    ],
)
def test_no_answer_says_whether_the_service_may_have_been_asked(
    cause: Exception, may_have_arrived: bool
) -> None:
    error = error_after(cause)
    assert isinstance(error, ServiceUnreachable)
    assert error.may_have_arrived is may_have_arrived
    assert "Errno" not in error.message


def test_health_that_is_not_the_services_is_an_error() -> None:
    service = FakeService()
    service.reply("GET /health", httpx2.Response(503, text="no backend"))
    with pytest.raises(ServiceUnreachable):
        service.connect().health()
    service.reply("GET /health", httpx2.Response(200, text="hello"))
    with pytest.raises(ApiProblem):
        service.connect().health()


def test_metrics_may_be_refused() -> None:
    service = FakeService()
    service.reply("GET /metrics", problem(401, "unauthorized"))
    with pytest.raises(ApiProblem) as refused:
        service.connect().metrics()
    assert refused.value.error_code == "unauthorized"
