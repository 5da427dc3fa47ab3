"""Say in Novita's v1 API what the domain asks, and in the domain's words what Novita answers.

No I/O: a function ``*_request`` builds a question, the function named after it reads the answer.
Readers raise what :mod:`gpukeeper.novita.errors` makes of an error, and NovitaUnavailable (a
change: OutcomeUnknown) for a success that is unreadable; a bad answer is never "nothing there".
"""

from dataclasses import dataclass
from decimal import Decimal

from pydantic import SecretStr

from gpukeeper.domain.instances import Command
from gpukeeper.domain.machines import ConnectionDetails, Observation
from gpukeeper.domain.products import BillingMode, Cluster, Product, PurchaseRequest, Template
from gpukeeper.novita import mapping, models
from gpukeeper.novita.errors import error_from, is_error, unreadable_response
from gpukeeper.novita.messages import Request, Response

_GPU = "/gpu-instance/openapi/v1"
_BILLING = "/openapi/v1/billing"

# The largest page that Novita's own code asks for (§3.2).
PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list; ``unreadable`` counts rows without an id, ``total`` is Novita's."""

    machines: tuple[Observation, ...]
    unreadable: int
    total: int | None


@dataclass(frozen=True, slots=True)
class TemplatePage:
    """One page of the templates; ``is_last`` says that no other is needed."""

    templates: tuple[Template, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Credentials of an image registry, as Novita keeps them for the account."""

    id: str
    name: str
    username: str
    password: SecretStr


def create_request(purchase: PurchaseRequest) -> Request:
    """Ask to buy a machine; it starts by itself (Novita API notes §3.1)."""
    credentials = purchase.template.image_auth_id
    auth_field = "imageAuth" if ":" in credentials else "imageAuthId"
    logins = (credentials, *credentials.split(":", 1)) if ":" in credentials else ()
    body: dict[str, object] = {
        "name": purchase.name,
        "productId": purchase.offer.product_id,
        "gpuNum": purchase.offer.gpu_num,
        "rootfsSize": purchase.rootfs_size_gb,
        "imageUrl": purchase.template.image_url,
        auth_field: credentials,
        "ports": ",".join(str(port) for port in purchase.ports),
        "envs": [{"key": key, "value": value} for key, value in purchase.envs.items()],
        "tools": [
            {"name": tool.name, "port": tool.port, "type": tool.type}
            for tool in purchase.template.tools
        ],
        "command": purchase.command,
        "clusterId": purchase.offer.cluster_id,
        "billingMode": purchase.offer.billing_mode.value,
        "kind": "gpu",
        "minCudaVersion": purchase.template.min_cuda_version,
    }
    return Request(
        "POST",
        f"{_GPU}/gpu/instance/create",
        "create",
        body={field: value for field, value in body.items() if value},
        secrets=(*logins, *purchase.envs.values()),
    )


def created_id(request: Request, answer: Response) -> str:
    """Return the id of the machine that was bought; OutcomeUnknown when the answer has none."""
    created = models.Created.model_validate(_object(request, answer, "id"))
    if not created.id:
        raise unreadable_response(request, answer)
    return created.id


def verb_request(verb: Command, novita_id: str) -> Request:
    """Ask to change an existing machine (§3.4)."""
    path = f"{_GPU}/gpu/instance/{verb.value}"
    return Request("POST", path, verb.value, body={"instanceId": novita_id})


def check_change(request: Request, answer: Response) -> None:
    """Accept any success whose body is no error and names no other machine: bodies vary (§2).

    Raises OutcomeUnknown for a deletion that a gateway may have answered: with one answer more it
    would be taken for done.
    """
    data = answer.parsed()
    if not answer.is_success or is_error(data):
        raise error_from(request, answer)
    if request.route == Command.DELETE.value and _may_be_a_gateways(answer, data):
        raise unreadable_response(request, answer)
    said = models.Changed.model_validate(data if isinstance(data, dict) else {})
    if said.instance_id not in ("", (request.body or {}).get("instanceId")):
        raise unreadable_response(request, answer)


def _may_be_a_gateways(answer: Response, data: object) -> bool:
    """Whether a success says what Novita's does not say: a text, a page, or nothing but a message.

    Novita answers verbs with nothing or with JSON (§2): ``{}``, or the machine and its state.
    """
    if not answer.body.strip():
        return False
    if isinstance(data, dict):
        return "message" in data and not {"instanceId", "state"} & data.keys()
    return data is None


def machine_request(novita_id: str) -> Request:
    """Ask for one machine (§3.3)."""
    return Request("GET", f"{_GPU}/gpu/instance", "get", query={"instanceId": novita_id})


def observation(request: Request, answer: Response) -> Observation:
    """Return what Novita says of the one machine asked for."""
    return mapping.observation(_machine(request, answer), answer.asked_at, request.secrets)


def connection(request: Request, answer: Response) -> ConnectionDetails:
    """Return how to reach the one machine asked for, with its password."""
    return mapping.connection(_machine(request, answer))


def page_request(number: int, *, name: str | None) -> Request:
    """Ask for one page of the list; ``name`` is Novita's fuzzy filter (§3.2)."""
    query = {"pageSize": str(PAGE_SIZE), "pageNum": str(number)}
    if name:
        query["name"] = name
    return Request("GET", f"{_GPU}/gpu/instances", "list", query=query)


def page(request: Request, answer: Response) -> Page:
    """Return the machines of one page."""
    listed = models.MachinePage.model_validate(_with_list(request, answer, "instances", "total"))
    machines = tuple(
        mapping.observation(machine, answer.asked_at, request.secrets)
        for machine in listed.instances
        if machine.id
    )
    has_total = listed.total is not None and listed.total >= 0
    return Page(
        machines=machines,
        unreadable=len(listed.instances) - len(machines),
        total=listed.total if has_total else None,
    )


def products_request(*, cluster_id: str | None, billing_mode: BillingMode, gpu_num: int) -> Request:
    """Ask what is sold, in one cluster or (``None``) in all (§3.7)."""
    query = {"billingMethod": billing_mode.value, "gpuNum": str(gpu_num)}
    if cluster_id:
        query["clusterId"] = cluster_id
    return Request("GET", f"{_GPU}/products", "products", query=query)


def products(request: Request, answer: Response) -> tuple[Product, ...]:
    """Return the products that have an id, prices in USD per GPU and hour."""
    listed = models.Products.model_validate(_with_list(request, answer, "data"))
    return tuple(mapping.product(product) for product in listed.data if product.id)


def clusters_request() -> Request:
    """Ask for all regions (§3.8)."""
    return Request("GET", f"{_GPU}/clusters", "clusters")


def clusters(request: Request, answer: Response) -> tuple[Cluster, ...]:
    """Return the regions that have an id."""
    listed = models.Clusters.model_validate(_with_list(request, answer, "data"))
    return tuple(Cluster(id=cluster.id, name=cluster.name) for cluster in listed.data if cluster.id)


def template_request(template_id: str) -> Request:
    """Ask for one template (§3.11)."""
    return Request("GET", f"{_GPU}/template", "template", query={"templateId": template_id})


def template(request: Request, answer: Response) -> Template:
    """Return what the template that was asked for gives to a new machine."""
    given = _object(request, answer, "template")["template"]
    if not given or not isinstance(given, dict):
        raise unreadable_response(request, answer)
    read, asked_for = models.Template.model_validate(given), request.query["templateId"]
    if read.id not in ("", asked_for):
        raise unreadable_response(request, answer)
    return mapping.template(read, asked_for)


def templates_request(channel: str, number: int) -> Request:
    """Ask for one page of the templates of a channel; pages count from 1 (§3.11)."""
    query = {"channel": channel, "pageSize": str(PAGE_SIZE), "pageNum": str(number)}
    return Request("GET", f"{_GPU}/templates", "templates", query=query)


def templates(request: Request, answer: Response) -> TemplatePage:
    """Return the templates of one page that have an id."""
    listed = models.TemplatePage.model_validate(_with_list(request, answer, "template", "total"))
    return TemplatePage(
        templates=tuple(
            mapping.template(template, template.id) for template in listed.template if template.id
        ),
        is_last=len(listed.template) < PAGE_SIZE,
    )


def registry_auths_request() -> Request:
    """Ask for the account's registry credentials (§3.9)."""
    return Request("GET", f"{_GPU}/repository/auths", "registry_auths")


def registry_auths(request: Request, answer: Response) -> tuple[RegistryAuth, ...]:
    """Return the registry credentials that have an id."""
    listed = models.RegistryAuths.model_validate(_with_list(request, answer, "data"))
    return tuple(
        RegistryAuth(auth.id, auth.name, auth.username, auth.password)
        for auth in listed.data
        if auth.id
    )


def balance_request() -> Request:
    """Ask for the account's money (§3.14)."""
    return Request("GET", f"{_BILLING}/balance/detail", "balance")


def balance(request: Request, answer: Response) -> Decimal:
    """Return the available balance in USD; negative in arrears."""
    told = models.Balance.model_validate(_object(request, answer, "availableBalance"))
    if told.available_balance is None:
        raise unreadable_response(request, answer)
    return mapping.balance(told.available_balance)


def _object(request: Request, answer: Response, name: str, *others: str) -> dict[str, object]:
    """Return the answer's object: it holds ``name``, or at least one of the other fields."""
    data = answer.parsed()
    fields = data if isinstance(data, dict) else {}
    if not answer.is_success or (is_error(fields) and not fields.get(name)):
        raise error_from(request, answer)
    if not any(field in fields for field in (name, *others)):
        raise unreadable_response(request, answer)
    return fields


def _with_list(request: Request, answer: Response, name: str, *others: str) -> dict[str, object]:
    """Return the answer's object, whose field ``name`` is a list; null and absent mean empty."""
    fields = _object(request, answer, name, *others)
    if not isinstance(fields.get(name), list | None):
        raise unreadable_response(request, answer)
    return fields


def _machine(request: Request, answer: Response) -> models.Machine:
    """Return the machine that was asked for; what is said of another is no answer of Novita's."""
    machine = models.Machine.model_validate(_object(request, answer, "id"))
    if machine.id != request.query["instanceId"]:
        raise unreadable_response(request, answer)
    return machine
