"""What the commands about instances print, ask and end with."""

import json

import pytest

from tests.cli.program import Program
from tests.client.fake_service import EVENT, INSTANCE, OFFER, problem

FAILED = INSTANCE | {
    "id": "ins_01m",
    "name": "eval",
    "status": "failed",
    "reason": {"code": "startup_timeout", "message": "Not running after 600 s."},
    "pricePerHour": None,
    "stale": True,
}
LIST = {"instances": [INSTANCE, FAILED], "total": 2, "nextCursor": None}

TABLE = """\
ID       NAME     STATUS                       PRODUCT        GPUS  REGION    USD/H  BILLING  CREATED
ins_01k  trainer  running                      RTX 4090 24GB  1     CN-HK-01  0.175  spot     2026-11-23 05:12:25Z
ins_01m  eval     failed, still billed, stale  RTX 4090 24GB  1     CN-HK-01  -      spot     2026-11-23 05:12:25Z
"""  # noqa: E501 - as wide as the table is

LINE = """\
ID       NAME     STATUS   PRODUCT        GPUS  REGION    USD/H  BILLING  CREATED
ins_01k  trainer  running  RTX 4090 24GB  1     CN-HK-01  0.175  spot     2026-11-23 05:12:25Z
"""

RECORD = """\
id             ins_01k
name           trainer
status         running
product        1 x RTX 4090 24GB
region         CN-HK-01
price          $0.175/h, spot
billed         yes
disk           60 GB
template       tpl-basic
image          docker.io/acme/train:1
label          team=vision
endpoint       8000/http https://x-8000.example.com
ssh            ssh -p 62132 root@203.0.113.7
created        2026-11-23 05:12:25Z
started        2026-11-23 05:12:40Z
running since  2026-11-23 05:14:02Z
at novita      37d312386c80a3b9: running, seen 2026-11-23 05:20:00Z
tried          4090.16c62g in CN-HK-01 at $0.175/h: accepted
"""


def test_ls_prints_a_plain_table_and_says_what_is_stale_on_stderr(program: Program) -> None:
    program.service.reply("GET /api/instances", LIST)
    ended = program.run("ls")
    assert (ended.status, ended.stdout) == (0, TABLE)
    assert ended.stderr == (
        "'stale' marks what is shown from the store: Novita could not be asked lately.\n"
        "Needs attention: 1 failed.\n"
    )


def test_ls_asks_for_what_its_options_name(program: Program) -> None:
    program.service.reply("GET /api/instances", LIST)
    program.run("ls", "--status", "failed", "--name", "ev", "--limit", "7")
    program.run("ls", "--status", "running", "--status", "failed", "--all")
    program.run("ls")
    assert program.service.asked == [
        "GET /api/instances?status=failed&name=ev&limit=7",
        "GET /api/instances?status=running&status=failed&limit=1000",
        "GET /api/instances?current=true&limit=100",
    ]


def test_ls_says_that_there_is_more(program: Program) -> None:
    page = {"instances": [INSTANCE], "total": 240, "nextCursor": "c"}
    program.service.reply("GET /api/instances", page)
    ended = program.run("ls", "--limit", "1")
    assert (ended.stdout, ended.stderr) == (LINE, "1 of 240; --limit 0 lists every one.\n")


@pytest.mark.parametrize("option", ["--all", "--limit=0"])
def test_ls_of_everything_follows_every_page(program: Program, option: str) -> None:
    pages = (
        {"instances": [INSTANCE], "total": 2, "nextCursor": "c"},
        {"instances": [FAILED], "total": 2, "nextCursor": None},
    )
    program.service.reply("GET /api/instances", *pages)
    ended = program.run("ls", option, "-o", "json")
    assert json.loads(ended.stdout) == LIST
    current = "" if option == "--all" else "current=true&"
    assert program.service.asked == [
        f"GET /api/instances?{current}limit=1000",
        f"GET /api/instances?{current}limit=1000&cursor=c",
    ]


def test_ls_of_nothing_leaves_stdout_empty(program: Program) -> None:
    empty = {"instances": [], "total": 0, "nextCursor": None}
    program.service.reply("GET /api/instances", empty)
    ended = program.run("ls")
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "There are none.\n")
    assert json.loads(program.run("ls", "-o", "json").stdout) == empty


