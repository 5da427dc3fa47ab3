"""``gpukeeper up`` on a terminal asks for what is missing, and a script is never asked."""

import pytest

from tests.cli.program import Program, Terminal
from tests.client.fake_service import INSTANCE, OFFER, problem

DEARER = OFFER | {"region": "US-CA-06", "pricePerHour": "0.70", "maxRootfsSize": None}

# What an order of the first row's name would never buy there.
SECOND = OFFER | {"productId": "4090.16c96g.v2", "pricePerHour": "0.37"}

REGIONS = [
    {"name": "CN-HK-01", "clusterId": "cn-hongkong-1"},
    {"name": "US-CA-06", "clusterId": "us-ca-6"},
]
TEMPLATES = [
    {"id": "tpl-basic", "name": "Basic", "imageUrl": "docker.io/acme/worker:1.4"},
    {"id": "tpl-jupyter", "name": "Jupyter", "imageUrl": "docker.io/acme/jupyter:2"},
]
TEMPLATE_MENU = """\
   TEMPLATE  ID           IMAGE
1  Basic     tpl-basic    docker.io/acme/worker:1.4
2  Jupyter   tpl-jupyter  docker.io/acme/jupyter:2
"""

MENU = """\
   PRODUCT        REGION    USD/H  STOCK  MAX DISK
1  RTX 4090 24GB  CN-HK-01  0.350  high    1024 GB
2  RTX 4090 24GB  US-CA-06  0.700  high
"""


@pytest.fixture(autouse=True)
def _for_sale(program: Program) -> None:
    program.service.reply("GET /api/offers", {"offers": [OFFER, SECOND, DEARER]})
    program.service.reply("POST /api/instances", INSTANCE)
    program.service.reply("GET /api/instances/ins_01k", INSTANCE)
    program.service.reply("GET /api/regions", {"regions": REGIONS})
    program.service.reply("GET /api/templates", {"templates": TEMPLATES})


def test_up_without_arguments_asks_step_by_step_with_the_offers_in_view(program: Program) -> None:
    answers = "no/name\ntrainer\n7\n2\n9\n1\ny\n"
    ended = program.run("up", stdin=answers, on_terminal=True)
    assert ended.status == 0, ended.stderr
    asked, _, chosen = ended.stderr.partition(MENU)
    assert "A name has 1 to 48 letters, digits and '-', and nothing else.\n" in asked
    assert "Other regions: US-CA-06.\n" in chosen
    assert "'7' is none of the numbers 1 to 2, and no region.\n" in chosen
    assert TEMPLATE_MENU in chosen
    assert "'9' is none of the numbers 1 to 2.\n" in chosen
    # Who was asked is waited with, and told what comes next.
    assert "running (Novita: running)\nNext: 'gpukeeper ssh trainer'" in chosen
    assert "Order 'trainer': RTX 4090 24GB in US-CA-06 for $0.700 per hour at most? [y/N]" in chosen
    assert "ins_01k" in ended.stdout
    assert "Which" not in ended.stdout
    assert program.service.sent(-2) == {
        "name": "trainer",
        "productName": "RTX 4090 24GB",
        "templateId": "tpl-basic",
        "region": "US-CA-06",
        "maxPricePerHour": "0.70",
    }


def test_only_what_is_missing_is_asked_for(program: Program) -> None:
    options = ("--product", "X", "--no-wait")
    ended = program.run("up", "trainer", *options, stdin="tpl\ny\n", on_terminal=True)
    assert ended.status == 0
    assert program.service.asked == ["GET /api/templates", "POST /api/instances"]
    assert ended.stderr.endswith("Next: 'gpukeeper wait trainer' waits until it runs.\n")
    assert program.service.sent() == {"name": "trainer", "productName": "X", "templateId": "tpl"}


