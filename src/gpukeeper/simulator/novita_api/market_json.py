"""Products, templates, credentials and money in Novita's JSON (Novita API notes §3)."""

from collections.abc import Mapping
from decimal import Decimal

from gpukeeper.simulator.billing import BALANCE_PER_USD
from gpukeeper.simulator.market.product_stock import (
    Cluster,
    Product,
    Stock,
    inventory_word,
    is_shown_available,
)
from gpukeeper.simulator.market.sample_catalogue import Credential, Template
from gpukeeper.simulator.simulator_settings import Settings

Json = dict[str, object]

# 2026-01-01 in unix seconds: nothing depends on a template's age.
_TEMPLATE_CREATED_AT = "1767225600"


def product_json(
    product: Product,
    *,
    clusters: Mapping[str, Cluster],
    stocks: list[Stock],
    gpu_num: int,
    price: int,
    spot_price: int,
    settings: Settings,
) -> Json:
    """Return a product for the clusters of ``stocks``; prices are text in 1e-5 USD (§3.7)."""
    best = max(stocks, key=lambda stock: float("inf") if stock.free is None else stock.free)
    available = [is_shown_available(product, item, gpu_num, settings=settings) for item in stocks]
    return {
        "id": product.id,
        "name": product.name,
        "cpuPerGpu": product.cpu,
        "memoryPerGpu": product.memory_gb,
        "diskPerGpu": product.disk_gb,
        "availableDeploy": any(available),
        "minRootFS": product.min_rootfs_gb,
        "maxRootFS": product.max_rootfs_gb,
        "minLocalStorage": 0,
        "maxLocalStorage": product.max_rootfs_gb,
        "regions": [clusters[item.cluster_id].name for item in stocks],
        "price": str(price),
        "spotPrice": str(spot_price),
        "monthlyPrice": [{"price": str(price * 24 * 30), "month": 1}],
        "billingMethods": list(product.billing_modes),
        "inventoryState": inventory_word(best),
    }


def cluster_json(cluster: Cluster, gpu_names: list[str]) -> Json:
    """Return a cluster and the names of the GPUs it has."""
    return {
        "id": cluster.id,
        "name": cluster.name,
        "availableGpuType": gpu_names,
        "supportNetworkStorage": True,
        "supportInstanceNetwork": True,
    }


def template_json(template: Template) -> Json:
    """Return a template; its key is `Id` and `imageAuth` is a credential's id (§3.11)."""
    return {
        "Id": template.id,
        "user": "simulator",
        "name": template.name,
        "readme": "",
        "logo": "",
        "type": "instance",
        "channel": template.channel,
        "image": template.image,
        "imageAuth": template.image_auth,
        "startCommand": template.start_command,
        "rootfsSize": template.rootfs_gb,
        "volumes": [],
        "ports": [{"type": item.type, "ports": list(item.ports)} for item in template.ports],
        "envs": [{"key": env.key, "value": env.value} for env in template.envs],
        "tools": [
            {"name": tool.name, "port": tool.port, "type": tool.type} for tool in template.tools
        ],
        "minCudaVersion": template.min_cuda,
        "createdAt": _TEMPLATE_CREATED_AT,
    }


def credential_json(credential: Credential) -> Json:
    """Return a registry credential with its password in clear, as Novita does (§3.9)."""
    return {
        "id": credential.id,
        "name": credential.name,
        "username": credential.username,
        "password": credential.password,
    }


def balance_json(usd: Decimal) -> Json:
    """Return the account's money as text in 1e-4 USD (§3.14)."""
    cash = str(int(usd * BALANCE_PER_USD))
    return {
        "availableBalance": cash,
        "cashBalance": cash,
        "creditLimit": "0",
        "outstandingInvoices": "0",
    }
