"""A machine in Novita's JSON, with its types and its unset values (Novita API notes §2, §3.3)."""

import hashlib
from datetime import datetime, timedelta

from gpukeeper.simulator.machines.machine import Machine, Moment
from gpukeeper.simulator.market.create_request import Port
from gpukeeper.simulator.simulated_world import MachineView, World
from gpukeeper.simulator.simulator_settings import Settings

Json = dict[str, object]

_DOMAIN = "gpu-instance.novita.ai"
# Before it is placed a machine has no node, hence no endpoints (§3.3).
_UNPLACED = frozenset({"pending", "toCreate", "creating"})
_KEEP_DATA_DAYS = 7
# Room for the random high ports of the SSH and tcp proxy.
_FIRST_PROXY_PORT, _PROXY_PORTS = 20_000, 40_000


def row(world: World, sight: MachineView) -> Json:
    """Return a machine as the list shows it."""
    machine, moment, settings = sight.machine, sight.moment, world.settings
    order, now = machine.order, world.now()
    product = world.products.get(order.product_id)
    cluster = world.clusters.get(machine.cluster_id)
    is_forgotten = product is None or moment.status == "removed"
    return {
        "id": machine.id,
        "name": order.name,
        "clusterId": machine.cluster_id,
        "clusterName": cluster.name if cluster else "",
        "status": moment.status,
        "statusError": {"state": moment.error_state, "message": moment.error_message},
        "imageUrl": order.image,
        "imageAuthId": order.image_auth_id,
        "command": order.command,
        "entrypoint": order.entrypoint,
        "cpuNum": str(product.cpu * order.gpu_num if product else 0),
        "memory": str(product.memory_gb * order.gpu_num if product else 0),
        "gpuNum": str(order.gpu_num),
        "productId": order.product_id,
        "productName": "" if is_forgotten or product is None else product.name,
        "rootfsSize": order.rootfs_gb,
        "portMappings": _port_mappings(settings, machine, moment),
        "volumeMounts": [],
        "envs": [{"key": env.key, "value": env.value} for env in order.envs],
        "kind": order.kind,
        "billingMode": order.billing_mode,
        "endTime": _end_time(machine, settings),
        "spotStatus": moment.spot_status,
        "spotReclaimTime": _unix(moment.reclaim_at, settings),
        "createdAt": _unix(machine.created_at, settings),
        "lastStartedAt": _unix(machine.started_at(now), settings),
        "lastStoppedAt": _unix(machine.stopped_at(now), settings),
        "gpuIds": list(range(order.gpu_num)),
        "templateId": "",
        "sshPassword": _secret(settings, machine, moment),
        **(_extra_fields(world, machine) if settings.extra_fields else {}),
    }


def details(world: World, sight: MachineView) -> Json:
    """Return a machine as get shows it: the row and what belongs to one machine only."""
    machine, moment, settings = sight.machine, sight.moment, world.settings
    is_running = moment.status == "running"
    password = _secret(settings, machine, moment)
    host = f"proxy.{machine.cluster_id}.{_DOMAIN}"
    address = f"https://{machine.id}-{{}}.{machine.cluster_id}.{_DOMAIN}"
    shown = row(world, sight)
    if not settings.spot_in_get:
        del shown["spotStatus"], shown["spotReclaimTime"]
    return shown | {
        "network": {"id": "", "ip": ""},
        "node": [{"maxRootfsSize": 1024}],
        "jobs": [],
        "connectComponentSSH": {
            "sshCommand": f"ssh -p {_proxy_port(password, 'ssh')} root@{host}"
            if is_running
            else "",
            "password": password,
            "isRunning": is_running,
        },
        "connectComponentWebTerminal": {
            "address": address.format("web-terminal") if is_running else "",
            "username": "root",
            "password": password,
            "isRunning": is_running,
        },
        "connectComponentJupyter": {"port": "", "address": "", "isRunning": False},
        "connectComponentLog": {
            "systemLogAddress": address.format("system-log"),
            "instanceLogAddress": address.format("instance-log"),
            "isRunning": is_running,
        },
        "freeStorageSize": machine.order.rootfs_gb,
        "keepDataDay": _KEEP_DATA_DAYS,
    }


def page(world: World, sights: list[MachineView], total: int) -> Json:
    """Return a page of the list, with ``total`` and empty lists as the settings want them."""
    settings = world.settings
    answer: Json = {"instances": [row(world, sight) for sight in sights]}
    if not sights and settings.empty_lists == "null":
        answer["instances"] = None
    if not sights and settings.empty_lists == "absent":
        del answer["instances"]
    answer["total"] = total if settings.total_as == "number" else str(total)
    return answer


def _port_mappings(settings: Settings, machine: Machine, moment: Moment) -> list[Json]:
    if moment.status in _UNPLACED:
        return []
    order = machine.order
    tools = [Port(int(tool.port), tool.type) for tool in order.tools if tool.port.isdecimal()]
    password = _secret(settings, machine, moment)
    return [
        {
            "port": item.port,
            "endpoint": _endpoint(machine, item, password),
            "type": item.type,
        }
        for item in (*order.ports, *tools)
    ]


def _endpoint(machine: Machine, item: Port, password: str) -> str:
    if item.type == "http":
        return f"https://{machine.id}-{item.port}.{machine.cluster_id}.{_DOMAIN}"
    return f"proxy.{machine.cluster_id}.{_DOMAIN}:{_proxy_port(password, str(item.port))}"


def _secret(settings: Settings, machine: Machine, moment: Moment) -> str:
    """Return the SSH password, another one after every start (§3.3)."""
    seed = f"{settings.seed}/{machine.id}/{moment.start_no}"
    return hashlib.sha256(seed.encode()).hexdigest()[:20]


def _proxy_port(password: str, what: str) -> int:
    digest = hashlib.sha256(f"{password}/{what}".encode()).digest()
    return _FIRST_PROXY_PORT + int.from_bytes(digest[:4]) % _PROXY_PORTS


def _extra_fields(world: World, machine: Machine) -> Json:
    """Return fields that no documentation promises; clients have to ignore what they don't know."""
    return {
        "creator": "simulator",
        "uuid": machine.id * 2,
        "isApiInstance": True,
        "version": "v1",
        "instancePrice": str(machine.price),
        f"ext{world.rng.randrange(16**4):04x}": "ignore me",
    }


def _end_time(machine: Machine, settings: Settings) -> str:
    if not machine.order.months:
        return "-1"
    return _unix(machine.created_at + timedelta(days=30 * machine.order.months), settings)


def _unix(at: datetime | None, settings: Settings) -> str:
    """Return unix seconds as text, ``"0"`` for never."""
    if at is None:
        return "0"
    return str(int(at.timestamp() + settings.clock_skew_seconds))
