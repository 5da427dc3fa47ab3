"""How the program ends: every exit status, what is said with it, and where."""

import httpx2
import pytest

from gpukeeper import __version__
from gpukeeper.cli import exit_status
from gpukeeper.web.problems import KINDS
from tests.cli.program import Program
from tests.client.fake_service import INSTANCE, problem

LIST = "GET /api/instances"


@pytest.mark.parametrize(
    ("http_status", "code", "status"),
    [
        (400, "invalid_request", 2),
        (400, "product_not_found", 2),
        (400, "template_not_found", 2),
        (400, "region_not_found", 2),
        (401, "unauthorized", 6),
        (402, "insufficient_balance", 6),
        (404, "instance_not_found", 1),
        (409, "wrong_status", 1),
        (409, "idempotency_key_reused", 1),
        (409, "out_of_stock", 4),
        (409, "price_above_limit", 4),
        (409, "quota_exceeded", 6),
        (413, "body_too_large", 1),
        (429, "too_many_wrong_keys", 6),
        (500, "internal_error", 1),
        (502, "novita_rejected", 1),
        (502, "novita_credentials", 6),
        (503, "novita_rate_limited", 1),
        (503, "novita_unavailable", 1),
        (504, "novita_timeout", 1),
        (418, "a_code_of_the_future", 1),
    ],
)
def test_a_problem_ends_with_the_status_of_its_code(
    program: Program, http_status: int, code: str, status: int
) -> None:
    program.service.reply(LIST, problem(http_status, code, "What is wrong."))
    ended = program.run("ls", "-o", "json")
    assert (ended.status, ended.stdout) == (status, "")
    assert ended.stderr.startswith(f"Error: What is wrong. [{code}]\n  request id: req_7\n")
    assert "Traceback" not in ended.stderr


def test_every_code_of_the_service_has_its_exit_status() -> None:
    by_status: dict[int, set[str]] = {}
    for code in KINDS:
        by_status.setdefault(exit_status.find_exit_status(code), set()).add(code)
    assert by_status == {
        exit_status.USAGE: {
            "invalid_request",
            "product_not_found",
            "template_not_found",
            "region_not_found",
        },
        exit_status.NOTHING_FOR_SALE: {"out_of_stock", "price_above_limit"},
        exit_status.REFUSED: {
            "unauthorized",
            "too_many_wrong_keys",
            "novita_credentials",
            "insufficient_balance",
            "quota_exceeded",
        },
        exit_status.FAILED: {
            "instance_not_found",
            "delivery_not_found",
            "not_found",
            "method_not_allowed",
            "wrong_status",
            "idempotency_key_reused",
            "body_too_large",
            "unsupported_media_type",
            "request_too_slow",
            "headers_too_large",
            "internal_error",
            "novita_rejected",
            "novita_rate_limited",
            "novita_unavailable",
            "novita_timeout",
            "too_many_connections",
            "store_unavailable",
            "foreign_machine",
            "store_restored",
        },
    }


def test_the_fields_at_fault_are_listed(program: Program) -> None:
    faults = [
        {"field": "gpuNum", "message": "must be a whole number between 1 and 8"},
        {"field": "ports[1]", "message": "must be a port"},
        {"field": "envs.PATH", "message": "is too long"},
        {"field": "webhookUrl", "message": "A webhook URL has no user name or password."},
        {"field": "Idempotency-Key", "message": "must be shorter"},
    ]
    detail = "gpuNum must be a whole number between 1 and 8; ports[1] must be a port"
    title = "The request is not valid"
    refusal = problem(400, "invalid_request", detail, title=title, errors=faults)
    program.service.reply("POST /api/instances", refusal)
    ended = program.run("up", "trainer", "--product", "RTX 4090", "--template", "tpl")
    assert ended.status == 2
    assert ended.stderr == (
        "Error: The request is not valid [invalid_request]\n"
        "  --gpus: must be a whole number between 1 and 8\n"
        "  --port (ports[1]): must be a port\n"
        "  --env PATH: is too long\n"
        "  --webhook-url: A webhook URL has no user name or password.\n"
        "  Idempotency-Key: must be shorter\n"
        "  request id: req_7\n"
    )


def test_novitas_reason_and_the_time_to_wait_are_shown(program: Program) -> None:
    refusal = problem(
        503,
        "novita_rate_limited",
        "Novita asks for fewer calls.",
        headers={"retry-after": "30"},
        novitaReason="TOO_MANY_REQUESTS",
    )
    program.service.reply(LIST, refusal)
    assert program.run("ls").stderr == (
        "Error: Novita asks for fewer calls. [novita_rate_limited]\n"
        "  try again in 30 s\n"
        "  Novita's reason: TOO_MANY_REQUESTS\n"
        "  request id: req_7\n"
    )


def test_a_service_that_does_not_answer_ends_with_5(program: Program) -> None:
    program.service.reply(LIST, httpx2.ConnectError("[Errno 111] Connection refused"))
    ended = program.run("ls")
    assert (ended.status, ended.stdout) == (5, "")
    assert ended.stderr == (
        "Error: No answer from http://127.0.0.1:8080: Connection refused. [service_unreachable]\n"
        "Is it running ('gpukeeper serve')? GPUKEEPER_URL says where it is.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("lss",),
        ("ls", "--colour"),
        ("ls", "-o", "yaml"),
        ("ls", "--status", "dreaming"),
        ("ls", "--limit", "-1"),
        ("rm", "ins_01k"),
        ("orphans", "delete", "ffff"),
        ("show",),
        ("up", "trainer"),
        ("wait", "ins_01k", "--timeout", "soon"),
        ("--url", "127.0.0.1:8080", "ls"),
        ("--api-key-file", "/does/not/exist", "ls"),
        ("webhooks", "test", "-o", "yaml"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_asks_nothing(
    program: Program, arguments: tuple[str, ...]
) -> None:
    ended = program.run(*arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert "Error: " in ended.stderr
    assert program.service.requests == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("ls", "--status", "runing"), "running"),
        (("deliveries", "ls", "--status", "deliverd"), "delivered"),
        (("up", "a", "--product", "p", "--template", "t", "--billing", "spott"), "spot"),
    ],
)
def test_a_word_that_an_option_does_not_know_is_told_with_the_nearest(
    program: Program, arguments: tuple[str, ...], word: str
) -> None:
    said = program.run(*arguments).stderr
    assert "Value error" not in said
    assert f"Did you mean '{word}'?" in said
    assert f"'{arguments[-1]}' is not one of '" in said


