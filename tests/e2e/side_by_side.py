"""Let replicas of an older version and of this one work on one PostgreSQL, and say what was seen.

``python -m tests.e2e.side_by_side SOURCE [PYTHON]`` takes the older program from a checkout (``git
worktree add SOURCE c378223``) and runs it with an interpreter that has what it needs.
"""

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2

from tests.e2e.novita import simulating
from tests.e2e.program import COMMAND, ROOT
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.serving import QUICK, Service
from tests.e2e.test_upgrading import everything_is_well
from tests.e2e.waiting import eventually
from tests.postgres import Databases, server_url

# So many orders each version is given at a time.
ORDERS = 10


def main(source: Path, python: str = sys.executable) -> None:
    """Start both, give orders to either, end each in turn, and check that nothing was doubled."""
    with ExitStack() as stack:
        novita = stack.enter_context(simulating())
        receiver = stack.enter_context(receiving())
        url = stack.enter_context(Databases(stack.enter_context(server_url())).new())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(name: str, code: Path, command: Sequence[str]) -> Service:
            settings = QUICK | {
                "NOVITA_BASE_URL": novita.url,
                "GPUKEEPER_DATABASE_URL": url,
                "GPUKEEPER_WEBHOOK_URL": receiver.url,
                "PYTHONPATH": str(code),
            }
            service = Service(folder / name, settings, command=command)
            stack.callback(service.close)
            service.start()
            return service

        old = start("old", source / "src", (python, "-m", "gpukeeper"))
        ordered = order(old, "before")
        new = start("new", ROOT / "src", COMMAND)
        ordered += order(old, "by-old") + order(new, "by-new")
        check_both(old, new, ordered)

        # What one has begun the other ends, whichever of them is stopped or killed.
        for ending, staying, how in ((old, new, "stop"), (new, old, "kill"), (old, new, "kill")):
            novita.fate("pull-forever", times=ORDERS)
            handed = order(ending, f"handed-over-{len(ordered)}")
            getattr(ending, how)()
            for instance_id in handed:
                novita.act(staying.instance(instance_id)["novitaId"], "set", status="running")
                staying.wait_for(instance_id, "running")
            ending.start()
            ordered += handed
        # A purchase whose response was lost with the one is looked up by the other.
        for ending, staying in ((old, new), (new, old)):
            name = f"killed-{len(ordered)}"
            novita.fault("slow", "create", when="after", seconds=5, times=1)
            with ThreadPoolExecutor() as pool:
                order_in_vain = pool.submit(ending.try_order, name=name)
                eventually(novita.have_struck, "the purchase")
                ending.kill()
                assert isinstance(order_in_vain.exception(), httpx2.TransportError)
            novita.recover()
            (found,) = staying.get("/api/instances", params={"name": name}).json()["instances"]
            staying.wait_for(found["id"], "running")
            ending.start()
            ordered.append(found["id"])
        check_both(old, new, ordered)

        # Either does what is asked of it to machines that the other one has bought.
        for asked, instance_id in zip((old, new) * ORDERS, ordered, strict=False):
            assert asked.post(f"/api/instances/{instance_id}/stop").is_success
        for instance_id in ordered[: 2 * ORDERS]:
            eventually(lambda: old.instance(instance_id)["status"] == "stopped", "the stop")  # noqa: B023
        # An order that is repeated at the other one is the same order.
        for number, (first, second) in enumerate(((old, new), (new, old))):
            key = {"idempotency-key": f"repeated-{number}"}
            bodies = [
                each.try_order(key, name=f"twice-{number}").json() for each in (first, second)
            ]
            assert bodies[0]["id"] == bodies[1]["id"]
            ordered.append(bodies[0]["id"])
        check_both(old, new, ordered)
        check_told_once(receiver, ordered)
        everything_is_well(url, novita, receiver, machines=len(ordered))
        print(f"{len(ordered)} orders, {len(receiver.hooks())} webhooks, none twice")


def order(service: Service, name: str) -> list[str]:
    """Order several machines."""
    return [service.order(name=f"{name}-{number}")["id"] for number in range(ORDERS)]


def check_both(old: Service, new: Service, ordered: Sequence[str]) -> None:
    """Wait until nothing is under way, and check that both show the same."""
    for instance_id in ordered:
        eventually(
            lambda: new.instance(instance_id)["status"] in ("running", "stopped"),  # noqa: B023
            "an end",
        )
        eventually(lambda: new.instance(instance_id) == old.instance(instance_id), "agreement")  # noqa: B023
        assert new.history(instance_id) == old.history(instance_id)
        assert new.history(instance_id).count("running") == 1


def check_told_once(receiver: Receiver, ordered: Sequence[str]) -> None:
    """Wait until every machine was announced, and check that no event was delivered twice."""
    for instance_id in ordered:
        receiver.wait_for(instance_id, "instance.running")
    ids = [hook.id for hook in receiver.hooks()]
    assert len(ids) == len(set(ids)), "a webhook was sent twice"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:3])
