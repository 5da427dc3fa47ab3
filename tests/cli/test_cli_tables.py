"""What tables look like at the widths that terminals have."""

from datetime import timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any

import pytest

from gpukeeper.cli.terminal.output import format_age, format_price, format_time_left
from gpukeeper.cli.terminal.text_tables import Column, count_cells, cut, lay_out
from tests.cli.program import NOW, Program
from tests.client.fake_service import DELIVERY, INSTANCE

ID = "ins_01kdvdna0072tecmq49pkz57h6"
FLEET = [
    INSTANCE | {"id": ID, "name": "trainer"},
    INSTANCE
    | {
        "id": "ins_01kdvdna0072tecmq49pkz0001",
        "name": "a-name-that-is-as-long-as-a-name-may-be-at-48-xx",
        "reclaimAt": "2026-11-23T05:43:30Z",
        "pricePerHour": "0.1",
        "createdAt": "2026-11-21T05:12:25Z",
    },
    INSTANCE
    | {
        "id": "ins_01kdvdna0072tecmq49pkz0002",
        "name": "eval",
        "status": "failed",
        "pricePerHour": "10.4",
        "stale": True,
        "gpuNum": 8,
        "productName": "H100 SXM 80GB",
    },
]
GOLDEN = {
    40: """\
NAME        STATUS            USD/H  AGE
trainer     running           0.175   8m
a-name-th…  taken in 22 min   0.100   2d
eval        failed, billed   10.400   8m
""",
    60: """\
NAME              STATUS                          USD/H  AGE
trainer           running                         0.175   8m
a-name-that-is-…  running, taken back in 22 min   0.100   2d
eval              failed, still billed, stale    10.400   8m
""",
    80: """\
NAME         STATUS                          USD/H  AGE  PRODUCT        ID
trainer      running                         0.175   8m  RTX 4090 24GB  9pkz57h6
a-name-tha…  running, taken back in 22 min   0.100   2d  RTX 4090 24GB  9pkz0001
eval         failed, still billed, stale    10.400   8m  H100 SXM 80GB  9pkz0002
""",
    120: """\
NAME                        STATUS                          USD/H  AGE  PRODUCT        GPUS  REGION    BILLING  ID
trainer                     running                         0.175   8m  RTX 4090 24GB     1  CN-HK-01  spot     9pkz57h6
a-name-that-is-as-long-as…  running, taken back in 22 min   0.100   2d  RTX 4090 24GB     1  CN-HK-01  spot     9pkz0001
eval                        failed, still billed, stale    10.400   8m  H100 SXM 80GB     8  CN-HK-01  spot     9pkz0002
""",  # noqa: E501 - as wide as the table is
}


def run(program: Program, width: int, *arguments: str) -> str:
    """Return what a command shows on a terminal of this width."""
    env = {"NO_COLOR": "1", "COLUMNS": str(width)}
    return program.run(*arguments, on_terminal=True, env=env).stdout


@pytest.mark.parametrize("width", GOLDEN)
def test_ls_fits_the_terminal_and_cuts_neither_status_nor_price(
    program: Program, width: int
) -> None:
    program.service.reply("GET /api/instances", {"instances": FLEET, "total": 3})
    shown = run(program, width, "ls")
    assert shown == GOLDEN[width]
    assert max(map(count_cells, shown.splitlines())) <= width


def test_ls_in_a_pipe_has_every_column_whole_whatever_the_width(program: Program) -> None:
    program.service.reply("GET /api/instances", {"instances": FLEET, "total": 3})
    ended = program.run("ls", env={"COLUMNS": "40"})
    first, second = ended.stdout.splitlines()[:2]
    assert first.split() == [
        *("ID", "NAME", "STATUS", "PRODUCT", "GPUS", "REGION", "USD/H", "BILLING", "CREATED")
    ]
    assert second.startswith(ID)
    assert "a-name-that-is-as-long-as-a-name-may-be-at-48-xx" in ended.stdout


