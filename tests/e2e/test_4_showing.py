"""Rows 4.1 to 4.4 of the requirements: what is shown, and what while Novita is away."""

import uuid

from tests.e2e.novita import Novita
from tests.e2e.serving import Service
from tests.e2e.waiting import eventually

FIELDS = (
    "id novitaId name status reason productName productId region clusterId templateId imageUrl"
    " gpuNum rootfsSize billingMode pricePerHour currency labels endpoints sshCommand createdAt"
    " startedAt runningAt deletedAt novitaStatus observedAt stale attempts"
)


def test_4_1_an_instance_is_found_by_our_id_and_by_novitas(service: Service) -> None:
    ordered = service.running()

    by_our_id = service.get(f"/api/instances/{ordered['id']}")
    by_novitas_id = service.get(f"/api/instances/{ordered['novitaId']}")

    assert by_our_id.status_code == by_novitas_id.status_code == 200
    assert by_our_id.json()["id"] == by_novitas_id.json()["id"] == ordered["id"]
    assert set(FIELDS.split()) <= set(by_our_id.json())


def test_4_1_novita_is_asked_first_when_that_is_wanted(service: Service, novita: Novita) -> None:
    instance = service.running()
    asked = [visit.machine for visit in novita.visits("get")].count(instance["novitaId"])

    refreshed = service.get(f"/api/instances/{instance['id']}?refresh=true").json()

    now_asked = [visit.machine for visit in novita.visits("get")].count(instance["novitaId"])
    assert now_asked == asked + 1
    assert refreshed["observedAt"] >= instance["observedAt"]
    assert not refreshed["stale"]


def test_4_2_instances_are_listed_newest_first_page_by_page(service: Service) -> None:
    name = f"listed-{uuid.uuid4().hex[:8]}"
    ids = [service.order(name=f"{name}-{number}")["id"] for number in range(3)]

    first = service.get("/api/instances", params={"name": name, "limit": 2}).json()
    rest = service.get(
        "/api/instances", params={"name": name, "limit": 2, "cursor": first["nextCursor"]}
    ).json()

    assert [each["id"] for each in first["instances"]] == [ids[2], ids[1]]
    assert [each["id"] for each in rest["instances"]] == [ids[0]]
    assert (first["total"], rest["total"], rest["nextCursor"]) == (3, 3, None)


def test_4_2_a_listing_can_be_narrowed_by_status(service: Service, novita: Novita) -> None:
    name = f"narrowed-{uuid.uuid4().hex[:8]}"
    running = service.running(name=name)
    novita.fate("pull-forever")
    service.order(name=name)

    found = service.get("/api/instances", params={"name": name, "status": "running"}).json()

    assert [each["id"] for each in found["instances"]] == [running["id"]]


def test_4_3_an_unknown_id_is_404_with_a_message(service: Service) -> None:
    for path in ("", "/events", "/connection"):
        answer = service.get(f"/api/instances/ins_unknown{path}")

        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "instance_not_found"
        assert "ins_unknown" in answer.json()["detail"]


def test_4_4_while_novita_is_away_the_last_known_state_is_served_and_marked(
    service: Service, novita: Novita
) -> None:
    known = service.running()
    novita.fault("reset")
    path = f"/api/instances/{known['id']}"
    eventually(lambda: service.instance(known["id"])["stale"], "staleness")

    for stale in (
        service.get(path),
        service.get(f"{path}?refresh=true"),
        service.get("/api/instances", params={"limit": 1}),
    ):
        assert stale.status_code == 200
        assert stale.headers["warning"].startswith("110 ")

    seen = service.instance(known["id"])
    assert {**seen, "stale": False, "observedAt": None} == {**known, "observedAt": None}
    assert seen["observedAt"], "its age can be told"
    assert service.get("/health").json()["novita"]["reachable"] is False
    assert service.get("/health/ready").status_code == 200

    novita.recover()
    eventually(lambda: not service.instance(known["id"])["stale"], "freshness")
    assert "warning" not in service.get(path).headers


def test_4_4_what_is_not_known_while_novita_is_away_is_a_clear_error(
    service: Service, novita: Novita
) -> None:
    novita.fault("reset")

    # What was asked for lately is kept; nobody has asked for seven GPUs or for this template.
    offers = service.get("/api/offers", params={"gpuNum": 7})
    order = service.try_order(gpuNum=7, templateId="tpl-never-asked-for")

    for answer in (offers, order):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["code"] == "novita_unavailable"
        assert "Novita" in answer.json()["detail"]
    unknown = service.get("/api/instances/ins_unknown")
    assert unknown.status_code == 404
