"""The client returns what Novita says, how old that is, and reports every call."""

from datetime import timedelta
from decimal import Decimal

import httpx2
import pytest

from gpukeeper.domain.errors import NovitaNotFound
from gpukeeper.domain.products import BillingMode
from gpukeeper.novita.client import CallReport
from tests.novita.bodies import CLUSTERS, SSH_PASSWORD, error, machine, product, rows, template
from tests.novita.scripted import FakeTime, ScriptedNovita, client_of, outcomes, reply

THROTTLED = error(429, "RATE_LIMIT_EXCEEDED", "slow down")


async def test_every_read_returns_what_novita_says() -> None:
    assert (await client_of(ScriptedNovita(reply(200, machine("m1")))).get("m1")).name
    connection = await client_of(ScriptedNovita(reply(200, machine("m1")))).connection("m1")
    assert connection.ssh_password == SSH_PASSWORD
    sold = await client_of(ScriptedNovita(reply(200, {"data": [product()]}))).products(
        cluster_id="us-ca-6", billing_mode=BillingMode.SPOT, gpu_num=1
    )
    assert [item.spot_price for item in sold] == [Decimal("0.175")]
    clusters = await client_of(ScriptedNovita(reply(200, CLUSTERS))).clusters()
    assert [cluster.id for cluster in clusters] == ["us-ca-6", "cn-hongkong-1", "as-sgp-2"]
    basic = await client_of(ScriptedNovita(reply(200, template()))).template("tpl-basic")
    assert basic.image_url == "docker.io/acme/worker:1.4"
    assert await client_of(ScriptedNovita(reply(200, {"data": None}))).registry_auths() == ()
    told = ScriptedNovita(reply(200, {"availableBalance": "120000"}))
    assert await client_of(told).balance() == 12


async def test_a_listing_tells_when_it_began_how_it_went_and_what_it_cost() -> None:
    time = FakeTime()
    began_at = time.now
    novita = ScriptedNovita(reply(503, ""), reply(200, rows("a", "b")))
    listing = await client_of(novita, time).list_all(name="gk")
    assert [found.novita_id for found in listing.machines] == ["a", "b"]
    assert (listing.is_complete, listing.at, listing.calls) == (True, began_at, 1)
    assert novita.requests[-1].url.params["name"] == "gk"


async def test_what_a_listing_learned_of_page_numbers_serves_the_next_one() -> None:
    first_hundred = [f"m{number}" for number in range(100)]
    both = [reply(200, rows(*first_hundred, total=101)), reply(200, rows("last", total=101))]
    novita = ScriptedNovita(both[0], *both, *both)
    client = client_of(novita)
    assert (await client.list_all()).calls == 3
    again = await client.list_all()
    assert (again.calls, again.is_complete) == (2, True)
    pages = [request.url.params["pageNum"] for request in novita.requests]
    assert pages == ["0", "1", "2", "1", "2"]


async def test_an_observation_is_as_old_as_its_question() -> None:
    time = FakeTime()
    asked_at = time.now

    def slow(request: httpx2.Request) -> httpx2.Response:
        time.now += timedelta(seconds=20)
        return reply(200, machine("m1"))

    assert (await client_of(slow, time).get("m1")).at == asked_at


async def test_every_call_is_reported_with_its_outcome_status_and_duration() -> None:
    reports: list[CallReport] = []
    time = FakeTime()

    novita = ScriptedNovita(
        httpx2.ReadTimeout("late"),
        reply(429, THROTTLED),
        reply(404, error(404)),
    )

    def slow(request: httpx2.Request) -> httpx2.Response:
        time.now += timedelta(seconds=2)
        return novita(request)

    with pytest.raises(NovitaNotFound):
        await client_of(slow, time, reports=reports).get("m1")
    assert outcomes(reports) == ["NovitaTimeout", "RateLimited", "NovitaNotFound"]
    assert [report.status for report in reports] == [None, 429, 404]
    assert {(report.route, report.seconds) for report in reports} == {("get", 2.0)}

    reports.clear()
    await client_of(ScriptedNovita(reply(200, "{}")), reports=reports).stop("m1")
    assert reports == [
        CallReport("stop", "POST", "/gpu-instance/openapi/v1/gpu/instance/stop", "ok", 0.0, 200)
    ]


async def test_closing_the_client_leaves_a_borrowed_http_client_open() -> None:
    client = client_of(ScriptedNovita(reply(200, machine("m1"))))
    await client.aclose()
    assert (await client.get("m1")).novita_id == "m1"
