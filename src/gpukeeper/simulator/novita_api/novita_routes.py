"""Novita's v1 routes: path, name and response of each (Novita API notes §3)."""

from starlette.routing import Route

from gpukeeper.simulator.machines import state_changes
from gpukeeper.simulator.market import sales
from gpukeeper.simulator.market.product_stock import Product
from gpukeeper.simulator.market.sample_catalogue import Credential
from gpukeeper.simulator.novita_api.gateway import Handler, NovitaCall, NovitaEndpoint
from gpukeeper.simulator.novita_api.known_refusals import Refusal, invalid
from gpukeeper.simulator.novita_api.list_query import read_number, read_query
from gpukeeper.simulator.novita_api.machine_json import details, page
from gpukeeper.simulator.novita_api.market_json import (
    balance_json,
    cluster_json,
    credential_json,
    product_json,
    template_json,
)
from gpukeeper.simulator.simulated_world import World

GPU = "/gpu-instance/openapi/v1"
BILLING = "/openapi/v1/billing"


def build_routes(world: World) -> list[Route]:
    """Return the v1 routes over ``world``."""
    return [
        Route(path, NovitaEndpoint(world, name, handler), methods=[method])
        for name, method, path, handler in _TABLE
    ]


def _create(world: World, call: NovitaCall) -> object:
    return {"id": sales.sell_machine(world, call.body, arrived_at=call.arrived_at).id}


def _list(world: World, call: NovitaCall) -> object:
    views, total = world.list_page(read_query(call.query, world.settings), shift=call.shift)
    return page(world, views, total)


def _get(world: World, call: NovitaCall) -> object:
    return details(world, world.get(call.query.get("instanceId", "")))


def _start(world: World, call: NovitaCall) -> object:
    machine = state_changes.start(world, _machine_id(call))
    return {"instanceId": machine.id, "state": "toStart"}


def _stop(world: World, call: NovitaCall) -> object:
    machine = state_changes.stop(world, _machine_id(call))
    return {"instanceId": machine.id, "state": "toStop"}


def _restart(world: World, call: NovitaCall) -> object:
    state_changes.restart(world, _machine_id(call))
    return {}


def _delete(world: World, call: NovitaCall) -> object:
    state_changes.delete(world, _machine_id(call))
    return {}


def _products(world: World, call: NovitaCall) -> object:
    """List what the filters leave, whether it can be had or not."""
    world.prices.begin_call()
    wanted = (product for product in world.products.values() if _is_wanted(product, call))
    return {"data": [_describe_product(world, product, call) for product in wanted]}


def _clusters(world: World, _: NovitaCall) -> object:
    def gpu_names(cluster_id: str) -> list[str]:
        return sorted({each.name for each in world.products.values() if cluster_id in each.stock})

    return {"data": [cluster_json(each, gpu_names(each.id)) for each in world.clusters.values()]}


def _template(world: World, call: NovitaCall) -> object:
    template = world.templates.get(call.query.get("templateId", ""))
    if template is None:
        raise Refusal(400, "TEMPLATE_NOT_FOUND", "template not found")
    return {"template": template_json(template)}


def _templates(world: World, call: NovitaCall) -> object:
    """List a page of templates, pages counted from 1; an empty one is ``null`` (§3.11)."""
    name, channel = call.query.get("name", "").casefold(), call.query.get("channel", "")
    found = [
        template_json(template)
        for template in world.templates.values()
        if name in template.name.casefold() and channel in ("", template.channel)
    ]
    size = read_number(call.query, "pageSize") or world.settings.page_size_default
    number = max(1, read_number(call.query, "pageNum"))
    rows = found[(number - 1) * size : number * size]
    return {"template": rows or None, "pageSize": size, "pageNum": number, "total": len(found)}


def _auths(world: World, _: NovitaCall) -> object:
    return {"data": [credential_json(item) for item in world.credentials.values()]}


def _save_auth(world: World, call: NovitaCall) -> None:
    """Keep a credential; the response has no id, as at Novita."""
    name, username, password = (
        str(call.body.get(field) or "") for field in ("name", "username", "password")
    )
    if not (name and username and password):
        raise invalid("name, username, password: required")
    credential = Credential(world.new_id(), name, username, password)
    world.credentials[credential.id] = credential


def _delete_auth(world: World, call: NovitaCall) -> object:
    if world.credentials.pop(str(call.body.get("id", "")), None) is None:
        raise Refusal(404, "RESOURCE_NOT_FOUND", "registry auth not found")
    return {}


def _balance(world: World, _: NovitaCall) -> object:
    return balance_json(world.balance())


def _machine_id(call: NovitaCall) -> str:
    """Return the machine id of a verb's body."""
    machine_id = call.body.get("instanceId")
    if not isinstance(machine_id, str) or not machine_id:
        raise invalid("instanceId: required")
    return machine_id


def _is_wanted(product: Product, call: NovitaCall) -> bool:
    query = call.query
    cluster_id = query.get("clusterId", "")
    return (
        query.get("productName", "").casefold() in product.name.casefold()
        and (query.get("billingMethod") or "onDemand") in product.billing_modes
        and (not cluster_id or cluster_id in product.stock)
        and bool(product.stock)
        and product.cpu >= read_number(query, "minCpuPerGpu")
        and product.memory_gb >= read_number(query, "minMemoryPerGpu")
        and product.max_rootfs_gb >= read_number(query, "minRootFSSize")
    )


def _describe_product(world: World, product: Product, call: NovitaCall) -> dict[str, object]:
    """Return a product for the cluster asked for, or for every cluster that sells it."""
    world.prices.record_shown(product, world.now(), world.settings)
    cluster_id = call.query.get("clusterId", "")
    return product_json(
        product,
        clusters=world.clusters,
        stocks=[
            world.stock(product, item, seconds_ago=world.settings.stock_lag_seconds)
            for item in ([cluster_id] if cluster_id else product.stock)
        ],
        gpu_num=read_number(call.query, "gpuNum") or 1,
        price=world.price(product, is_spot=False),
        spot_price=world.price(product, is_spot=True),
        settings=world.settings,
    )


_TABLE: tuple[tuple[str, str, str, Handler], ...] = (
    ("create", "POST", f"{GPU}/gpu/instance/create", _create),
    ("list", "GET", f"{GPU}/gpu/instances", _list),
    ("get", "GET", f"{GPU}/gpu/instance", _get),
    ("start", "POST", f"{GPU}/gpu/instance/start", _start),
    ("stop", "POST", f"{GPU}/gpu/instance/stop", _stop),
    ("restart", "POST", f"{GPU}/gpu/instance/restart", _restart),
    ("delete", "POST", f"{GPU}/gpu/instance/delete", _delete),
    ("products", "GET", f"{GPU}/products", _products),
    ("clusters", "GET", f"{GPU}/clusters", _clusters),
    ("template", "GET", f"{GPU}/template", _template),
    ("templates", "GET", f"{GPU}/templates", _templates),
    ("auths", "GET", f"{GPU}/repository/auths", _auths),
    ("auths", "POST", f"{GPU}/repository/auth/save", _save_auth),
    ("auths", "POST", f"{GPU}/repository/auth/delete", _delete_auth),
    ("balance", "GET", f"{BILLING}/balance/detail", _balance),
)
