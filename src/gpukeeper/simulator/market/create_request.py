"""The body of a create call, read with Novita's documented limits (Novita API notes §3.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpukeeper.simulator.novita_api.known_refusals import Refusal, invalid

# The documented limits of the create call.
MAX_GPUS = 8
MIN_ROOTFS_GB, MAX_ROOTFS_GB = 10, 6144
MAX_PORTS = 15
RESERVED_PORTS = frozenset({2222, 2223, 2224})
MAX_ENVS, MAX_ENV_KEY, MAX_ENV_VALUE = 100, 511, 4095
BILLING_MODES = ("onDemand", "monthly", "spot")

_PORT = re.compile(r"(\d{1,5})/(tcp|http)")


@dataclass(frozen=True, slots=True)
class Port:
    """One exposed port; ``type`` is ``http`` or ``tcp``."""

    port: int
    type: str


@dataclass(frozen=True, slots=True)
class Env:
    """One environment variable of the container."""

    key: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of Novita's that the image offers; ``port`` is text on the wire."""

    name: str
    port: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One machine as it was ordered."""

    name: str = ""
    product_id: str
    cluster_id: str = ""
    gpu_num: int = 1
    rootfs_gb: int = 60
    image: str = ""
    image_auth: str = field(default="", repr=False)
    image_auth_id: str = ""
    ports: tuple[Port, ...] = ()
    tools: tuple[Tool, ...] = ()
    envs: tuple[Env, ...] = ()
    command: str = ""
    entrypoint: str = ""
    billing_mode: str = "onDemand"
    months: int = 0
    kind: str = "gpu"
    min_cuda: str = ""


def read_order(body: Mapping[str, Any]) -> Order:
    """Read the body of a create call; unknown fields are ignored, as Novita does.

    Raise :class:`Refusal` ``VALIDATOR_PARAM`` for the first value outside the limits.
    """
    if body.get("networkStorages"):
        raise Refusal(400, "NETWORK_STORAGE_NOT_FOUND", "network storage not found")
    if body.get("networkId"):
        raise Refusal(400, "NETWORK_NOT_FOUND", "network not found")
    months = _whole(body, "month", 0, 0, 1200)
    ports, tools = _ports(_text(body, "ports", 4095)), _tools(body)
    if len(ports) + len(tools) > MAX_PORTS:
        raise invalid(f"ports: at most {MAX_PORTS} ports and tools")
    return Order(
        name=_text(body, "name", 255),
        product_id=_text(body, "productId", 255, least=1),
        cluster_id=_text(body, "clusterId", 255),
        gpu_num=_whole(body, "gpuNum", None, 1, MAX_GPUS),
        rootfs_gb=max(MIN_ROOTFS_GB, _whole(body, "rootfsSize", None, 0, MAX_ROOTFS_GB)),
        image=_text(body, "imageUrl", 500, least=1),
        image_auth=_text(body, "imageAuth", 10239),
        image_auth_id=_text(body, "imageAuthId", 255),
        ports=ports,
        tools=tools,
        envs=_envs(body),
        command=_text(body, "command", 2047),
        entrypoint=_text(body, "entrypoint", 2047),
        billing_mode="monthly" if months else _one_of(body, "billingMode", BILLING_MODES),
        months=months,
        kind=_one_of(body, "kind", ("gpu", "cpu")),
        min_cuda=_text(body, "minCudaVersion", 16),
    )


def _text(body: Mapping[str, Any], name: str, most: int, *, least: int = 0) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise invalid(f"{name}: {least} to {most} characters")
    return value


def _whole(body: Mapping[str, Any], name: str, default: int | None, least: int, most: int) -> int:
    value = body.get(name, default)
    # A protobuf-JSON backend reads 64-bit integers from strings too.
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid(f"{name}: a whole number from {least} to {most}")
    return value


def _one_of(body: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    """Return the word given, or the first of ``words`` when none is given."""
    value = body.get(name) or words[0]
    if value not in words:
        raise invalid(f"{name}: one of {', '.join(words)}")
    return str(value)


def _ports(text: str) -> tuple[Port, ...]:
    ports: list[Port] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _PORT.fullmatch(part)
        number = int(match[1]) if match else 0
        if match is None or not 1 <= number <= 65535 or number in RESERVED_PORTS:
            raise invalid(f"ports: {part!r} is not a port that can be exposed")
        if any(number == port.port for port in ports):
            raise invalid(f"ports: {number} is given twice")
        ports.append(Port(number, match[2]))
    return tuple(ports)


def _tools(body: Mapping[str, Any]) -> tuple[Tool, ...]:
    return tuple(
        Tool(_text(item, "name", 255), _text(item, "port", 5), _text(item, "type", 16))
        for item in _objects(body, "tools", MAX_PORTS)
    )


def _envs(body: Mapping[str, Any]) -> tuple[Env, ...]:
    return tuple(
        Env(_text(item, "key", MAX_ENV_KEY), _text(item, "value", MAX_ENV_VALUE))
        for item in _objects(body, "envs", MAX_ENVS)
    )


def _objects(body: Mapping[str, Any], name: str, most: int) -> list[Mapping[str, Any]]:
    items = body.get(name) or []
    is_list = isinstance(items, list) and len(items) <= most
    if not is_list or not all(isinstance(item, Mapping) for item in items):
        raise invalid(f"{name}: a list of at most {most} objects")
    return list(items)