def test_offers_are_those_that_the_options_ask_for(program: Program) -> None:
    options = ("--gpus", "2", "--billing", "onDemand", "--region", "CN-HK-01")
    program.run("up", *options, stdin="a\n9\n1\nt\ny\n", on_terminal=True)
    query = "region=CN-HK-01&billingMode=onDemand&gpuNum=2"
    assert program.service.asked == [
        "GET /api/regions",
        f"GET /api/offers?{query}",
        "GET /api/templates",
        "POST /api/instances",
        "GET /api/instances/ins_01k",
    ]
    assert program.service.sent(-2)["region"] == "CN-HK-01"


def test_a_no_in_the_end_orders_nothing(program: Program) -> None:
    ended = program.run("up", stdin="trainer\n1\ntpl-basic\nn\n", on_terminal=True)
    assert ended.status == 1
    assert "POST /api/instances" not in program.service.asked


class Interrupted(Terminal):
    """A person who presses Ctrl-C."""

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # of text
        """Be interrupted."""
        raise KeyboardInterrupt


@pytest.mark.parametrize("arguments", [("up",), ("rm", "ins_01k")])
def test_ctrl_c_at_a_question_ends_as_everywhere(
    program: Program, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    program.service.reply("GET /api/instances/ins_01k", INSTANCE)
    monkeypatch.setattr("tests.cli.program.Terminal", Interrupted)
    ended = program.run(*arguments, on_terminal=True)
    assert ended.status == 130
    assert "Aborted" not in ended.stderr
    assert not any(each.startswith(("POST", "DELETE")) for each in program.service.asked)


def test_nothing_for_sale_ends_the_questions(program: Program) -> None:
    program.service.reply("GET /api/offers", {"offers": []})
    ended = program.run("up", "trainer", "--region", "CN-HK-01", on_terminal=True)
    assert ended.status == 1
    assert "Nothing is for sale there" in ended.stderr


def test_another_region_can_be_looked_at(program: Program) -> None:
    there = OFFER | {"region": "US-CA-06"}
    program.service.reply("GET /api/offers", {"offers": []}, {"offers": [there]})
    ended = program.run("up", "a", stdin="mars\nus-ca-06\n1\nt\ny\n", on_terminal=True)
    assert ended.status == 0, ended.stderr
    assert "'mars' is none of the numbers" in ended.stderr
    assert "GET /api/offers?region=US-CA-06" in program.service.asked
    assert program.service.sent(-2)["region"] == "US-CA-06"


def test_templates_that_cannot_be_listed_are_asked_for_by_their_id(program: Program) -> None:
    program.service.reply("GET /api/templates", problem(503, "novita_unavailable", "Away."))
    ended = program.run("up", "a", stdin="1\ntpl-basic\ny\n", on_terminal=True)
    assert ended.status == 0
    assert "The templates cannot be listed: Away.\n" in ended.stderr
    assert program.service.sent(-2)["templateId"] == "tpl-basic"


def test_a_long_list_of_templates_is_cut_and_an_id_is_taken_all_the_same(program: Program) -> None:
    many = [TEMPLATES[0] | {"id": f"tpl-{number}"} for number in range(20)]
    program.service.reply("GET /api/templates", {"templates": many})
    ended = program.run("up", "a", stdin="1\ntpl-19\ny\n", on_terminal=True)
    assert "… and 5 more: Novita's console shows all." in ended.stderr
    assert program.service.sent(-2)["templateId"] == "tpl-19"


def test_a_long_price_list_is_cut_after_the_cheapest(program: Program) -> None:
    offers = [OFFER | {"productName": f"GPU {number}"} for number in range(20)]
    program.service.reply("GET /api/offers", {"offers": offers})
    ended = program.run("up", stdin="a\n1\nt\nn\n", on_terminal=True)
    assert "… and 5 dearer ones" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ((), "NAME, --product, --template"),
        (("trainer", "--template", "t"), "--product"),
    ],
)
def test_a_script_is_told_what_is_missing(
    program: Program, arguments: tuple[str, ...], missing: str
) -> None:
    ended = program.run("up", *arguments)
    assert ended.status == 2
    assert f"Invalid value for {missing}: Needed, and not given." in ended.stderr
    assert program.service.requests == []
