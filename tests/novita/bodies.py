"""Bodies as Novita writes them: 64-bit numbers as texts, unset as "" or "0", secrets in clear."""

import json
from datetime import UTC, datetime
from typing import Any

from gpukeeper.novita.messages import Response

SSH_PASSWORD = "ssh-password-in-clear"
VARIABLE_VALUE = "hf_token_in_clear"
REGISTRY_PASSWORD = "registry-password-in-clear"


def machine(novita_id: str = "37d312386c80a3b9", **changes: Any) -> dict[str, Any]:
    """A running machine as ``get`` shows it."""
    return {
        "id": novita_id,
        "name": "trainer-gkabc",
        "clusterId": "us-ca-6",
        "clusterName": "US-CA-06 (California)",
        "status": "running",
        "statusError": {"state": "", "message": ""},
        "imageUrl": "docker.io/acme/worker:1.4",
        "imageAuthId": "",
        "command": "",
        "cpuNum": "16",
        "memory": "62",
        "gpuNum": "2",
        "productId": "4090.16c62g",
        "productName": "RTX 4090 24GB",
        "rootfsSize": 60,
        "portMappings": [
            {"port": 8080, "endpoint": f"https://{novita_id}-8080.example.net", "type": "http"},
            {"port": 22, "endpoint": "", "type": "tcp"},
        ],
        "volumeMounts": [],
        "envs": [{"key": "HF_TOKEN", "value": VARIABLE_VALUE}],
        "kind": "gpu",
        "billingMode": "spot",
        "endTime": "-1",
        "spotStatus": "running",
        "spotReclaimTime": "0",
        "createdAt": "1785780950",
        "lastStartedAt": "1785780954",
        "lastStoppedAt": "0",
        "instancePrice": "17500",
        "gpuIds": [3],
        "sshPassword": SSH_PASSWORD,
        "connectComponentSSH": {
            "sshCommand": "ssh -p 62132 root@proxy.example.net",
            "password": SSH_PASSWORD,
            "isRunning": True,
        },
        "node": [{"maxRootfsSize": 100}],
        "network": {"id": "", "ip": ""},
        "keepDataDay": 7,
        **changes,
    }


def rows(*ids: str, total: object = None) -> dict[str, Any]:
    """A page of the list that holds these machines."""
    return {
        "instances": [machine(novita_id) for novita_id in ids],
        "total": len(ids) if total is None else total,
    }


def product(**changes: Any) -> dict[str, Any]:
    """A product as one region sells it."""
    return {
        "id": "4090.16c62g",
        "name": "RTX 4090 24GB",
        "cpuPerGpu": 16,
        "memoryPerGpu": 62,
        "diskPerGpu": 60,
        "availableDeploy": True,
        "minRootFS": 10,
        "maxRootFS": 1024,
        "regions": ["US-CA-06 (California)"],
        "price": "35000",
        "spotPrice": "17500",
        "monthlyPrice": [{"price": "12345678", "month": 1}],
        "billingMethods": ["onDemand", "monthly", "spot"],
        "inventoryState": "normal",
        **changes,
    }


CLUSTERS = {
    "data": [
        {"id": "us-ca-6", "name": "US-CA-06 (California)", "availableGpuType": ["RTX 4090"]},
        {"id": "cn-hongkong-1", "name": "CN-HK-01", "supportNetworkStorage": True},
        {"id": "as-sgp-2", "name": "AS-SGP-02 (Singapore)"},
    ]
}


def template(**changes: Any) -> dict[str, Any]:
    """A template as its route answers it."""
    return {
        "template": {
            "Id": "tpl-basic",
            "user": "u1",
            "name": "Basic",
            "readme": "# hi",
            "type": "instance",
            "channel": "private",
            "image": "docker.io/acme/worker:1.4",
            "imageAuth": "auth-7",
            "startCommand": "serve --all",
            "rootfsSize": 60,
            "ports": [{"type": "http", "ports": [8000, "8188"]}, {"type": "tcp", "ports": [22]}],
            "volumes": [],
            "envs": [{"key": "HF_TOKEN", "value": VARIABLE_VALUE}],
            "tools": [{"name": "Jupyter", "describe": "", "port": 8888, "type": "http"}],
            "minCudaVersion": "12.4",
            "createdAt": "1785780950",
            **changes,
        }
    }


def error(code: int, reason: str = "", message: str = "") -> dict[str, Any]:
    """An error as Novita's own backend writes it."""
    return {"code": code, "reason": reason, "message": message, "metadata": {}}


ASKED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def answer(status: int, body: object = None, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body, or with the text or bytes given."""
    if isinstance(body, str):
        body = body.encode()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, headers or {}, content, ASKED_AT)
