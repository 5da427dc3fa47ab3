"""The world as it is at the beginning: clusters, products, templates and credentials.

Ids, names and prices look like Novita's; all else is made up, traps included.
"""

from dataclasses import dataclass, field

from gpukeeper.simulator.market.create_request import Env, Tool
from gpukeeper.simulator.market.product_stock import Cluster, Product

HONG_KONG = "cn-hongkong-1"
CALIFORNIA = "us-ca-6"
SINGAPORE = "as-sgp-2"
GERMANY = "eu-de-1"


@dataclass(frozen=True, slots=True)
class TemplatePorts:
    """The ports of one protocol that a template exposes."""

    type: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template of the console; ``image_auth`` is the id of a credential."""

    id: str
    name: str
    image: str
    image_auth: str = ""
    start_command: str = ""
    rootfs_gb: int = 60
    channel: str = "private"
    ports: tuple[TemplatePorts, ...] = ()
    envs: tuple[Env, ...] = ()
    tools: tuple[Tool, ...] = ()
    min_cuda: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """A registry credential; Novita shows its password in clear (Novita API notes §3.9)."""

    id: str
    name: str
    username: str
    password: str = field(repr=False)


CLUSTERS = (
    Cluster(HONG_KONG, "CN-HK-01 (Hong Kong)"),
    Cluster(CALIFORNIA, "US-CA-06 (California)"),
    Cluster(SINGAPORE, "AS-SGP-02 (Singapore)"),
    Cluster(GERMANY, "EU-DE-01 (Germany)"),
)

PRODUCTS = (
    Product(
        id="4090.16c62g",
        name="RTX 4090 24GB",
        price=35000,
        spot_price=17500,
        stock={HONG_KONG: None, CALIFORNIA: None, SINGAPORE: 8},
    ),
    Product(
        id="4090.16c96g.v2",
        name="RTX 4090 24GB",
        price=37000,
        spot_price=18500,
        memory_gb=96,
        stock={HONG_KONG: None, SINGAPORE: None, GERMANY: 4},
    ),
    # Cheapest of its name, yet never to be had: sold out, closed for sale, no spot, small disk.
    Product(
        id="4090.8c31g", name="RTX 4090 24GB", price=30000, spot_price=15000, stock={HONG_KONG: 0}
    ),
    Product(
        id="4090.16c62g.os",
        name="RTX 4090 24GB",
        price=28000,
        spot_price=14000,
        can_deploy=False,
        stock={HONG_KONG: None, CALIFORNIA: None},
    ),
    Product(id="4090.16c48g", name="RTX 4090 24GB", price=33000, stock={HONG_KONG: None}),
    Product(
        id="4090.12c46g",
        name="RTX 4090 24GB",
        price=32000,
        spot_price=16000,
        max_rootfs_gb=30,
        stock={HONG_KONG: None, CALIFORNIA: None},
    ),
    # A fuzzy search for `RTX 4090` finds this cheaper card as well.
    Product(
        id="4090D.16c62g",
        name="RTX 4090D 24GB",
        price=26000,
        spot_price=13000,
        stock={HONG_KONG: None, CALIFORNIA: None},
    ),
    Product(
        id="3090.16c92g",
        name="RTX 3090 24GB",
        price=21000,
        spot_price=10500,
        memory_gb=92,
        stock={HONG_KONG: None, CALIFORNIA: 2, GERMANY: None},
    ),
    Product(
        id="A100-80GB.14c240g",
        name="A100 80GB",
        price=160000,
        spot_price=80000,
        cpu=14,
        memory_gb=240,
        max_rootfs_gb=2048,
        stock={CALIFORNIA: 8, GERMANY: 8},
    ),
    Product(
        id="H100-SXM.20c240g",
        name="H100 SXM 80GB",
        price=256000,
        spot_price=128000,
        cpu=20,
        memory_gb=240,
        max_rootfs_gb=4096,
        stock={CALIFORNIA: 16, SINGAPORE: 0},
    ),
    Product(
        id="26",
        name="L40S 48GB",
        price=55000,
        billing_modes=("onDemand", "monthly"),
        stock={GERMANY: None},
    ),
)

CREDENTIALS = (
    Credential("auth-registry", "team registry", "robot", "registry-password-in-clear"),
    Credential("auth-unused", "old registry", "nobody", "another-password-in-clear"),
)

TEMPLATES = (
    Template(
        id="tpl-basic",
        name="basic",
        image="pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime",
        start_command="python -m http.server 8000",
        ports=(TemplatePorts("http", (8000,)), TemplatePorts("tcp", (22,))),
        envs=(Env("MODE", "serve"), Env("WORKERS", "2")),
        min_cuda="12.4",
    ),
    Template(
        id="tpl-private",
        name="private image",
        image="registry.example.com/team/trainer:1.4",
        image_auth="auth-registry",
        rootfs_gb=100,
        ports=(TemplatePorts("http", (8080,)),),
        envs=(Env("API_TOKEN", "template-secret-value"),),
    ),
    Template(id="tpl-broken", name="image that does not exist", image="acme/does-not-exist:1.0"),
    Template(
        id="tpl-tools",
        name="notebook",
        image="jupyter/scipy-notebook:2026-01",
        channel="official",
        ports=(TemplatePorts("http", (7860,)),),
        tools=(Tool("Jupyter", "8888", "http"),),
    ),
)
