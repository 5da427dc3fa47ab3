"""How `up` and `wait` order, show how it comes along, and end."""

import json
from pathlib import Path

import httpx2
import pytest

from gpukeeper.cli.terminal.text_tables import count_cells
from tests.cli.program import Program
from tests.client.fake_service import INSTANCE, problem

ORDER = "POST /api/instances"
LOOK = "GET /api/instances/ins_01k"
UP = ("up", "trainer", "--product", "RTX 4090 24GB", "--template", "tpl-basic")
CREATING = INSTANCE | {"status": "creating", "novitaStatus": None}
PULLING = INSTANCE | {"status": "starting", "novitaStatus": "pulling"}


def failed(code: str, *, is_billing: bool = False) -> dict[str, object]:
    """Return the instance as failed for this reason."""
    reason = {"code": code, "message": "It did not work."}
    return INSTANCE | {"status": "failed", "reason": reason, "isBilling": is_billing}


def test_up_orders_and_prints_the_instance(program: Program) -> None:
    program.service.reply(ORDER, httpx2.Response(202, json=CREATING))
    ended = program.run(*UP)
    assert ended.status == 0
    assert ended.stdout.splitlines()[1].startswith("ins_01k  trainer  creating")
    assert ended.stderr == ""
    assert program.service.sent() == {
        "name": "trainer",
        "productName": "RTX 4090 24GB",
        "templateId": "tpl-basic",
    }


def test_up_sends_every_field_of_an_order(program: Program, tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("# comment\n\nexport A=file\nB='quoted text'\nC=x=y\n")
    program.service.reply(ORDER, CREATING)
    ended = program.run(
        *UP,
        *("--gpus", "2", "--disk", "100", "--billing", "ONDEMAND", "--max-price", "0.50"),
        *("--region", "CN-HK-01", "--region", "US-CA-06", "--region", "AS-SGP-02"),
        *("--env-file", str(env_file), "--env", "A=option", "--env", "FROM_SHELL"),
        *("--port", "8000/http", "--port", "22/tcp", "--command", "sleep infinity"),
        *("--webhook-url", "https://hooks.example.com", "--label", "team=vision"),
        *("--startup-timeout", "1200", "--on-failure", "delete", "--idempotency-key", "k-1"),
        env={"FROM_SHELL": "shell"},
    )
    assert ended.status == 0
    assert program.service.sent() == {
        "name": "trainer",
        "productName": "RTX 4090 24GB",
        "templateId": "tpl-basic",
        "gpuNum": 2,
        "rootfsSize": 100,
        "billingMode": "onDemand",
        "region": "CN-HK-01",
        "regions": ["US-CA-06", "AS-SGP-02"],
        "maxPricePerHour": "0.50",
        "envs": {"A": "option", "B": "quoted text", "C": "x=y", "FROM_SHELL": "shell"},
        "ports": ["8000/http", "22/tcp"],
        "command": "sleep infinity",
        "webhookUrl": "https://hooks.example.com",
        "labels": {"team": "vision"},
        "startupTimeout": 1200,
        "onFailure": "delete",
    }
    assert program.service.requests[0].headers["idempotency-key"] == "k-1"


def test_up_wait_tells_each_change_and_ends_with_the_running_instance(program: Program) -> None:
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, CREATING, CREATING, PULLING, PULLING, INSTANCE)
    ended = program.run(*UP, "--wait", "-o", "json")
    assert ended.status == 0
    assert json.loads(ended.stdout) == INSTANCE
    assert ended.stderr == (
        "Ordered ins_01k.\n"
        "   0 s  creating\n"
        "   4 s  starting (Novita: pulling)\n"
        "  12 s  running (Novita: running)\n"
    )


def test_up_wait_keeps_one_live_line_on_a_terminal(program: Program) -> None:
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, CREATING, PULLING, INSTANCE)
    ended = program.run(*UP, "--wait", on_terminal=True)
    following = (
        "\nNext: 'gpukeeper ssh trainer' tells the way in, 'gpukeeper rm trainer' ends it.\n"
    )
    start = "\r\x1b[2K"
    said = "Waiting until Novita has accepted the order…\nOrdered ins_01k.\n"
    assert (
        ended.stderr
        == said
        + "".join(
            start + line
            for line in (
                "   0 s  creating",
                "   1 s  creating",
                "   2 s  starting (Novita: pulling)",
                "   3 s  starting (Novita: pulling)",
                "   4 s  starting (Novita: pulling)",
                "   4 s  running (Novita: running)",
            )
        )
        + following
    )


def test_up_with_a_timeout_waits(program: Program) -> None:
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, CREATING)
    ended = program.run(*UP, "--timeout", "5")
    assert ended.status == 3
    assert "'trainer' (ins_01k) is still creating after 5 s." in ended.stderr


