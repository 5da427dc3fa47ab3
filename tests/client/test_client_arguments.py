"""What callers pass wrongly is told as an error of the client's own, before anything is sent."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.client import AmbiguousName, Client, GpuKeeperError, InvalidArgument
from tests.client.fake_service import INSTANCE, FakeService, FakeTime

ORDER: dict[str, Any] = {"product_name": "RTX 4090 24GB", "template_id": "tpl-basic"}


def order(**changes: Any) -> Callable[[Client], object]:
    """Return an order with these arguments."""
    return lambda client: client.order("trainer", **{**ORDER, **changes})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.wait("ins_01k", timeout="3"), "timeout is '3'"),
        (lambda c: c.wait("ins_01k", timeout=0), "timeout is 0"),
        (lambda c: c.wait("ins_01k", timeout=float("nan")), "timeout is nan"),
        (lambda c: c.wait("ins_01k", timeout=True), "timeout is True"),
        (lambda c: c.wait("ins_01k", timeout=timedelta(0)), "timeout is datetime.timedelta(0)"),
        (lambda c: c.wait("ins_01k", until="runing"), "until is 'runing'"),
        (lambda c: c.wait("ins_01k", until=()), "until is ()"),
        (lambda c: c.instance(None), "None is no id"),
        (lambda c: c.instance(7), "7 is no id"),
        (lambda c: c.find(None), "None is no id"),
        (lambda c: c.instances(status=3), "status is 3"),
        (lambda c: c.instances(status=[3]), "status is [3]"),
        (lambda c: c.follow(types=1), "types is 1"),
        (lambda c: c.follow(last_event_id="a\nb"), "last_event_id must be"),
        (order(regions=7), "regions is 7"),
        (order(ports=[22]), "ports is [22]"),
        (order(envs=["A=1"]), "envs must be a mapping"),
        (order(envs={"A": object()}), "envs holds a object"),
        (order(labels={"a": b"x"}), "labels holds a bytes"),
        (order(max_price_per_hour="cheap"), "max_price_per_hour is 'cheap'"),
        (order(max_price_per_hour=Decimal("Infinity")), "max_price_per_hour is Decimal"),
        (order(max_price_per_hour=True), "max_price_per_hour is True"),
        (order(startup_timeout="10m"), "startup_timeout is '10m'"),
        (order(gpu_num=object()), "gpu_num holds a object"),
        (order(gpu_num=float("nan")), "gpu_num holds a float"),
        (order(idempotency_key="ключ"), "idempotency_key must be"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named_and_nothing_is_sent(
    call: Callable[[Any], object], said: str
) -> None:
    service = FakeService()
    with pytest.raises(InvalidArgument) as raised:
        call(service.connect())
    assert raised.value.message.startswith(said)
    assert isinstance(raised.value, GpuKeeperError)
    assert service.requests == []


def test_a_secret_that_was_passed_wrongly_is_not_shown() -> None:
    with pytest.raises(InvalidArgument) as raised:
        order(envs={"TOKEN": [b"hunter2"]})(FakeService().connect())
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "'127.0.0.1:1' is not an address: write http://127.0.0.1:1."),
        ("gpukeeper.example", "write http://gpukeeper.example."),
        ("", "'' is not an address like http://127.0.0.1:8080."),
        ("ftp://x", "'ftp://x' is not an address like"),
        ("http://", "'http://' is not an address like"),
        ("http://x:port", "'http://x:port' is not an address like"),
        ("ftp://me:hunter2@x", "The address has an @"),
        (None, "A NoneType is not an address like"),
    ],
)
def test_an_address_that_is_none_is_an_error_of_the_clients_own(address: Any, said: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        Client(address)
    assert said in raised.value.message


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", 7])
def test_a_key_that_is_none_is_not_shown(key: Any) -> None:
    with pytest.raises(InvalidArgument, match="API key has characters") as raised:
        Client("http://127.0.0.1:1", key)
    assert str(key) not in raised.value.message


@pytest.mark.parametrize("timeout", [0, -1, "30", None])
def test_a_client_without_patience_is_refused(timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout_seconds"):
        Client("http://127.0.0.1:1", timeout_seconds=timeout)


def test_a_client_that_was_closed_says_so() -> None:
    client = FakeService().connect()
    client.close()
    with pytest.raises(InvalidArgument, match="closed"):
        client.instance("ins_01k")


def test_an_id_of_any_length_is_no_crash() -> None:
    with pytest.raises(GpuKeeperError):
        FakeService().connect().instance("x" * 70_000)


@pytest.mark.parametrize("timeout", [3, 3.5, timedelta(seconds=3)])
def test_durations_are_timedeltas_or_numbers_of_seconds(timeout: Any) -> None:
    service, time = FakeService(), FakeTime()
    service.reply("GET /api/instances/ins_01k", INSTANCE)
    service.reply("POST /api/instances", INSTANCE)
    client = service.connect()
    assert client.wait("ins_01k", timeout=timeout, clock=time.clock, sleep=time.sleep).id
    assert client.wait_until_running("ins_01k", timeout=timeout).status == "running"
    client.order("trainer", **ORDER, startup_timeout=timeout)
    assert service.sent()["startupTimeout"] == 3


def test_one_text_stands_for_a_list_of_one_and_prices_may_be_numbers() -> None:
    service = FakeService()
    service.reply("POST /api/instances", INSTANCE)
    service.reply("GET /api/instances", {"instances": [], "total": 0})
    order(regions="US-CA-06", ports="22/tcp", max_price_per_hour=0.4)(service.connect())
    sent = service.sent()
    assert (sent["regions"], sent["ports"], sent["maxPricePerHour"]) == (
        ["US-CA-06"],
        ["22/tcp"],
        "0.4",
    )
    client = service.connect()
    client.instances(status="running")
    client.instances(status=["running", "failed"])
    client.instances(status=[], is_current=True)
    assert service.asked[1:] == [
        "GET /api/instances?status=running",
        "GET /api/instances?status=running&status=failed",
        "GET /api/instances?current=true",
    ]


def test_an_instance_is_found_by_its_name_or_the_end_of_its_id() -> None:
    service = FakeService()
    deleted = INSTANCE | {"id": "ins_2", "status": "deleted"}
    service.reply("GET /api/instances", {"instances": [deleted, INSTANCE], "total": 2})
    service.reply("GET /api/instances/ins_01k", INSTANCE)
    assert service.connect().find("trainer").id == "ins_01k"
    other = INSTANCE | {"id": "ins_01kdvdna0072tecmq49pkz57h6", "name": "other"}
    service.reply("GET /api/instances", {"instances": [INSTANCE, other], "total": 2})
    assert service.connect().find_id("9pkz57h6") == other["id"]
    assert service.connect().find_id("0000000z") == "0000000z"


def test_a_name_of_several_raises_with_those_that_may_be_meant() -> None:
    service = FakeService()
    twins = [INSTANCE, INSTANCE | {"id": "ins_2", "createdAt": None}]
    service.reply("GET /api/instances", {"instances": twins, "total": 2})
    with pytest.raises(AmbiguousName) as raised:
        service.connect().find("trainer")
    assert [each.id for each in raised.value.instances] == ["ins_01k", "ins_2"]
    assert raised.value.message == (
        "Several instances are called 'trainer'. Give the id of one: "
        "ins_01k, running, ordered 2026-11-23 05:12:25Z; ins_2, running."
    )


def test_templates_and_regions_are_read() -> None:
    service = FakeService()
    template = {"id": "tpl-basic", "name": "Basic", "imageUrl": "docker.io/acme/worker:1.4"}
    service.reply("GET /api/templates", {"templates": [template]})
    service.reply("GET /api/regions", {"regions": [{"name": "US-CA-06", "clusterId": "us-ca-6"}]})
    (found,) = service.connect().templates().items
    assert (found.id, found.name, found.image_url) == tuple(template.values())
    (region,) = service.connect().regions().items
    assert (region.name, region.cluster_id) == ("US-CA-06", "us-ca-6")