def test_what_needs_attention_is_counted_beside_the_table(program: Program) -> None:
    lost = INSTANCE | {"status": "lost", "reclaimAt": "2026-11-23T05:43:30Z"}
    taken = INSTANCE | {"status": "reclaimed", "reclaimAt": "2026-11-23T05:10:00Z"}
    fleet = {"instances": [*FLEET, lost, taken], "total": 5}
    program.service.reply("GET /api/instances", fleet)
    said = "Needs attention: 1 failed, 1 reclaimed, 1 to be taken back, 1 lost.\n"
    assert said in program.run("ls", "--all").stderr
    quiet = {"instances": FLEET[:1], "total": 1}
    program.service.reply("GET /api/instances", quiet)
    assert program.run("ls").stderr == ""


def test_a_refused_order_says_so_and_needs_nobody(program: Program) -> None:
    refused = FLEET[-1] | {"novitaId": None, "isBilling": False, "stale": False}
    program.service.reply("GET /api/instances", {"instances": [refused], "total": 1})
    ended = program.run("ls", "--all")
    assert "failed, nothing bought" in ended.stdout
    assert ended.stderr == ""


def test_a_notice_whose_time_is_over_is_no_time_left(program: Program) -> None:
    late = INSTANCE | {"reclaimAt": "2026-11-23T05:20:00Z"}
    program.service.reply("GET /api/instances/ins_01k", late)
    shown = program.run("show", "ins_01k").stdout
    assert "status         running, being taken back\n" in shown
    soon = INSTANCE | {"reclaimAt": "2026-11-23T05:21:40Z"}
    program.service.reply("GET /api/instances/ins_01k", soon)
    assert "running, taken back in 40 s\n" in program.run("show", "ins_01k").stdout


def deliveries(*finished: str) -> dict[str, Any]:
    """Return exhausted deliveries that were given up at these times."""
    items = [DELIVERY | {"finishedAt": at, "attempts": []} for at in finished]
    return {"deliveries": items, "nextCursor": None}


@pytest.mark.parametrize(
    ("finished", "said"),
    [
        ((), ""),
        (("2026-11-22T05:20:59Z",), ""),
        (("2026-11-22T05:21:00Z",), "1 webhook was not delivered in the last 24 h: "),
        (
            ("2026-11-23T05:20:00Z", "2026-11-23T05:19:00Z", "2026-11-20T05:19:00Z"),
            "2 webhooks were not delivered in the last 24 h: ",
        ),
    ],
)
def test_webhooks_that_were_given_up_lately_are_told_of(
    program: Program, finished: tuple[str, ...], said: str
) -> None:
    program.service.reply("GET /api/instances", {"instances": FLEET[:1], "total": 1})
    program.service.reply("GET /api/deliveries", deliveries(*finished))
    advice = "gpukeeper deliveries ls --status exhausted\n"
    assert program.run("ls").stderr == (said + advice if said else "")
    assert program.run("ls", "-o", "json").stderr == ""


def test_more_webhooks_than_are_counted_are_told_as_more(program: Program) -> None:
    program.service.reply("GET /api/instances", {"instances": FLEET[:1], "total": 1})
    page = deliveries("2026-11-23T05:20:00Z") | {"nextCursor": "c"}
    program.service.reply("GET /api/deliveries", page)
    assert program.run("ls").stderr.startswith("More than 1 webhook was not delivered")


def test_a_log_that_cannot_be_read_does_not_fail_the_list(program: Program) -> None:
    program.service.reply("GET /api/instances", {"instances": FLEET[:1], "total": 1})
    program.service.reply("GET /api/deliveries", {"nothing": "of ours"})
    ended = program.run("ls")
    assert (ended.status, "trainer" in ended.stdout) == (0, True)
    assert ended.stderr.startswith("Whether webhooks were delivered is not known: ")


