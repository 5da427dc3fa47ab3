"""How commands end against the real service: exit statuses, and what is on stdout."""

import json
import socket
import subprocess
from pathlib import Path

from tests.e2e.novita import Novita
from tests.e2e.program import run
from tests.e2e.serving import API_KEY, QUICK, Service

# How `up --wait` ends.
OK, FAILED, USAGE, TIMED_OUT, NOTHING_FOR_SALE, UNREACHABLE, REFUSED = range(7)
BAD_CONFIGURATION = 78

Ended = subprocess.CompletedProcess[str]


def up(service: Service, *arguments: str, **settings: str) -> Ended:
    """Run `gpukeeper up … --wait` with these arguments and settings changed."""
    order = ["--product", "RTX 4090 24GB", "--template", "tpl-basic", "--wait", "-o", "json"]
    known = {"GPUKEEPER_URL": service.url, "GPUKEEPER_API_KEY": API_KEY}
    return run(
        *("up", "from-a-terminal", *order, *arguments),
        settings=known | settings,
        directory=service.directory,
    )


def test_up_ends_with_0_when_it_runs(service: Service) -> None:
    ended = up(service)

    assert ended.returncode == OK, ended.stderr
    shown = json.loads(ended.stdout)
    assert shown["status"] == "running"
    assert shown["id"] in ended.stderr, "what comes along is told on stderr"


def test_up_ends_with_1_when_it_failed(service: Service) -> None:
    ended = up(service, "--template", "tpl-broken")

    assert ended.returncode == FAILED
    assert json.loads(ended.stdout)["reason"]["code"] == "boot_failed"
    assert "[boot_failed]" in ended.stderr
    assert "still billed" in ended.stderr


def test_up_ends_with_2_when_the_order_is_wrong(service: Service, novita: Novita) -> None:
    purchases = len(novita.visits("create"))
    for wrong in (("--product", "RTX 9999"), ("--port", "80/udp")):
        ended = up(service, *wrong)

        assert (ended.returncode, ended.stdout) == (USAGE, "")
        assert wrong[1] in ended.stderr or "ports[0]" in ended.stderr
    assert len(novita.visits("create")) == purchases


def test_up_ends_with_3_when_it_takes_longer_than_one_waits(
    service: Service, novita: Novita
) -> None:
    novita.fate("pull-forever")

    ended = up(service, "--timeout", "1")

    assert ended.returncode == TIMED_OUT
    assert json.loads(ended.stdout)["status"] in ("creating", "starting")
    assert "still" in ended.stderr


def test_up_ends_with_4_when_nothing_is_for_sale(service: Service) -> None:
    sold_out = up(service, "--product", "H100 SXM 80GB", "--region", "AS-SGP-02")
    too_dear = up(service, "--max-price", "0.1")

    assert (sold_out.returncode, too_dear.returncode) == (NOTHING_FOR_SALE, NOTHING_FOR_SALE)
    assert "[out_of_stock]" in sold_out.stderr
    assert "[price_above_limit]" in too_dear.stderr


def test_up_ends_with_5_when_the_service_is_unreachable(service: Service) -> None:
    with socket.socket() as taken:
        # Bound and not listening: whoever connects is refused, and nobody else gets the port.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ended = up(service, GPUKEEPER_URL=f"http://127.0.0.1:{port}")

    assert (ended.returncode, ended.stdout) == (UNREACHABLE, "")


def test_up_ends_with_6_when_it_is_refused(service: Service, novita: Novita) -> None:
    assert up(service, GPUKEEPER_API_KEY="another-api-key-entirely").returncode == REFUSED
    for fate, code in (("no-balance", "insufficient_balance"), ("quota", "quota_exceeded")):
        novita.fate(fate)

        ended = up(service)

        assert (ended.returncode, ended.stdout) == (REFUSED, "")
        assert f"[{code}]" in ended.stderr


def check(novita: Novita, directory: Path, **settings: str) -> Ended:
    """Run `gpukeeper check` with these settings changed."""
    known = QUICK | {"NOVITA_BASE_URL": novita.url, "GPUKEEPER_DATA_DIR": str(directory / "data")}
    return run("check", settings=known | settings, directory=directory)


def test_check_ends_with_0_when_all_is_well(novita: Novita, tmp_path: Path) -> None:
    ended = check(novita, tmp_path)

    assert ended.returncode == OK
    lines = ended.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["✓ configuration", "✓ database", "✓ novita"]


def test_check_ends_with_1_when_the_key_is_wrong(own_novita: Novita, tmp_path: Path) -> None:
    own_novita.switch(api_keys=("another-key",))

    ended = check(own_novita, tmp_path)

    assert ended.returncode == FAILED
    assert "✗ novita: " in ended.stdout
    assert QUICK["NOVITA_API_KEY"] not in ended.stdout + ended.stderr
    assert len(own_novita.visits()) == 1, "a wrong key is not tried again"


def test_check_ends_with_78_when_the_configuration_is_bad(novita: Novita, tmp_path: Path) -> None:
    ended = check(novita, tmp_path, GPUKEEPER_PORT="many")

    assert (ended.returncode, ended.stdout) == (BAD_CONFIGURATION, "")
    assert ended.stderr.startswith("GPUKEEPER_PORT: ")
