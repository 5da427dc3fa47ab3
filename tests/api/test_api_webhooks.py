"""The webhook log and the orphans over HTTP."""

import httpx2

from tests.api.double import ServiceDouble


async def test_a_delivery_is_shown_with_each_attempt(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/deliveries/dlv_1")

    assert response.status_code == 200
    at = "2026-11-23T05:12:25.123Z"
    assert response.json() == {
        "id": "dlv_1",
        "eventId": "evt_1",
        "eventType": "instance.running",
        "instanceId": "ins_1",
        "url": "https://hooks.example/gpu",
        "status": "exhausted",
        "attemptCount": 2,
        "attempts": [
            {
                "number": 1,
                "at": at,
                "durationMs": 13,
                "responseStatus": 500,
                "error": None,
                "answer": "oh no",
            },
            {
                "number": 2,
                "at": at,
                "durationMs": 10000,
                "responseStatus": None,
                "error": "timed out",
                "answer": "",
            },
        ],
        "createdAt": at,
        "nextAttemptAt": None,
        "finishedAt": at,
    }


async def test_a_listing_leaves_the_attempts_out(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/deliveries")

    (delivery,) = response.json()["deliveries"]
    assert (delivery["attemptCount"], delivery["attempts"]) == (2, [])
    assert response.json()["nextCursor"] is None


async def test_a_delivery_is_made_due_again(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/deliveries/dlv_1/redeliver")

    assert response.status_code == 202
    assert response.json()["status"] == "pending"
    assert response.json()["nextAttemptAt"] == "2026-11-23T05:12:25.123Z"


async def test_an_unknown_delivery_is_404(client: httpx2.AsyncClient) -> None:
    for method, path in [
        ("GET", "/api/deliveries/dlv_9"),
        ("GET", "/api/deliveries/%00"),
        ("POST", "/api/deliveries/dlv_9/redeliver"),
        ("POST", "/api/deliveries/a%20b/redeliver"),
    ]:
        response = await client.request(method, path)

        assert response.status_code == 404
        assert response.json()["code"] == "delivery_not_found"


async def test_a_test_event_is_about_no_instance(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/webhooks/test")

    assert response.status_code == 202
    (delivery,) = response.json()["deliveries"]
    assert (delivery["eventType"], delivery["instanceId"]) == ("webhook.test", None)


async def test_orphans_are_listed_with_what_they_cost(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/orphans")

    at = "2026-11-23T05:12:25.123Z"
    assert response.json() == {
        "orphans": [
            {
                "novitaId": "0123456789abcdef",
                "name": "old-gkabcd87654321",
                "novitaStatus": "running",
                "productName": "RTX 4090 24GB",
                "region": "CN-HK-01",
                "pricePerHour": "0.175",
                "costPerHour": {"gpuUsd": "0.175", "diskUsd": "0"},
                "currency": "USD",
                "createdAt": None,
                "firstSeenAt": at,
                "lastSeenAt": at,
                "isForeign": False,
            }
        ]
    }


async def test_an_adopted_orphan_is_an_instance(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    response = await client.post("/api/orphans/0123456789abcdef/adopt")

    assert response.status_code == 201
    assert response.headers["location"] == "/api/instances/ins_9"
    assert response.json()["novitaId"] == "0123456789abcdef"
    assert (await client.get("/api/orphans")).json() == {"orphans": []}


async def test_a_deleted_orphan_is_followed_until_it_is_gone(client: httpx2.AsyncClient) -> None:
    response = await client.delete("/api/orphans/0123456789abcdef")

    assert response.status_code == 202
    assert response.json()["novitaId"] == "0123456789abcdef"
    assert response.json()["status"] == "deleting"
    assert (await client.get(response.headers["location"])).json()["status"] == "deleting"


async def test_an_unknown_orphan_is_404(client: httpx2.AsyncClient) -> None:
    for method, path in [
        ("POST", "/api/orphans/none/adopt"),
        ("POST", "/api/orphans/%00/adopt"),
        ("DELETE", "/api/orphans/none"),
    ]:
        response = await client.request(method, path)

        assert response.status_code == 404
        assert response.json()["code"] == "instance_not_found"