def test_ls_has_colours_on_a_terminal_only(program: Program) -> None:
    program.service.reply("GET /api/instances", LIST)
    assert "\x1b[32mrunning\x1b[0m" in program.run("ls", on_terminal=True).stdout
    assert "\x1b" not in program.run("ls", on_terminal=True, env={"TERM": "dumb"}).stdout
    assert "\x1b" not in program.run("ls").stdout


def test_show_prints_every_fact(program: Program) -> None:
    program.service.reply("GET /api/instances/ins_01k", INSTANCE)
    assert program.run("show", "ins_01k").stdout == RECORD
    assert program.run("show", "ins_01k", "--refresh").stdout == RECORD
    assert program.service.asked[1] == "GET /api/instances/ins_01k?refresh=true"


def test_show_does_not_say_that_a_stopped_instance_is_running(program: Program) -> None:
    program.service.reply("GET /api/instances/ins_01k", INSTANCE | {"status": "stopped"})
    said = program.run("show", "ins_01k").stdout
    assert "running since" not in said
    assert "\nran from   2026-11-23 05:14:02Z\n" in said


def test_show_leaves_out_what_is_not_known_yet(program: Program) -> None:
    body = {"id": "ins_9", "status": "creating", "name": "new", "productName": "RTX 4090"}
    program.service.reply("GET /api/instances/ins_9", body | {"billingMode": "spot"})
    assert program.run("show", "ins_9").stdout == (
        "id       ins_9\n"
        "name     new\n"
        "status   creating\n"
        "product  1 x RTX 4090\n"
        "price    none yet, spot\n"
        "billed   no\n"
    )


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_change_prints_the_instance(program: Program, verb: str) -> None:
    program.service.reply(f"POST /api/instances/ins_01k/{verb}", INSTANCE)
    ended = program.run(verb, "ins_01k")
    assert (ended.status, ended.stdout, ended.stderr) == (0, LINE, "")


@pytest.mark.parametrize(
    ("arguments", "route", "body"),
    [
        (("ls",), "GET /api/instances", LIST),
        (("show", "ins_01k"), "GET /api/instances/ins_01k", INSTANCE),
        (("start", "ins_01k"), "POST /api/instances/ins_01k/start", INSTANCE),
        (("stop", "ins_01k"), "POST /api/instances/ins_01k/stop", INSTANCE),
        (("restart", "ins_01k"), "POST /api/instances/ins_01k/restart", INSTANCE),
        (("rm", "ins_01k", "--yes"), "DELETE /api/instances/ins_01k", INSTANCE),
        (("wait", "ins_01k"), "GET /api/instances/ins_01k", INSTANCE),
        (("events", "ins_01k"), "GET /api/instances/ins_01k/events", {"events": [EVENT]}),
        (("offers",), "GET /api/offers", {"offers": [OFFER]}),
    ],
)
def test_json_is_what_the_service_said(
    program: Program, arguments: tuple[str, ...], route: str, body: dict[str, object]
) -> None:
    program.service.reply(route, body)
    ended = program.run(*arguments, "-o", "json")
    assert ended.status == 0
    assert ended.stdout == json.dumps(body, indent=2) + "\n"


def test_rm_deletes_nothing_for_a_script_that_does_not_say_yes(program: Program) -> None:
    program.service.reply("DELETE /api/instances/ins_01k", INSTANCE | {"status": "deleting"})
    ended = program.run("rm", "ins_01k")
    assert (ended.status, ended.stdout, program.service.asked) == (2, "", [])
    assert "Invalid value for --yes: Needed where nobody can be asked" in ended.stderr
    assert program.run("rm", "ins_01k", "--yes").status == 0
    assert program.service.asked == ["DELETE /api/instances/ins_01k"]


def test_rm_asks_a_person_and_takes_no_for_an_answer(program: Program) -> None:
    program.service.reply("GET /api/instances/ins_01k", INSTANCE)
    ended = program.run("rm", "ins_01k", on_terminal=True, stdin="n\n")
    assert ended.status == 1
    assert "Delete 'trainer' (ins_01k, running) and its disk? [y/N]" in ended.stderr
    assert program.service.asked == ["GET /api/instances/ins_01k"]