def test_the_live_line_never_wraps(program: Program) -> None:
    program.service.reply(LOOK, INSTANCE | {"novitaStatus": "x" * 200})
    ended = program.run("wait", "ins_01k", on_terminal=True)
    lines = ended.stderr.removesuffix("\n").split("\r\x1b[2K")
    assert max(map(len, lines)) == 79


def test_trouble_while_waiting_is_told_and_survived(program: Program) -> None:
    refused = httpx2.ConnectError("[Errno 111] Connection refused")
    program.service.reply(LOOK, CREATING, refused, refused, INSTANCE)
    ended = program.run("wait", "ins_01k")
    assert ended.status == 0
    assert ended.stderr == (
        "   0 s  creating\n"
        "   2 s  looking again: No answer from http://127.0.0.1:8080: Connection refused.\n"
        "   8 s  running (Novita: running)\n"
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("startup_timeout", 1),
        ("boot_failed", 1),
        ("out_of_stock", 4),
        ("price_above_limit", 4),
        ("insufficient_balance", 6),
        ("quota_exceeded", 6),
        ("novita_credentials", 6),
    ],
)
def test_an_instance_that_failed_ends_with_the_status_of_its_reason(
    program: Program, code: str, status: int
) -> None:
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, CREATING, failed(code))
    ended = program.run(*UP, "--wait", "-o", "json")
    assert ended.status == status
    assert json.loads(ended.stdout)["status"] == "failed"
    assert f"Error: 'trainer' (ins_01k) has failed: It did not work. [{code}]\n" in ended.stderr


def test_a_failed_machine_that_is_billed_is_pointed_out(program: Program) -> None:
    program.service.reply(LOOK, failed("startup_timeout", is_billing=True))
    ended = program.run("wait", "ins_01k")
    assert ended.stderr.endswith(
        "Error: 'trainer' (ins_01k) has failed: It did not work. [startup_timeout]\n"
        "Its machine is still billed; 'gpukeeper rm ins_01k' deletes it.\n"
    )


@pytest.mark.parametrize(
    ("gpu", "disk", "said"),
    [
        ("0.175", "0", "Its machine is still billed (GPU $0.175/h, disk $0.00/day); "),
        ("0", "0.091667", "Its machine is still billed (GPU no, disk $2.20/day); "),
        ("0", "0", "Its machine exists and costs nothing now; "),
    ],
)
def test_what_a_failed_machine_costs_now_is_said(
    program: Program, gpu: str, disk: str, said: str
) -> None:
    cost = {"costPerHour": {"gpuUsd": gpu, "diskUsd": disk}, "novitaId": "m1"}
    program.service.reply(LOOK, failed("startup_timeout", is_billing=True) | cost)
    assert said + "'gpukeeper rm ins_01k' deletes it.\n" in program.run("wait", "ins_01k").stderr


@pytest.mark.parametrize("end", ["stopped", "deleted", "lost", "reclaimed"])
def test_an_instance_that_will_not_get_there_ends_with_1(program: Program, end: str) -> None:
    program.service.reply(LOOK, INSTANCE | {"status": end, "isBilling": False})
    ended = program.run("wait", "ins_01k")
    assert ended.status == 1
    assert f"Error: 'trainer' (ins_01k) is {end}.\n" in ended.stderr


def test_a_wait_that_takes_too_long_ends_with_3_and_the_last_known_instance(
    program: Program,
) -> None:
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, PULLING)
    ended = program.run(*UP, "--wait", "--timeout", "10", "-o", "json")
    assert ended.status == 3
    assert json.loads(ended.stdout) == PULLING
    assert ended.stderr.endswith(
        "Error: 'trainer' (ins_01k) is still starting after 10 s. [wait_timed_out]\n"
        "It goes on: 'gpukeeper wait' waits again, 'gpukeeper rm' deletes it.\n"
    )


@pytest.mark.parametrize(("options", "seconds"), [((), 900), (("--startup-timeout", "3600"), 3660)])
def test_up_waits_for_as_long_as_starting_may_take(
    program: Program, options: tuple[str, ...], seconds: int
) -> None:
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, PULLING)
    assert program.run(*UP, "--wait", *options).status == 3
    assert sum(program.time.pauses) == seconds


def test_wait_can_wait_for_another_status(program: Program) -> None:
    stopping, stopped = INSTANCE | {"status": "stopping"}, INSTANCE | {"status": "stopped"}
    program.service.reply(LOOK, stopping, stopped)
    assert program.run("wait", "ins_01k", "--until", "stopped").status == 0


def test_ctrl_c_while_waiting_ends_with_130_and_says_that_the_instance_goes_on(
    program: Program,
) -> None:
    program.service.reply(LOOK, CREATING, KeyboardInterrupt())
    ended = program.run("wait", "ins_01k")
    assert (ended.status, ended.stdout) == (130, "")
    assert ended.stderr.endswith("Stopped waiting; ins_01k goes on.\n")