SENT = [
    DELIVERY
    | {
        "id": "dlv_01kdvdna0072tecmq49pkz57h6",
        "eventType": "instance.reclaim_notified",
        "instanceId": ID,
        "url": "https://hooks.example.com/gpu/with/a/long/path?and=query",
    }
]
GOLDEN_LOG = {
    40: """\
EVENT                      STATUS
instance.reclaim_notified  exhausted
""",
    60: """\
EVENT                      STATUS     AGE  TRIES
instance.reclaim_notified  exhausted   6m      1
""",
    80: """\
EVENT                      STATUS     AGE  ID                              TRIES
instance.reclaim_notified  exhausted   6m  dlv_01kdvdna0072tecmq49pkz57h6      1
""",
    120: """\
EVENT                      STATUS     AGE  ID                              URL                                     TRIES
instance.reclaim_notified  exhausted   6m  dlv_01kdvdna0072tecmq49pkz57h6  https://hooks.example.com/gpu/with/a/…      1
""",  # noqa: E501 - as wide as the table is
}


@pytest.mark.parametrize("width", GOLDEN_LOG)
def test_the_webhook_log_cuts_neither_event_nor_time(program: Program, width: int) -> None:
    program.service.reply("GET /api/deliveries", {"deliveries": SENT, "nextCursor": None})
    shown = run(program, width, "deliveries", "ls")
    assert shown == GOLDEN_LOG[width]
    assert max(map(count_cells, shown.splitlines())) <= width


@pytest.mark.parametrize("status", ["deleted", "lost"])
def test_what_is_gone_does_not_claim_to_run(program: Program, status: str) -> None:
    gone = INSTANCE | {"status": status, "deletedAt": "2026-11-23T05:20:10Z"}
    program.service.reply("GET /api/instances/ins_01k", gone)
    shown = program.run("show", "ins_01k").stdout
    assert "37d312386c80a3b9: not found since 2026-11-23 05:20:10Z\n" in shown
    waited = program.run("wait", "ins_01k", "--until", status)
    assert waited.stderr == f"   0 s  {status}\n"
    assert "running" not in waited.stdout.replace("ran from", "")


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("plain", 5),
        ("訓練", 4),
        ("\uff27\uff30\uff35", 6),
        ("é", 1),
        ("e\u0301", 1),
        ("🚀", 2),
        ("❤️", 2),
        ("👍🏽", 2),
        ("🇩🇪", 2),
        ("한글", 4),
        ("", 0),
    ],
)
def test_letters_are_as_wide_as_terminals_draw_them(text: str, cells: int) -> None:
    assert count_cells(text) == cells


@pytest.mark.parametrize("text", ["訓練機器", "a訓練機器", "e\u0301" * 4, "🚀🚀🚀"])
@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 5])
def test_nothing_is_cut_through_the_middle_of_a_letter(text: str, width: int) -> None:
    assert count_cells(cut(text, width)) <= width
    assert cut(text, 99) == text


def test_wide_letters_stay_within_the_terminal_and_under_their_columns() -> None:
    columns: tuple[Column[tuple[str, str]], ...] = (
        Column("NAME", itemgetter(0), narrowest=5),
        Column("STATUS", itemgetter(1)),
    )
    rows = [("訓練用の機械その一", "running"), ("plain", "failed, still billed")]
    shown = lay_out(columns, rows, width=32, has_colours=False).splitlines()
    assert max(map(count_cells, shown)) <= 32
    assert {
        count_cells(line[: line.index(word)])
        for line, word in zip(shown, ("STATUS", "running", "failed"), strict=True)
    } == {12}


def test_a_table_that_cannot_be_cut_any_more_stays_readable() -> None:
    columns = (Column("A", str), Column("B", str, narrowest=3))
    assert lay_out(columns, ["whole"], width=4, has_colours=False) == "A      B\nwhole  wh…"


def test_amounts_have_one_precision_and_ages_one_unit() -> None:
    assert [format_price(Decimal(each)) for each in ("0.1", "10.125", "4")] == [
        "0.100",
        "10.125",
        "4.000",
    ]
    assert format_price(None) is None
    assert [format_age(NOW, NOW - timedelta(seconds=each)) for each in (-5, 59, 3599, 90_000)] == [
        *("0s", "59s", "59m", "1d")
    ]
    assert format_time_left(timedelta(hours=2)) == "2 h"
    assert format_age(NOW, None) is None