@pytest.mark.parametrize(("options", "answer"), [(("--yes",), ""), ((), "y\n")])
def test_rm_deletes_when_a_person_is_sure(
    program: Program, options: tuple[str, ...], answer: str
) -> None:
    program.service.reply("GET /api/instances/ins_01k", INSTANCE)
    program.service.reply("DELETE /api/instances/ins_01k", INSTANCE | {"status": "deleting"})
    assert program.run("rm", "ins_01k", *options, on_terminal=True, stdin=answer).status == 0
    assert program.service.asked[-1] == "DELETE /api/instances/ins_01k"


def test_rm_can_wait_until_novita_confirms(program: Program) -> None:
    deleting = INSTANCE | {"status": "deleting"}
    program.service.reply("DELETE /api/instances/ins_01k", deleting)
    program.service.reply("GET /api/instances/ins_01k", deleting, INSTANCE | {"status": "deleted"})
    ended = program.run("rm", "ins_01k", "--yes", "--wait", "-o", "json")
    assert ended.status == 0
    assert json.loads(ended.stdout)["status"] == "deleted"


def test_events_are_told_oldest_first(program: Program) -> None:
    program.service.reply("GET /api/instances/ins_01k/events", {"events": [EVENT]})
    assert program.run("events", "ins_01k").stdout == (
        "TIME                  EVENT            FROM      STATUS  REASON\n"
        "2026-11-23 05:22:30Z  instance.failed  starting  failed  "
        "Not running after 600 s. [startup_timeout]\n"
    )


def test_offers_ask_for_what_the_options_name(program: Program) -> None:
    program.service.reply("GET /api/offers", {"offers": [OFFER]})
    options = ("--product", "RTX 4090 24GB", "--region", "CN-HK-01", "--gpus", "2")
    ended = program.run("offers", *options, "--billing", "ondemand")
    assert ended.stdout == (
        "PRODUCT ID   PRODUCT        REGION    BILLING  GPUS  USD/H  STOCK  MAX DISK\n"
        "4090.16c62g  RTX 4090 24GB  CN-HK-01  spot        2  0.350  high    1024 GB\n"
    )
    assert program.service.asked == [
        "GET /api/offers?productName=RTX+4090+24GB&region=CN-HK-01&billingMode=onDemand&gpuNum=2"
    ]


CONNECTION = {
    "endpoints": [],
    "sshCommand": "ssh -p 62132 root@203.0.113.7",
    "sshPassword": "s3cret",
}
CONNECTION_ROUTE = "GET /api/instances/ins_01k/connection"


def test_ssh_prints_the_command_and_keeps_the_password_back(program: Program) -> None:
    program.service.reply(CONNECTION_ROUTE, CONNECTION)
    ended = program.run("ssh", "ins_01k")
    assert ended.stdout == "ssh -p 62132 root@203.0.113.7\n"
    assert ended.stderr == "Its password is shown with --show-password.\n"
    hidden = program.run("ssh", "ins_01k", "-o", "json")
    assert json.loads(hidden.stdout) == CONNECTION | {"sshPassword": None}


def test_ssh_shows_the_password_when_asked_to(program: Program) -> None:
    program.service.reply(CONNECTION_ROUTE, CONNECTION)
    ended = program.run("ssh", "ins_01k", "--show-password")
    assert (ended.stdout, ended.stderr) == ("ssh -p 62132 root@203.0.113.7\ns3cret\n", "")
    shown = program.run("ssh", "ins_01k", "--show-password", "-o", "json")
    assert json.loads(shown.stdout) == CONNECTION


def test_ssh_of_an_instance_without_it_fails(program: Program) -> None:
    program.service.reply(CONNECTION_ROUTE, CONNECTION | {"sshCommand": ""})
    ended = program.run("ssh", "ins_01k")
    assert (ended.status, ended.stdout) == (1, "")
    assert "has no SSH" in ended.stderr


def test_ssh_of_an_instance_that_is_not_running_says_so(program: Program) -> None:
    program.service.reply(CONNECTION_ROUTE, problem(409, "wrong_status", "'trainer' is stopped."))
    ended = program.run("ssh", "ins_01k")
    assert ended.status == 1
    assert ended.stderr.startswith("Error: 'trainer' is stopped. [wrong_status]\n")


