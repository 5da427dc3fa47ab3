"""Questions are put as Novita wants them, and its answers read whatever shape they have."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from gpukeeper.domain.errors import NovitaError, NovitaRejected, NovitaUnavailable, OutcomeUnknown
from gpukeeper.domain.instances import Command
from gpukeeper.domain.machines import Phase
from gpukeeper.domain.products import BillingMode
from gpukeeper.novita import protocol
from gpukeeper.novita.messages import Request, Response
from tests.novita.bodies import CLUSTERS, answer, error, machine, product, rows, template
from tests.novita.scripted import PURCHASE

GPU = "/gpu-instance/openapi/v1"
Reader = Callable[[Request, Response], object]

CREATE = protocol.create_request(PURCHASE)
STOP = protocol.verb_request(Command.STOP, "m1")
DELETE = protocol.verb_request(Command.DELETE, "m1")
GET = protocol.machine_request("m1")
LIST = protocol.page_request(0, name=None)
PRODUCTS = protocol.products_request(cluster_id="us-ca-6", billing_mode=BillingMode.SPOT, gpu_num=2)
TEMPLATE = protocol.template_request("tpl-basic")
TEMPLATES = protocol.templates_request("private", 2)
READS: list[tuple[Request, Reader]] = [
    (GET, protocol.observation),
    (GET, protocol.connection),
    (LIST, protocol.page),
    (PRODUCTS, protocol.products),
    (protocol.clusters_request(), protocol.clusters),
    (TEMPLATE, protocol.template),
    (TEMPLATES, protocol.templates),
    (protocol.registry_auths_request(), protocol.registry_auths),
    (protocol.balance_request(), protocol.balance),
]


def test_a_purchase_says_everything_that_novita_needs() -> None:
    assert (CREATE.method, CREATE.path) == ("POST", f"{GPU}/gpu/instance/create")
    assert CREATE.body == {
        "name": "trainer-gkabc",
        "productId": "4090.16c62g",
        "gpuNum": 2,
        "rootfsSize": 60,
        "imageUrl": "docker.io/acme/worker:1.4",
        "imageAuthId": "auth-7",
        "ports": "8000/http,22/tcp",
        "envs": [{"key": "HF_TOKEN", "value": "hf_token_in_clear"}],
        "tools": [{"name": "Jupyter", "port": "8888", "type": "http"}],
        "command": "serve --all",
        "clusterId": "us-ca-6",
        "billingMode": "spot",
        "kind": "gpu",
        "minCudaVersion": "12.4",
    }


def test_a_purchase_leaves_out_what_is_empty() -> None:
    plain = replace(
        PURCHASE,
        template=replace(PURCHASE.template, image_auth_id="", tools=(), min_cuda_version=""),
        envs={},
        ports=(),
        command="",
    )
    assert set(protocol.create_request(plain).body or {}) == {
        "name",
        "productId",
        "gpuNum",
        "rootfsSize",
        "imageUrl",
        "clusterId",
        "billingMode",
        "kind",
    }


def test_registry_credentials_of_a_template_are_sent_as_such_and_an_id_as_an_id() -> None:
    by_password = replace(
        PURCHASE, template=replace(PURCHASE.template, image_auth_id="user:pass:word")
    )
    body = protocol.create_request(by_password).body or {}
    assert body["imageAuth"] == "user:pass:word"
    assert "imageAuthId" not in body


def test_no_repr_of_a_question_shows_a_secret() -> None:
    assert "hf_token_in_clear" not in repr(CREATE)


@pytest.mark.parametrize(
    ("request_", "method", "path", "query"),
    [
        (GET, "GET", f"{GPU}/gpu/instance", {"instanceId": "m1"}),
        (LIST, "GET", f"{GPU}/gpu/instances", {"pageSize": "100", "pageNum": "0"}),
        (
            protocol.page_request(3, name="gk"),
            "GET",
            f"{GPU}/gpu/instances",
            {"pageSize": "100", "pageNum": "3", "name": "gk"},
        ),
        (
            PRODUCTS,
            "GET",
            f"{GPU}/products",
            {"billingMethod": "spot", "gpuNum": "2", "clusterId": "us-ca-6"},
        ),
        (
            protocol.products_request(
                cluster_id=None, billing_mode=BillingMode.ON_DEMAND, gpu_num=1
            ),
            "GET",
            f"{GPU}/products",
            {"billingMethod": "onDemand", "gpuNum": "1"},
        ),
        (protocol.clusters_request(), "GET", f"{GPU}/clusters", {}),
        (TEMPLATE, "GET", f"{GPU}/template", {"templateId": "tpl-basic"}),
        (
            TEMPLATES,
            "GET",
            f"{GPU}/templates",
            {"channel": "private", "pageSize": "100", "pageNum": "2"},
        ),
        (protocol.registry_auths_request(), "GET", f"{GPU}/repository/auths", {}),
        (protocol.balance_request(), "GET", "/openapi/v1/billing/balance/detail", {}),
    ],
)
def test_a_read_is_a_get_with_its_query(
    request_: Request, method: str, path: str, query: dict[str, str]
) -> None:
    assert (request_.method, request_.path, request_.query) == (method, path, query)
    assert request_.body is None
    assert not request_.is_change


@pytest.mark.parametrize("verb", list(Command))
def test_a_verb_is_a_post_that_names_the_machine(verb: Command) -> None:
    request = protocol.verb_request(verb, "m1")
    assert request.path == f"{GPU}/gpu/instance/{verb.value}"
    assert request.body == {"instanceId": "m1"}
    assert request.is_change


def test_a_purchase_is_answered_with_an_id_and_nothing_else() -> None:
    assert protocol.created_id(CREATE, answer(200, {"id": "37d312386c80a3b9"})) == (
        "37d312386c80a3b9"
    )
    assert protocol.created_id(CREATE, answer(201, {"id": 26, "extra": [1]})) == "26"


@pytest.mark.parametrize(
    "body", [{}, {"id": ""}, {"id": None}, {"id": {}}, [], None, "", "ok", "<html>", '{"id": "3']
)
def test_a_successful_purchase_without_an_id_has_an_unknown_outcome(body: object) -> None:
    with pytest.raises(OutcomeUnknown):
        protocol.created_id(CREATE, answer(200, body))


@pytest.mark.parametrize(
    "body",
    [{}, None, "", "ok", "<html></html>", [], {"instanceId": "m1", "state": "toStop"}, {"code": 0}],
)
def test_a_verb_accepts_any_success(body: object) -> None:
    protocol.check_change(STOP, answer(200, body))


@pytest.mark.parametrize(
    "body", [{}, "", " ", [], {"instanceId": "m1"}, {"message": "", "state": "toRemove"}]
)
def test_a_deletion_is_accepted_by_what_novita_answers(body: object) -> None:
    protocol.check_change(DELETE, answer(200, body))


@pytest.mark.parametrize(
    "body", ["ok", "<html></html>", '{"instanceId": "m', {"message": "no Route matched"}]
)
def test_a_success_that_may_be_a_gateways_does_not_accept_a_deletion(body: object) -> None:
    with pytest.raises(OutcomeUnknown):
        protocol.check_change(DELETE, answer(200, body))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (error(400, "VALIDATOR_PARAM"), NovitaRejected),
        ({"error": "no"}, OutcomeUnknown),
        ({"code": "400", "message": "no"}, NovitaRejected),
    ],
)
def test_a_success_shaped_like_an_error_is_one(body: object, kind: type[NovitaError]) -> None:
    with pytest.raises(kind):
        protocol.check_change(STOP, answer(200, body))
    for request, read in READS:
        with pytest.raises(NovitaRejected):
            read(request, answer(200, body))


def test_an_empty_list_beside_an_error_is_an_error_and_not_nothing() -> None:
    body = {"instances": [], "total": "0", **error(500, "UNKNOWN", "database is away")}
    with pytest.raises(NovitaUnavailable, match="database is away"):
        protocol.page(LIST, answer(200, body))


def test_data_beside_what_looks_like_an_error_is_data() -> None:
    body = machine("m1", reason="a field that Novita may add")
    assert protocol.observation(GET, answer(200, body)).novita_id == "m1"


@pytest.mark.parametrize("read", [protocol.observation, protocol.connection])
def test_what_is_said_of_another_machine_is_no_answer_to_a_question_about_this_one(
    read: Reader,
) -> None:
    with pytest.raises(NovitaUnavailable):
        read(GET, answer(200, machine("m2")))


@pytest.mark.parametrize("verb", Command)
def test_a_verb_that_was_answered_for_another_machine_may_have_been_carried_out(
    verb: Command,
) -> None:
    request = protocol.verb_request(verb, "m1")
    protocol.check_change(request, answer(200, {"instanceId": "m1", "state": "toStop"}))
    with pytest.raises(OutcomeUnknown):
        protocol.check_change(request, answer(200, {"instanceId": "m2", "state": "toStop"}))


def test_another_template_is_not_the_one_that_was_asked_for() -> None:
    request = protocol.template_request("tpl-other")
    with pytest.raises(NovitaUnavailable):
        protocol.template(request, answer(200, template()))


@pytest.mark.parametrize("body", [{}, None, "", "ok", "<html>", [], [{}], '{"instances": [', 7])
@pytest.mark.parametrize(("request_", "read"), READS)
def test_a_successful_read_without_what_was_asked_for_is_a_bad_answer(
    request_: Request, read: Reader, body: object
) -> None:
    with pytest.raises(NovitaUnavailable):
        read(request_, answer(200, body))


@pytest.mark.parametrize(
    ("request_", "read", "body"),
    [
        (LIST, protocol.page, {"instances": {}, "total": 0}),
        (LIST, protocol.page, {"instances": "none", "total": 0}),
        (PRODUCTS, protocol.products, {"data": {"id": "4090"}}),
        (GET, protocol.observation, {"id": ""}),
        (GET, protocol.connection, {"id": []}),
        (TEMPLATE, protocol.template, {"template": None}),
        (TEMPLATE, protocol.template, {"template": []}),
        (TEMPLATE, protocol.template, {"template": {}}),
        (protocol.balance_request(), protocol.balance, {"availableBalance": ""}),
        (protocol.balance_request(), protocol.balance, {"availableBalance": None}),
    ],
)
def test_the_right_field_with_the_wrong_content_is_a_bad_answer(
    request_: Request, read: Reader, body: object
) -> None:
    with pytest.raises(NovitaUnavailable):
        read(request_, answer(200, body))


@pytest.mark.parametrize("total", [2, "2", 2.0, " 2 "])
def test_a_page_counts_its_rows_and_reads_the_total(total: object) -> None:
    page = protocol.page(LIST, answer(200, rows("a", "b", total=total)))
    assert [found.novita_id for found in page.machines] == ["a", "b"]
    assert (page.unreadable, page.total) == (0, 2)


@pytest.mark.parametrize("total", [None, "", "many", -1, True, [], 2**70])
def test_a_total_that_is_no_number_is_unknown(total: object) -> None:
    body = {"instances": [machine()], "total": total}
    assert protocol.page(LIST, answer(200, body)).total is None


@pytest.mark.parametrize("body", [{"instances": None, "total": "0"}, {"total": 0}])
def test_an_empty_list_may_be_null_or_absent(body: object) -> None:
    page = protocol.page(LIST, answer(200, body))
    assert (page.machines, page.unreadable, page.total) == ((), 0, 0)


def test_rows_without_an_id_are_counted_as_unreadable() -> None:
    body = {"instances": [machine("a"), {"name": "b"}, None, "c", {"id": ""}], "total": 5}
    page = protocol.page(LIST, answer(200, body))
    assert [found.novita_id for found in page.machines] == ["a"]
    assert page.unreadable == 4


def test_an_unknown_status_word_is_kept_and_stops_nothing() -> None:
    body = {"instances": [machine("a", status="defrosting"), machine("b")], "total": 2}
    page = protocol.page(LIST, answer(200, body))
    assert [(found.word, found.phase) for found in page.machines] == [
        ("defrosting", Phase.UNKNOWN),
        ("running", Phase.UP),
    ]


def test_products_and_clusters_without_an_id_are_left_out() -> None:
    body = {"data": [product(), product(id=""), None, product(id=26)]}
    found = protocol.products(PRODUCTS, answer(200, body))
    assert [item.id for item in found] == ["4090.16c62g", "26"]
    listed = {"data": [*CLUSTERS["data"], {"name": "nowhere"}]}
    clusters = protocol.clusters(protocol.clusters_request(), answer(200, listed))
    assert [cluster.region for cluster in clusters] == ["US-CA-06", "CN-HK-01", "AS-SGP-02"]


def test_a_template_without_an_id_keeps_the_one_it_was_asked_for_by() -> None:
    read = protocol.template(TEMPLATE, answer(200, template(Id="")))
    assert read.id == "tpl-basic"


def test_registry_passwords_are_wrapped_on_arrival() -> None:
    body = {"data": [{"id": 7, "name": "hub", "username": "u", "password": "in-clear"}, {}]}
    request = protocol.registry_auths_request()
    (auth,) = protocol.registry_auths(request, answer(200, body))
    assert (auth.id, auth.name, auth.username) == ("7", "hub", "u")
    assert auth.password.get_secret_value() == "in-clear"
    assert "in-clear" not in repr(auth)


@pytest.mark.parametrize(
    ("written", "usd"), [("123456", "12.3456"), (-500, "-0.05"), ("0", "0"), (10**9, "100000")]
)
def test_the_balance_is_in_ten_thousandths_of_a_dollar(written: object, usd: str) -> None:
    request = protocol.balance_request()
    assert protocol.balance(request, answer(200, {"availableBalance": written})) == Decimal(usd)


def test_templates_are_listed_and_one_without_an_id_is_left_out() -> None:
    one = template()["template"]
    listed = answer(200, {"template": [one, {**one, "Id": ""}], "total": 2})

    page = protocol.templates(TEMPLATES, listed)

    assert [(found.id, found.name) for found in page.templates] == [("tpl-basic", "Basic")]
    assert page.is_last


def test_a_full_page_of_templates_is_not_the_last_one_and_null_is_empty() -> None:
    one = template()["template"]

    assert not protocol.templates(TEMPLATES, answer(200, {"template": [one] * 100})).is_last
    empty = protocol.templates(TEMPLATES, answer(200, {"template": None, "total": 0}))
    assert (empty.templates, empty.is_last) == ((), True)
