"""Rows 1.1 to 1.6 of the requirements: what an order buys."""

import pytest

from gpukeeper.simulator.market.create_request import Env, Port, Tool
from tests.e2e.novita import Novita
from tests.e2e.serving import ORDER, Json, Service


@pytest.fixture(scope="module")
def plain(service: Service) -> Json:
    """Give an instance that was ordered with nothing but what is required."""
    return service.order(name="plain")


def test_1_1_an_order_creates_an_instance(service: Service, novita: Novita) -> None:
    answer = service.try_order(name="first")

    instance = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/instances/{instance['id']}"
    assert service.get(answer.headers["location"]).json()["id"] == instance["id"]
    assert [machine.id for machine in novita.machines("first-gk")] == [instance["novitaId"]]


def test_1_1_optional_fields_reach_novita(service: Service, novita: Novita) -> None:
    instance = service.order(
        gpuNum=2,
        rootfsSize=100,
        billingMode="onDemand",
        region="us-ca-6",
        envs={"MODE": "train", "SEED": "7"},
        ports=["9000/http"],
        command="sleep infinity",
        labels={"team": "vision"},
    )

    order = novita.machine(instance["novitaId"]).order
    assert (order.gpu_num, order.rootfs_gb, order.billing_mode) == (2, 100, "onDemand")
    assert order.cluster_id == "us-ca-6"
    assert order.ports == (Port(9000, "http"),)
    assert order.command == "sleep infinity"
    assert set(order.envs) == {Env("MODE", "train"), Env("WORKERS", "2"), Env("SEED", "7")}
    assert instance["labels"] == {"team": "vision"}
    assert instance["pricePerHour"] == "0.7"


def test_1_2_the_lowest_spot_price_in_hong_kong_is_bought(plain: Json, novita: Novita) -> None:
    machine = novita.machine(plain["novitaId"])

    assert (machine.order.product_id, machine.cluster_id) == ("4090.16c62g", "cn-hongkong-1")
    assert (plain["productId"], plain["region"]) == ("4090.16c62g", "CN-HK-01")
    assert plain["pricePerHour"] == "0.175"
    assert [attempt["outcome"] for attempt in plain["attempts"]] == ["accepted"]


def test_1_2_the_next_price_is_bought_when_the_lowest_is_sold_out(
    service: Service, novita: Novita
) -> None:
    novita.fate("out-of-stock")

    instance = service.order(name="second-choice")

    assert [(each["productId"], each["outcome"]) for each in instance["attempts"]] == [
        ("4090.16c62g", "out_of_stock"),
        ("4090.16c96g.v2", "accepted"),
    ]
    assert len(novita.machines("second-choice")) == 1


def test_1_3_the_template_supplies_image_credential_envs_and_ports(
    service: Service, novita: Novita
) -> None:
    order = novita.machine(service.order(templateId="tpl-private")["novitaId"]).order

    assert order.image == "registry.example.com/team/trainer:1.4"
    assert order.image_auth_id == "auth-registry"
    assert order.envs == (Env("API_TOKEN", "template-secret-value"),)
    assert order.ports == (Port(8080, "http"),)


def test_1_3_the_template_supplies_command_tools_and_cuda_minimum(
    service: Service, plain: Json, novita: Novita
) -> None:
    basic = novita.machine(plain["novitaId"]).order
    notebook = novita.machine(service.order(templateId="tpl-tools")["novitaId"]).order

    assert basic.command == "python -m http.server 8000"
    assert basic.min_cuda == "12.4"
    assert notebook.tools == (Tool("Jupyter", "8888", "http"),)


def test_1_4_one_gpu_is_bought_unless_asked_otherwise(plain: Json, novita: Novita) -> None:
    assert "gpuNum" not in ORDER
    assert plain["gpuNum"] == novita.machine(plain["novitaId"]).order.gpu_num == 1


def test_1_5_the_disk_has_60_gb_unless_asked_otherwise(plain: Json, novita: Novita) -> None:
    assert "rootfsSize" not in ORDER
    assert plain["rootfsSize"] == novita.machine(plain["novitaId"]).order.rootfs_gb == 60


def test_1_6_spot_is_bought_unless_asked_otherwise(plain: Json, novita: Novita) -> None:
    assert "billingMode" not in ORDER
    assert plain["billingMode"] == novita.machine(plain["novitaId"]).order.billing_mode == "spot"
