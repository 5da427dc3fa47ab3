"""Say in the domain's words what Novita's objects mean: phases, times, money and addresses."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from sys import intern

from gpukeeper.domain.machines import ConnectionDetails, Endpoint, Observation, Phase, SpotSignal
from gpukeeper.domain.products import Port, Product, Template, Tool
from gpukeeper.novita import models
from gpukeeper.novita.redact import redact

# Prices are whole 1/100000 USD per GPU and hour, the balance whole 1/10000 USD (§7, §3.14).
_PRICE_UNIT_USD = Decimal("0.00001")
_BALANCE_UNIT_USD = Decimal("0.0001")

# No GPU costs nearly as much in an hour: whatever is above it says nothing.
_PRICE_MAX_USD = 1000

# The largest disk that a purchase may ask for (§3.1); stands in where a product names no limit.
_DISK_MAX_GB = 6144

# TCP has 16-bit ports; 0 is no port.
_LAST_PORT = 65535

# The last second that a datetime can hold.
_LAST_SECOND = int(datetime.max.replace(tzinfo=UTC).timestamp())

_WORDS_BY_PHASE = {
    Phase.PREPARING: "pending toCreate creating created",
    Phase.STARTING: "pulling toStart starting toRestart restarting toReset resetting migrating",
    Phase.UP: "running",
    Phase.GOING_DOWN: "toStop stopping freezing toBeExited",
    Phase.DOWN: "exited",
    Phase.GOING: "toRemove removing toBeTerminated terminating terminated",
    Phase.GONE: "removed",
}
_PHASE_BY_WORD = {word: phase for phase, words in _WORDS_BY_PHASE.items() for word in words.split()}
_SIGNAL_BY_WORD = {signal.value: signal for signal in SpotSignal}


def map_phase(word: str) -> Phase:
    """Return what a status word of Novita's means; UNKNOWN for a word not seen before (§4)."""
    return _PHASE_BY_WORD.get(word, Phase.UNKNOWN)


def observation(machine: models.Machine, at: datetime, secrets: Sequence[str] = ()) -> Observation:
    """Return what Novita says of a machine, without its secrets and these others."""
    price = machine.instance_price * _PRICE_UNIT_USD
    trouble = (machine.status_error.state, machine.status_error.message)
    # What many machines have in common is held once: that halves what a large fleet takes.
    return Observation(
        novita_id=machine.id,
        name=machine.name,
        word=intern(machine.status),
        phase=map_phase(machine.status),
        at=at,
        error=redact(": ".join(filter(None, trouble)), [*_secrets(machine), *secrets])
        if any(trouble)
        else "",
        spot_signal=_SIGNAL_BY_WORD.get(machine.spot_status, SpotSignal.NONE),
        reclaim_at=_moment(machine.spot_reclaim_time),
        endpoints=_endpoints(machine),
        ssh_command=machine.ssh_access.ssh_command,
        cluster_id=intern(machine.cluster_id),
        cluster_name=intern(machine.cluster_name),
        product_id=intern(machine.product_id),
        product_name=intern(machine.product_name),
        image_url=intern(machine.image_url),
        gpu_num=machine.gpu_num,
        rootfs_size_gb=machine.rootfs_size,
        billing_mode=intern(machine.billing_mode),
        price_per_hour=price * machine.gpu_num or None if price <= _PRICE_MAX_USD else None,
        created_at=_moment(machine.created_at),
        started_at=_moment(machine.last_started_at),
    )


def connection(machine: models.Machine) -> ConnectionDetails:
    """Return how to reach a machine, with its password."""
    password = machine.ssh_access.password or machine.ssh_password
    return ConnectionDetails(
        endpoints=_endpoints(machine),
        ssh_command=machine.ssh_access.ssh_command,
        ssh_password=password.get_secret_value(),
    )


def product(listed: models.Product) -> Product:
    """Return a product with prices in USD per GPU and hour."""
    return Product(
        id=listed.id,
        name=listed.name,
        price=listed.price * _PRICE_UNIT_USD,
        spot_price=listed.spot_price * _PRICE_UNIT_USD,
        is_deployable=listed.available_deploy,
        stock=listed.inventory_state.lower(),
        min_disk_gb=listed.min_root_fs,
        max_disk_gb=listed.max_root_fs or _DISK_MAX_GB,
        regions=tuple(listed.regions),
        billing_modes=tuple(listed.billing_methods),
    )


def template(given: models.Template, template_id: str) -> Template:
    """Return what the template that was asked for gives to a new machine."""
    return Template(
        id=given.id or template_id,
        name=given.name,
        image_url=given.image,
        image_auth_id=given.image_auth.get_secret_value(),
        command=given.start_command,
        ports=tuple(
            Port(number, group.type)
            for group in given.ports
            for number in group.ports
            if _is_port(number)
        ),
        envs={env.key: env.value.get_secret_value() for env in given.envs if env.key},
        tools=tuple(Tool(tool.name, tool.port, tool.type) for tool in given.tools),
        min_cuda_version=given.min_cuda_version,
    )


def balance(amount: int) -> Decimal:
    """Return the account's money in USD."""
    return amount * _BALANCE_UNIT_USD


def _endpoints(machine: models.Machine) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(port=mapping.port, type=mapping.type, url=mapping.endpoint)
        for mapping in machine.port_mappings
        if mapping.endpoint and _is_port(mapping.port)
    )


def _is_port(number: int) -> bool:
    return 0 < number <= _LAST_PORT


def _secrets(machine: models.Machine) -> list[str]:
    """Return what Novita may echo of a machine: rows carry its variables in clear (§3.3)."""
    passwords = (machine.ssh_password, machine.ssh_access.password)
    hidden = (*passwords, *(variable.value for variable in machine.envs))
    return [secret.get_secret_value() for secret in hidden]


def _moment(second: int | None) -> datetime | None:
    """Return a Unix time; Novita writes 0 or -1 for "never" (§3.3)."""
    if second is None or not 0 < second <= _LAST_SECOND:
        return None
    return datetime.fromtimestamp(second, UTC)
