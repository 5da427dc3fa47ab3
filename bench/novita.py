"""A Novita with a large fleet, whose list costs it next to nothing.

Run as a program of its own: `python -m bench.novita PORT MACHINES MILLISECONDS`.  The machines of
the fleet are listed first and stay as they are told to; everything else, such as what is bought
meanwhile, is the simulator's.  Every answer takes a fixed time.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gpukeeper.domain import ids
from gpukeeper.simulator.novita_api import machine_json
from gpukeeper.simulator.novita_api.list_query import ListQuery
from gpukeeper.simulator.novita_api.simulator_app import build_app
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import Settings

API = "/gpu-instance/openapi/v1/gpu/instance"
CONTROL = "/_bench"
DEPLOYMENT = "bnch"
PAGE_SIZE = 100
# Bought and not placed yet: the next word is a change of status.
FIRST_WORD = "creating"


def machine_id(number: int) -> str:
    """Return the id of a machine of the fleet."""
    return f"{number:016x}"


def machine_name(number: int) -> str:
    """Return its name, with our mark."""
    return ids.novita_name(f"machine-{number}", DEPLOYMENT, number.to_bytes(5))


def machine(number: int, word: str = FIRST_WORD) -> dict[str, object]:
    """Return a machine of the fleet as Novita lists it."""
    machine_of = machine_id(number)
    return {
        "id": machine_of,
        "name": machine_name(number),
        "clusterId": "cn-hongkong-1",
        "clusterName": "CN-HK-01 (Hong Kong)",
        "status": word,
        "statusError": {"state": "", "message": ""},
        "imageUrl": "docker.io/acme/worker:1.4",
        "imageAuthId": "",
        "command": "",
        "entrypoint": "",
        "cpuNum": "16",
        "memory": "62",
        "gpuNum": "1",
        "productId": "4090.16c62g",
        "productName": "RTX 4090 24GB",
        "rootfsSize": 60,
        "portMappings": [
            {
                "port": 8000,
                "endpoint": f"https://{machine_of}-8000.cn-hongkong-1.gpu-instance.novita.ai",
                "type": "http",
            }
        ],
        "volumeMounts": [],
        "envs": [{"key": "RUN_ID", "value": "7f3a"}],
        "kind": "gpu",
        "billingMode": "spot",
        "endTime": "-1",
        "spotStatus": "running",
        "spotReclaimTime": "0",
        "createdAt": "1785780950",
        "lastStartedAt": "1785780954",
        "lastStoppedAt": "0",
        "gpuIds": [3],
        "templateId": "",
        "sshPassword": "a-password-of-20-byt",
        "instancePrice": "17500",
    }


@dataclass(slots=True)
class Fleet:
    """The machines as they are sent; ``sold`` are those that the simulator has sold meanwhile.

    ``calls`` counts what was asked, by path.
    """

    rows: list[bytes]
    sold: list[bytes] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def change(self, first: int, count: int, word: str) -> None:
        """Let so many machines have this status word from now on."""
        for number in range(first, first + count):
            self.rows[number] = json.dumps(machine(number, word)).encode()

    def page(self, number: int, world: World) -> bytes:
        """Return a page of 100 rows; what was sold is listed as it was at the first page."""
        first = (max(number, 1) - 1) * PAGE_SIZE
        if first == 0:
            sights, _ = world.list_page(ListQuery(number=1, size=len(world.machines)))
            self.sold = [json.dumps(machine_json.row(world, sight)).encode() for sight in sights]
        total = len(self.rows) + len(self.sold)
        rows = self.rows[first : first + PAGE_SIZE]
        if len(rows) < PAGE_SIZE:
            begin = max(first - len(self.rows), 0)
            rows = rows + self.sold[begin : begin + PAGE_SIZE - len(rows)]
        return b'{"instances":[%b],"total":"%d"}' % (b",".join(rows), total)


@dataclass(frozen=True, slots=True)
class App:
    """The fleet in front of a simulator."""

    fleet: Fleet
    simulator: Starlette
    answer_seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, fleet = scope["path"], self.fleet
        query = {name: texts[0] for name, texts in parse_qs(scope["query_string"].decode()).items()}
        if path == f"{CONTROL}/calls":
            return await _answer(send, json.dumps(fleet.calls).encode())
        if path == f"{CONTROL}/change":
            fleet.change(int(query["first"]), int(query["count"]), query["word"])
            return await _answer(send, b"{}")
        fleet.calls[path] += 1
        await asyncio.sleep(self.answer_seconds)
        if path == f"{API}s" and "name" not in query:
            page = fleet.page(int(query["pageNum"]), self.simulator.state.world)
            return await _answer(send, page)
        number = _number(query.get("instanceId", ""))
        if path == API and number < len(fleet.rows):
            return await _answer(send, fleet.rows[number])
        await self.simulator(scope, receive, send)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("machines", type=int, help="of the fleet")
    parser.add_argument("milliseconds", type=float, help="that each answer takes")
    arguments = parser.parse_args()
    rows = [json.dumps(machine(number)).encode() for number in range(arguments.machines)]
    # Spot machines that are taken back would change the fleet.
    simulator = build_app(Settings(spot_lifetime_seconds=0))
    app = App(Fleet(rows), simulator, arguments.milliseconds / 1000)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", lifespan="off")


def _number(machine_of: str) -> int:
    """Return the number of a machine of the fleet; that of another one is larger than any."""
    try:
        return int(machine_of, 16)
    except ValueError:
        return sys.maxsize


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    main()