def test_an_instance_can_be_named(program: Program) -> None:
    others = [
        INSTANCE | {"id": "ins_1", "name": "trainer-2"},
        INSTANCE | {"id": "ins_2", "status": "deleted"},
    ]
    pages = (
        {"instances": others, "total": 3, "nextCursor": "c"},
        {"instances": [INSTANCE], "total": 3, "nextCursor": None},
    )
    program.service.reply("GET /api/instances", *pages)
    program.service.reply("DELETE /api/instances/ins_01k", INSTANCE | {"status": "deleting"})
    assert program.run("rm", "trainer", "--yes").status == 0
    assert program.service.asked == [
        "GET /api/instances?name=trainer&limit=1000",
        "GET /api/instances?name=trainer&limit=1000&cursor=c",
        "DELETE /api/instances/ins_01k",
    ]


def test_a_name_that_several_instances_have_chooses_none(program: Program) -> None:
    twins = [INSTANCE, INSTANCE | {"id": "ins_01m", "status": "stopped"}]
    program.service.reply("GET /api/instances", {"instances": twins, "total": 2})
    ended = program.run("rm", "trainer", "--yes")
    assert ended.status == 2
    said = " ".join(ended.stderr.split())
    assert "Several instances are called 'trainer'. Give the id of one:" in said
    assert "ins_01k, running, ordered 2026-11-23 05:12:25Z; ins_01m, stopped, ordered" in said
    assert len(program.service.requests) == 1


@pytest.mark.parametrize(
    ("status", "is_billing", "others"),
    [
        ("running", True, ["failed", "failed", "lost", "reclaimed"]),
        ("requested", False, ["failed", "reclaimed"]),
        ("failed", True, ["failed", "lost"]),
        ("reclaimed", False, ["failed", "lost"]),
    ],
)
def test_an_order_that_came_to_nothing_does_not_use_its_name_up(
    program: Program, status: str, is_billing: bool, others: list[str]
) -> None:
    ended_ones = [
        INSTANCE | {"id": f"ins_{number}", "status": each, "isBilling": False}
        for number, each in enumerate(others)
    ]
    meant = INSTANCE | {"status": status, "isBilling": is_billing}
    program.service.reply("GET /api/instances", {"instances": [*ended_ones, meant], "total": 9})
    program.service.reply("DELETE /api/instances/ins_01k", INSTANCE | {"status": "deleting"})
    assert program.run("rm", "trainer", "--yes").status == 0


def test_a_running_one_and_one_that_is_coming_are_two(program: Program) -> None:
    coming = INSTANCE | {"id": "ins_01m", "status": "requested", "isBilling": False}
    program.service.reply("GET /api/instances", {"instances": [INSTANCE, coming], "total": 2})
    assert program.run("rm", "trainer", "--yes").status == 2


def test_what_is_no_name_is_taken_as_an_id_of_novitas(program: Program) -> None:
    program.service.reply("GET /api/instances", {"instances": [], "total": 0})
    program.service.reply("GET /api/instances/37d312386c80a3b9", INSTANCE)
    assert program.run("show", "37d312386c80a3b9").stdout == RECORD


@pytest.mark.parametrize("given", ["", ".", ".."])
def test_what_can_be_no_id_is_not_found(program: Program, given: str) -> None:
    program.service.reply("GET /api/instances", {"instances": [], "total": 0})
    ended = program.run("rm", given, "--yes")
    assert ended.status == 1
    assert f"There is nothing called '{given}'." in ended.stderr
    assert not any(each.startswith("DELETE") for each in program.service.asked)


def test_a_failed_order_that_may_have_bought_a_machine_is_not_called_free(program: Program) -> None:
    open_ = {**FAILED, "novitaId": None, "novitaStatus": None, "stale": False, "isBilling": True}
    program.service.reply("GET /api/instances/ins_01m", open_)
    shown = program.run("show", "ins_01m").stdout
    assert "failed, may be billed" in shown
    assert "not known: the answer to the purchase is being looked up" in shown


def test_what_is_gone_is_not_said_to_run(program: Program) -> None:
    gone = {**INSTANCE, "status": "deleted", "novitaStatus": None, "isBilling": False}
    program.service.reply("GET /api/instances/ins_01k", gone)
    shown = program.run("show", "ins_01k").stdout
    assert "at novita  37d312386c80a3b9: not found since" in shown
