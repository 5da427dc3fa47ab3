"""A thin hand on the simulator in process: Novita's routes and the admin API as methods."""

from typing import Any

import httpx2

from gpukeeper.simulator.novita_api.simulator_app import build_app
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import SecondsRange, Settings

GPU = "/gpu-instance/openapi/v1"
START = "2026-08-01T00:00:00+00:00"
# Every phase lasts a known time: a new machine is `pulling` after 4 s and `running` after 15 s.
PHASES: dict[str, SecondsRange] = {
    "pending": (1, 1),
    "toCreate": (1, 1),
    "creating": (2, 2),
    "pulling": (10, 10),
    "starting": (1, 1),
    "toStart": (1, 1),
    "toStop": (1, 1),
    "stopping": (2, 2),
    "toRestart": (1, 1),
    "restarting": (2, 2),
    "toRemove": (1, 1),
    "removing": (2, 2),
    "removed": (10, 10),
    "reclaiming": (5, 5),
    "freezing": (60, 60),
}
ORDER: dict[str, Any] = {
    "name": "trainer",
    "productId": "4090.16c62g",
    "gpuNum": 1,
    "rootfsSize": 60,
    "imageUrl": "pytorch/pytorch:latest",
    "kind": "gpu",
    "clusterId": "cn-hongkong-1",
    "ports": "8000/http,22/tcp",
    "billingMode": "spot",
}


class Novita:
    """One simulator with a clock that stands until it is moved."""

    def __init__(self, **settings: Any) -> None:
        known = {"clock": "manual", "clock_start": START, "phase_seconds": PHASES, **settings}
        app = build_app(Settings(**known))
        self.world: World = app.state.world
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://novita.test",
            headers={"authorization": "Bearer any-key"},
        )

    async def post(self, path: str, **body: Any) -> httpx2.Response:
        """Call a Novita route with a body."""
        return await self.http.post(GPU + path, json=body)

    async def fetch(self, path: str, **query: Any) -> httpx2.Response:
        """Call a Novita route with a query."""
        return await self.http.get(GPU + path, params=query)

    async def create(self, **changes: Any) -> str:
        """Buy a machine; return its id."""
        answer = await self.post("/gpu/instance/create", **{**ORDER, **changes})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def refusal(self, **changes: Any) -> tuple[int, str]:
        """Try to buy a machine; return the HTTP status and the reason of the refusal."""
        answer = await self.post("/gpu/instance/create", **{**ORDER, **changes})
        return answer.status_code, answer.json()["reason"]

    async def get(self, machine_id: str) -> dict[str, Any]:
        """Get one machine."""
        answer = await self.fetch("/gpu/instance", instanceId=machine_id)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def status(self, machine_id: str) -> str:
        """Return its status, or the HTTP status of the refusal."""
        answer = await self.fetch("/gpu/instance", instanceId=machine_id)
        return str(answer.json()["status"] if answer.is_success else answer.status_code)

    async def rows(self, **query: Any) -> list[dict[str, Any]]:
        """List machines."""
        answer = await self.fetch("/gpu/instances", **query)
        rows: list[dict[str, Any]] = answer.json()["instances"]
        return rows

    async def verb(self, verb: str, machine_id: str) -> httpx2.Response:
        """Start, stop, restart or delete a machine."""
        return await self.post(f"/gpu/instance/{verb}", instanceId=machine_id)

    async def sim(self, method: str, path: str = "", body: Any = None) -> Any:
        """Call the admin API; return its JSON."""
        answer = await self.http.request(method, f"/_sim{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def act(self, machine_id: str, action: str, **details: Any) -> None:
        """Let others do something to a machine."""
        await self.sim("POST", f"/machines/{machine_id}/{action}", details)

    async def advance(self, seconds: float) -> None:
        """Move the clock."""
        await self.sim("POST", "/clock", {"advance_seconds": seconds})

    async def running(self, **changes: Any) -> str:
        """Buy a machine and wait, in simulated time, until it runs."""
        machine_id = await self.create(**changes)
        await self.advance(15)
        assert await self.status(machine_id) == "running"
        return machine_id

    async def bill(self, machine_id: str) -> dict[str, Any]:
        """Return the ledger's line of one machine."""
        ledger = await self.sim("GET", "/ledger")
        line: dict[str, Any] = next(item for item in ledger["machines"] if item["id"] == machine_id)
        return line