def test_text_of_others_cannot_steer_the_terminal(program: Program) -> None:
    program.service.reply(LIST, problem(409, "wrong_status", "\x1b[2J\rAll is well.\nError: no"))
    assert program.run("ls").stderr.startswith("Error:  [2J All is well. Error: no [wrong_status]")
    program.service.reply(
        "GET /api/instances/ins_x", INSTANCE | {"name": "\x1b[2J", "novitaId": "\x9b"}
    )
    assert "\x1b" not in program.run("show", "ins_x").stdout
    assert "\x9b" not in program.run("show", "ins_x", "-o", "json").stdout


def test_the_key_comes_from_the_environment_or_a_file_and_is_never_shown(
    program: Program, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key_file = tmp_path_factory.mktemp("key") / "key"
    key_file.write_text("from-a-file\n")
    program.service.reply(LIST, problem(401, "unauthorized"))
    environment = {"GPUKEEPER_API_KEY": "from-the-environment"}
    ended = program.run("ls", env=environment)
    program.run("--api-key-file", str(key_file), "ls", env=environment)
    program.run("ls")
    given = [each.headers.get("authorization") for each in program.service.requests]
    assert given == ["Bearer from-the-environment", "Bearer from-a-file", None]
    assert "from-the-environment" not in ended.stdout + ended.stderr


def test_an_address_that_is_none_is_told_with_where_it_comes_from(program: Program) -> None:
    ended = program.run("ls", env={"GPUKEEPER_URL": "foo"})
    assert ended.status == 2
    assert "--url or GPUKEEPER_URL: 'foo' is not an address: write" in " ".join(
        ended.stderr.split()
    )


def test_a_key_that_cannot_be_one_is_refused_without_being_shown(program: Program) -> None:
    ended = program.run("ls", env={"GPUKEEPER_API_KEY": "s3cret\nX-Other: 1"})
    assert ended.status == 2
    assert "GPUKEEPER_API_KEY: The API key has characters" in ended.stderr
    assert "s3cret" not in ended.stderr


def test_the_address_comes_from_the_environment_or_an_option(program: Program) -> None:
    program.service.reply(LIST, {"instances": [], "total": 0})
    program.run("ls", env={"GPUKEEPER_URL": "http://a.test"})
    program.run("--url", "http://b.test", "ls", env={"GPUKEEPER_URL": "http://a.test"})
    assert [each.url.host for each in program.service.requests] == ["a.test", "b.test"]


def test_the_version_is_data(program: Program) -> None:
    ended = program.run("--version")
    assert (ended.status, ended.stdout, ended.stderr) == (0, f"{__version__}\n", "")


def test_the_help_names_every_command_and_exit_status(program: Program) -> None:
    ended = program.run("--help")
    assert ended.status == 0
    for word in ("serve", "up", "wait", "ssh", "deliveries", "webhooks", "orphans", "78"):
        assert word in ended.stdout


@pytest.mark.parametrize("arguments", [("up", "--help"), ("deliveries", "--help")])
def test_every_command_has_help(program: Program, arguments: tuple[str, ...]) -> None:
    assert program.run(*arguments).stdout.startswith("Usage: gpukeeper")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("delete", "demo"), "rm"),
        (("describe", "demo"), "show"),
        (("get", "demo"), "show"),
        (("list",), "ls"),
        (("logs", "demo"), "events"),
        (("create", "demo"), "up"),
        (("deliveries", "list"), "ls"),
        (("deliveries", "get", "d"), "show"),
        (("deliveries", "retry", "d"), "redeliver"),
        (("orphans", "list"), "ls"),
    ],
)
def test_what_other_programs_call_a_command_is_answered_with_ours(
    program: Program, arguments: tuple[str, ...], meant: str
) -> None:
    ended = program.run(*arguments)
    assert ended.status == 2
    assert f"Did you mean '{meant}'?" in ended.stderr
    assert "deliveries'" not in ended.stderr
    assert program.service.requests == []


def test_a_near_miss_of_a_command_is_still_told(program: Program) -> None:
    assert "Did you mean 'offers'?" in program.run("ofers").stderr


def test_all_faults_of_an_order_are_told_at_once(program: Program) -> None:
    ended = program.run(
        *("up", "bad name", "--product", "X", "--gpus", "99", "--disk", "1"),
        *("--max-price", "cheap", "--env", "NOT_SET_HERE", "--label", "x"),
    )
    assert ended.status == 2
    assert program.service.requests == []
    for fault in (
        "--template: Needed, and not given.",
        "NAME: A name has 1 to 48 letters, digits and '-', and nothing else.",
        "--gpus: 99 is not in the range 1 to 8.",
        "--disk: 1 is not in the range 10 to 6144.",
        "--max-price: 'cheap' is not an amount of dollars.",
        "--env: 'NOT_SET_HERE' is not set in this shell.",
        "--label: Write it as KEY=VALUE.",
    ):
        assert f"\n  {fault}\n" in ended.stderr + "\n", fault