def test_ctrl_c_while_ordering_says_where_to_look(program: Program) -> None:
    program.service.reply(ORDER, KeyboardInterrupt())
    ended = program.run(*UP)
    assert ended.status == 130
    assert ended.stderr == "The order may have been taken: 'gpukeeper ls --name trainer' tells.\n"


def test_an_order_whose_answers_were_lost_ends_with_5_and_the_key(program: Program) -> None:
    program.service.reply(ORDER, httpx2.ReadTimeout("timed out"))
    ended = program.run(*UP, "--idempotency-key", "k-1")
    assert ended.status == 5
    assert "with the idempotency key k-1" in ended.stderr
    assert len(program.service.requests) == 4


def test_an_order_that_nothing_fits_ends_with_4_and_every_try(program: Program) -> None:
    tried = [INSTANCE["attempts"][0] | {"outcome": "out_of_stock", "detail": "sold out"}]
    refusal = problem(
        409, "out_of_stock", "No RTX 4090 24GB is left.", attempts=tried, instanceId="ins_01k"
    )
    program.service.reply(ORDER, refusal)
    ended = program.run(*UP, "--wait")
    assert (ended.status, ended.stdout) == (4, "")
    assert ended.stderr == (
        "Error: No RTX 4090 24GB is left. [out_of_stock]\n"
        "  tried 4090.16c62g in CN-HK-01 at $0.175/h: out_of_stock (sold out)\n"
        "  instance: ins_01k\n"
        "  request id: req_7\n"
        "'gpukeeper offers', with the order's --disk, --gpus and --region, shows what is for sale; "
        "further --region are tried too.\n"
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--max-price", "cheap"),
        ("--max-price", "nan"),
        ("--max-price", "0"),
        ("--gpus", "9"),
        ("--disk", "5"),
        ("--billing", "barter"),
        ("--env", "NOT_SET_ANYWHERE"),
        ("--env", "=s3cret"),
        ("--label", "s3cret"),
        ("--env-file", "/does/not/exist"),
        ("--on-failure", "cry"),
    ],
)
def test_a_wrong_option_ends_with_2_before_anything_is_ordered(
    program: Program, options: tuple[str, ...]
) -> None:
    ended = program.run(*UP, *options)
    assert (ended.status, ended.stdout) == (2, "")
    assert options[0] in ended.stderr
    assert "s3cret" not in ended.stderr
    assert program.service.requests == []


def test_an_env_file_is_read_with_a_byte_order_mark_and_in_utf_8_only(
    program: Program, tmp_path: Path
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("A=s3cret\r\n", "utf-16")
    ended = program.run(*UP, "--env-file", str(env_file))
    assert (ended.status, program.service.requests) == (2, [])
    assert "it is text in UTF-16: save it as UTF-8" in " ".join(ended.stderr.split())
    assert "s3cret" not in ended.stderr
    program.service.reply(ORDER, httpx2.Response(202, json=CREATING))
    env_file.write_text("A=s3cret\r\n", "utf-8-sig")
    program.run(*UP, "--env-file", str(env_file))
    assert program.service.sent()["envs"] == {"A": "s3cret"}


def test_a_line_of_an_env_file_that_is_wrong_is_not_shown(program: Program, tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("s3cret\n")
    ended = program.run(*UP, "--env-file", str(env_file))
    assert ended.status == 2
    assert "s3cret" not in ended.stderr


def test_what_follows_the_live_line_has_a_line_of_its_own(program: Program) -> None:
    program.service.reply(LOOK, PULLING)
    late = program.run("wait", "ins_01k", "--timeout", "1", on_terminal=True, env={"NO_COLOR": "1"})
    assert late.status == 3
    assert late.stderr.rpartition("\r\x1b[2K")[2].startswith(
        "   0 s  starting (Novita: pulling)\nError: "
    )
    program.service.reply(LOOK, PULLING, KeyboardInterrupt())
    stopped = program.run("wait", "ins_01k", on_terminal=True)
    assert stopped.status == 130
    assert "starting (Novita: pulling)\nStopped waiting; ins_01k goes on.\n" in stopped.stderr


def test_the_live_line_is_counted_in_cells(program: Program) -> None:
    program.service.reply(LOOK, INSTANCE | {"novitaStatus": "訓" * 200})
    ended = program.run("wait", "ins_01k", on_terminal=True)
    lines = ended.stderr.removesuffix("\n").split("\r\x1b[2K")
    assert max(map(count_cells, lines)) in (78, 79)


def test_waiting_ends_with_the_ssh_command_of_a_machine_that_has_just_come_up(
    program: Program,
) -> None:
    early = INSTANCE | {"sshCommand": None, "observedAt": "2026-11-23T05:14:02.100Z"}
    program.service.reply(ORDER, CREATING)
    program.service.reply(LOOK, CREATING, early, INSTANCE)
    ended = program.run(*UP, "--wait")
    assert "ssh            ssh -p 62132 root@203.0.113.7\n" in ended.stdout
    assert ended.stderr.endswith("   2 s  running (Novita: running)\n")
