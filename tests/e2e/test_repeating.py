"""Orders that are sent more than once, under an Idempotency-Key."""

from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.e2e.novita import Novita
from tests.e2e.serving import ORDER, Service

SENDERS = 8


def test_the_same_key_and_body_give_the_same_instance(service: Service, novita: Novita) -> None:
    headers = {"idempotency-key": "repeated"}

    first = service.try_order(name="repeated", headers=headers)
    again = service.try_order(name="repeated", headers=headers)

    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == again.headers["location"]
    assert len(novita.machines("repeated")) == 1


def test_the_same_body_written_differently_is_the_same_order(
    service: Service, novita: Novita
) -> None:
    headers = {"idempotency-key": "respelled"}
    first = service.try_order(name="respelled", headers=headers)
    fields = reversed((ORDER | {"name": "respelled"}).items())
    body = "{" + " ,\n".join(f'"{field}" : "{value}"' for field, value in fields) + "}"

    again = service.post(
        "/api/instances", content=body, headers=headers | {"content-type": "application/json"}
    )

    assert again.json()["id"] == first.json()["id"]
    assert len(novita.machines("respelled")) == 1


def test_the_same_key_with_another_body_is_a_conflict(service: Service, novita: Novita) -> None:
    headers = {"idempotency-key": "reused"}
    service.try_order(name="reused-first", headers=headers)

    other = service.try_order(name="reused-second", headers=headers)

    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert novita.machines("reused-second") == []


def test_an_order_sent_by_many_at_once_is_bought_once(service: Service, novita: Novita) -> None:
    # Slow enough that all of them wait for the same purchase.
    novita.fault("slow", "create", seconds=0.5, times=1)

    def send(_: int) -> httpx2.Response:
        return service.try_order(name="crowded", headers={"idempotency-key": "crowded"})

    with ThreadPoolExecutor(SENDERS) as pool:
        answers = list(pool.map(send, range(SENDERS)))

    assert [answer.status_code for answer in answers] == [201] * SENDERS
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(novita.machines("crowded")) == 1


def test_orders_without_a_key_are_orders_of_their_own(service: Service, novita: Novita) -> None:
    first, second = service.order(name="twins"), service.order(name="twins")

    assert first["id"] != second["id"]
    assert len(novita.machines("twins")) == 2


def test_a_refused_order_is_not_bought_by_repeating_it(service: Service, novita: Novita) -> None:
    headers = {"idempotency-key": "refused"}
    novita.fate("no-balance")
    first = service.try_order(name="refused-once", headers=headers)

    again = service.try_order(name="refused-once", headers=headers)

    assert first.status_code == again.status_code == 402
    assert first.json()["instanceId"] == again.json()["instanceId"]
    assert novita.machines("refused-once") == []
