"""Novita's objects come out in the domain's words and units, without their secrets."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.domain.machines import ConnectionDetails, Endpoint, Observation, Phase, SpotSignal
from gpukeeper.domain.products import Port, Product, Template, Tool
from gpukeeper.novita import mapping, models
from tests.novita.bodies import (
    ASKED_AT,
    SSH_PASSWORD,
    VARIABLE_VALUE,
    machine,
    product,
    template,
)


def observed(**changes: Any) -> Observation:
    return mapping.observation(models.Machine.model_validate(machine(**changes)), ASKED_AT)


def sold(**changes: Any) -> Product:
    return mapping.product(models.Product.model_validate(product(**changes)))


def given(**changes: Any) -> Template:
    return mapping.template(
        models.Template.model_validate(template(**changes)["template"]), "asked"
    )


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase.PREPARING, "pending toCreate creating created"),
        (Phase.STARTING, "pulling toStart starting toRestart restarting toReset resetting"),
        (Phase.STARTING, "migrating"),
        (Phase.UP, "running"),
        (Phase.GOING_DOWN, "toStop stopping freezing toBeExited"),
        (Phase.DOWN, "exited"),
        (Phase.GOING, "toRemove removing toBeTerminated terminating terminated"),
        (Phase.GONE, "removed"),
        (Phase.UNKNOWN, "failed Running unheard-of"),
    ],
)
def test_every_status_word_has_its_phase(phase: Phase, words: str) -> None:
    assert {mapping.map_phase(word) for word in words.split()} == {phase}


def test_no_status_word_at_all_is_unknown() -> None:
    assert mapping.map_phase("") is Phase.UNKNOWN


def test_a_running_machine_is_observed_with_all_that_is_known_of_it() -> None:
    assert observed() == Observation(
        novita_id="37d312386c80a3b9",
        name="trainer-gkabc",
        word="running",
        phase=Phase.UP,
        at=ASKED_AT,
        endpoints=(Endpoint(8080, "http", "https://37d312386c80a3b9-8080.example.net"),),
        ssh_command="ssh -p 62132 root@proxy.example.net",
        cluster_id="us-ca-6",
        cluster_name="US-CA-06 (California)",
        product_id="4090.16c62g",
        product_name="RTX 4090 24GB",
        image_url="docker.io/acme/worker:1.4",
        gpu_num=2,
        rootfs_size_gb=60,
        billing_mode="spot",
        price_per_hour=Decimal("0.35"),
        created_at=datetime.fromtimestamp(1785780950, UTC),
        started_at=datetime.fromtimestamp(1785780954, UTC),
    )


def test_no_secret_reaches_an_observation_or_the_repr_of_a_machine() -> None:
    shown = repr(observed()) + repr(models.Machine.model_validate(machine()))
    assert SSH_PASSWORD not in shown
    assert VARIABLE_VALUE not in shown


@pytest.mark.parametrize(
    ("status_error", "text"),
    [
        ({"state": "", "message": ""}, ""),
        (None, ""),
        ("", ""),
        ({"state": "ImagePull", "message": "not found"}, "ImagePull: not found"),
        ({"message": "not found"}, "not found"),
        ({"state": "ImagePull", "message": None}, "ImagePull"),
    ],
)
def test_what_is_wrong_with_a_machine_is_one_text(status_error: object, text: str) -> None:
    assert observed(statusError=status_error).error == text


def test_what_is_wrong_with_a_machine_echoes_no_secret_and_is_short() -> None:
    said = f"bad env {VARIABLE_VALUE}, ssh {SSH_PASSWORD}\n" + "x" * 10_000
    error = observed(statusError={"state": "Boot", "message": said}).error
    assert error.startswith("Boot: bad env ***, ssh *** xxx")
    assert len(error) == 500


@pytest.mark.parametrize(
    ("word", "signal"),
    [
        ("", SpotSignal.NONE),
        (None, SpotSignal.NONE),
        ("running", SpotSignal.NONE),
        ("notified", SpotSignal.NOTIFIED),
        ("reclaiming", SpotSignal.RECLAIMING),
        ("terminated", SpotSignal.TERMINATED),
        ("unheard-of", SpotSignal.NONE),
    ],
)
def test_the_spot_signal_is_read_from_its_word(word: object, signal: SpotSignal) -> None:
    assert observed(spotStatus=word).spot_signal is signal


@pytest.mark.parametrize("unset", ["0", 0, "-1", "", None, "later", 10**15, {}])
def test_a_time_that_is_unset_or_impossible_is_none(unset: object) -> None:
    assert observed(spotReclaimTime=unset).reclaim_at is None


def test_a_reclaim_time_is_aware_utc() -> None:
    at = observed(spotReclaimTime="1785784550").reclaim_at
    assert at == datetime(2026, 8, 3, 19, 15, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        *({"instancePrice": said} for said in ("0", None, "-5", "100000001", "9" * 18)),
        {"gpuNum": "0"},
    ],
)
def test_a_price_that_novita_does_not_say_is_none(changes: dict[str, object]) -> None:
    assert observed(**changes).price_per_hour is None


def test_ports_without_an_address_or_a_number_are_no_endpoints() -> None:
    mappings = [
        {"port": 0, "endpoint": "https://a", "type": "http"},
        {"port": 65536, "endpoint": "https://b", "type": "http"},
        {"port": "65535", "endpoint": "host:61234", "type": "tcp"},
        {"port": 80, "endpoint": None, "type": "http"},
        None,
    ]
    assert observed(portMappings=mappings).endpoints == (Endpoint(65535, "tcp", "host:61234"),)


def test_a_connection_carries_the_password_and_does_not_show_it() -> None:
    connection = mapping.connection(models.Machine.model_validate(machine()))
    assert connection == ConnectionDetails(
        endpoints=(Endpoint(8080, "http", "https://37d312386c80a3b9-8080.example.net"),),
        ssh_command="ssh -p 62132 root@proxy.example.net",
        ssh_password=SSH_PASSWORD,
    )
    assert SSH_PASSWORD not in repr(connection)


def test_the_password_is_found_where_only_the_row_has_it() -> None:
    row = machine(connectComponentSSH=None)
    assert mapping.connection(models.Machine.model_validate(row)).ssh_password == SSH_PASSWORD


def test_prices_come_out_in_dollars_per_gpu_and_hour() -> None:
    assert sold() == Product(
        id="4090.16c62g",
        name="RTX 4090 24GB",
        price=Decimal("0.35"),
        spot_price=Decimal("0.175"),
        is_deployable=True,
        stock="normal",
        min_disk_gb=10,
        max_disk_gb=1024,
        regions=("US-CA-06 (California)",),
        billing_modes=("onDemand", "monthly", "spot"),
    )


@pytest.mark.parametrize("unset", ["0", "", None, "-1", "free"])
def test_an_unset_price_is_zero(unset: object) -> None:
    assert sold(spotPrice=unset).spot_price == 0


@pytest.mark.parametrize("unset", ["0", "", None])
def test_a_product_without_a_disk_limit_takes_the_largest_disk_of_all(unset: object) -> None:
    assert sold(maxRootFS=unset).max_disk_gb == 6144


@pytest.mark.parametrize(
    ("written", "is_deployable"),
    [(True, True), (None, True), (1, True), (False, False), ("false", False), (0, False)],
)
def test_only_a_clear_no_makes_a_product_undeployable(written: object, is_deployable: bool) -> None:
    assert sold(availableDeploy=written).is_deployable is is_deployable


def test_lists_of_a_product_may_be_null() -> None:
    bare = sold(regions=None, billingMethods=None, inventoryState=None)
    assert (bare.regions, bare.billing_modes, bare.stock) == ((), (), "")


def test_a_template_gives_its_parts() -> None:
    assert given() == Template(
        id="tpl-basic",
        name="Basic",
        image_url="docker.io/acme/worker:1.4",
        image_auth_id="auth-7",
        command="serve --all",
        ports=(Port(8000, "http"), Port(8188, "http"), Port(22, "tcp")),
        envs={"HF_TOKEN": VARIABLE_VALUE},
        tools=(Tool("Jupyter", "8888", "http"),),
        min_cuda_version="12.4",
    )


def test_a_template_may_lack_everything_but_its_image() -> None:
    nothing = dict.fromkeys(
        ("Id", "name", "imageAuth", "startCommand", "ports", "envs", "tools", "minCudaVersion")
    )
    assert given(**nothing) == Template(id="asked", name="", image_url="docker.io/acme/worker:1.4")


def test_variables_without_a_key_and_ports_without_a_number_are_left_out() -> None:
    read = given(
        envs=[{"key": "", "value": "x"}, {"key": "N", "value": 5}],
        ports=[{"type": "http", "ports": [0, 70000, "x", 80]}, {"type": "tcp", "ports": None}],
    )
    assert read.envs == {"N": "5"}
    assert read.ports == (Port(80, "http"),)
