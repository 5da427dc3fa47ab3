"""Make the store of an older version that ``tests/e2e/test_older_store.py`` starts under this one.

``python scripts/older_store.py SOURCE TARGET`` runs the program of a checkout, which is left as it
is: ``git worktree add SOURCE c378223``.  All secrets are generated for the test, and the test puts
its own addresses in the place of those below.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NOVITA = "http://127.0.0.1:47001"
RECEIVER = "http://127.0.0.1:47002"
SERVICE = "http://127.0.0.1:47003"
KEY = "key-of-the-old-store"
PATIENCE_SECONDS = 60

SETTINGS = f"""\
# The settings of an older version, as its operator has written them.
NOVITA_API_KEY=novita-key-of-the-old-store
NOVITA_BASE_URL={NOVITA}
GPUKEEPER_API_KEYS={KEY}
GPUKEEPER_PORT=47003
GPUKEEPER_WEBHOOK_URL={RECEIVER}/all
GPUKEEPER_WEBHOOK_ALLOW=127.0.0.1
GPUKEEPER_WEBHOOK_BACKOFF=4
GPUKEEPER_POLL_INTERVAL=0.1
GPUKEEPER_SWEEP_INTERVAL=0.2
GPUKEEPER_ADOPTION_WINDOW=1
GPUKEEPER_NOVITA_RATE=1000
GPUKEEPER_NOVITA_RETRIES=0
GPUKEEPER_LOG_FORMAT=json
"""
ORDER = {"productName": "RTX 4090 24GB", "templateId": "tpl-basic", "startupTimeout": 86400}
QUICK = {
    "phase_seconds": {
        phase: [0.02, 0.05]
        for phase in ("pending", "toCreate", "creating", "pulling", "starting", "toStart", "toStop")
    }
    | {"stopping": [0.02, 0.05], "toRemove": [0.02, 0.05], "removing": [0.02, 0.05]}
    | {"removed": [0.02, 0.05], "reclaiming": [0.02, 0.05]},
    "spot_lifetime_seconds": 0,
    "balance_usd": 10_000,
}
SECRETS = ("secret_key", "webhook_secret", "deployment")

# A proxy that is configured on this machine is not for loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Json = dict[str, Any]


def main() -> None:
    """Make the store and write it as text."""
    source, target = (Path(argument).resolve() for argument in sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, answering() as statuses:
        room = Path(folder)
        (room / ".env").write_text(SETTINGS)
        with program(source, room, "simulate", "--port", "47001", "--seed", "1207"):
            wait_for(lambda: call(f"{NOVITA}/_sim"))
            call(f"{NOVITA}/_sim/reset", "POST", QUICK)
            with program(source, room, "serve"):
                wait_for(lambda: call(f"{SERVICE}/health/ready"))
                fill(statuses)
                shown = what_is_shown()
            machines = call(f"{NOVITA}/_sim/machines")
            shown["machines"] = [call(f"{NOVITA}/_sim/machines/{each['id']}") for each in machines]
        run(source, room, "backup", str(room / "backup.db"))
        store, backup = dump(room / "data" / "gpukeeper.db"), dump(room / "backup.db")
        assert set(store) <= set(backup), "a backup holds all that the store does"
        write(target / "store.sql", "".join(store))
        write(target / "only-in-backup.sql", "".join(line for line in backup if line not in store))
        write(target / "settings.env", SETTINGS)
        write(target / "shown.json", lines_of(shown))
        for name in SECRETS:
            shutil.copyfile(room / "data" / name, target / name)


def fill(statuses: dict[str, int]) -> None:
    """Bring instances, deliveries and an orphan into every state that lasts."""
    runner = order(
        "runner",
        envs={"TOKEN": "secret-of-the-runner"},
        labels={"team": "vision"},
        ports=["8000/http"],
        webhookUrl=f"{RECEIVER}/own",
        maxPricePerHour="1",
    )
    until(runner, lambda shown: shown["sshCommand"] is not None)
    noticed, reclaimed = running("noticed"), running("reclaimed")
    act(noticed, "spot-notice", in_seconds=86400)
    until(noticed, lambda shown: shown["reclaimAt"] is not None)
    act(reclaimed, "reclaim", notice=True)
    until(reclaimed, lambda shown: shown["status"] == "reclaimed")
    lost, stopped, deleted = running("lost"), running("stopped"), running("deleted")
    act(lost, "vanish")
    until(lost, lambda shown: shown["status"] == "lost")
    command(stopped, "stop")
    until(stopped, lambda shown: shown["status"] == "stopped")
    command(deleted, "delete")
    until(deleted, lambda shown: shown["status"] == "deleted")

    # Deliveries that were given up, and an address that wants no more of them.
    statuses |= {"/all": 500, "/gone": 410}
    fate(kind="out-of-stock", times=99)
    order("refused", webhookUrl=f"{RECEIVER}/gone")
    call(f"{NOVITA}/_sim/next", "DELETE")
    wait_for(lambda: call_service("/api/deliveries?status=exhausted")["deliveries"])
    statuses["/all"] = 204
    wait_for(lambda: not call_service("/api/deliveries?status=pending")["deliveries"])

    # A machine under our mark that no row knows.
    machines = call(f"{NOVITA}/_sim/machines")
    name = next(each["name"] for each in machines if each["name"].startswith("runner"))
    stray = f"stray{name.removeprefix('runner')[:-1]}{'1' if name[-1] == '0' else '0'}"
    call(f"{NOVITA}/_sim/machines", "POST", {"name": stray, "status": "running"})
    wait_for(lambda: call_service("/api/orphans")["orphans"])

    # What is under way: a command each, a boot, and purchases with no answer.
    stopping, deleting = running("stopping"), running("deleting")
    call(f"{NOVITA}/_sim/settings", "PATCH", {"phase_seconds": {"stopping": [9999, 9999]}})
    command(stopping, "stop")
    act(deleting, "hang-delete")
    command(deleting, "delete")
    until(deleting, lambda shown: shown["status"] == "deleting")
    fate(kind="pull-forever")
    # From here on what happens is not delivered.
    statuses |= {"/all": 503, "/own": 503}
    until(order("booting"), lambda shown: shown["status"] == "starting")
    fault(route="list", kind="error")
    fault(route="get", kind="error")
    fault(route="create", kind="reset", when="after", times=1)
    in_vain("unanswered")
    fault(route="create", kind="error", status=503)
    in_vain("unsold")
    wait_for(lambda: len(call_service("/api/instances?status=requested")["instances"]) == 2)


def what_is_shown() -> Json:
    """Return what the service answers about all that it stores."""
    instances = {
        each["name"]: call_service(f"/api/instances/{each['id']}")
        for each in call_service("/api/instances?limit=1000")["instances"]
    }
    return {
        "instances": instances,
        "events": {
            name: [[event["id"], event["type"]] for event in events_of(shown["id"])]
            for name, shown in instances.items()
        },
        "deliveries": {
            each["id"]: each["status"]
            for each in call_service("/api/deliveries?limit=1000")["deliveries"]
        },
        "orphans": call_service("/api/orphans")["orphans"],
    }


def events_of(instance_id: str) -> list[Json]:
    """Return what happened to an instance."""
    found: list[Json] = call_service(f"/api/instances/{instance_id}/events")["events"]
    return found


def order(name: str, **fields: Any) -> str:
    """Order under a key of the same name, and return the instance's id."""
    body = ORDER | {"name": name} | fields
    found = call_service("/api/instances", "POST", body, {"idempotency-key": f"key-{name}"})
    return str(found.get("id") or found["instanceId"])


def in_vain(name: str) -> None:
    """Order what Novita does not answer for, and leave before the service does."""
    threading.Thread(
        target=lambda: order(name, envs={"TOKEN": f"secret-of-the-{name}"}), daemon=True
    ).start()


def running(name: str) -> str:
    """Order and return the instance's id once it runs."""
    found = order(name)
    until(found, lambda shown: shown["status"] == "running" and shown["sshCommand"])
    return found


def until(instance_id: str, is_there: Callable[[Json], Any]) -> None:
    """Wait until an instance is shown like this."""
    wait_for(lambda: is_there(call_service(f"/api/instances/{instance_id}")))


def command(instance_id: str, verb: str) -> None:
    """Ask for something to be done to an instance."""
    path = f"/api/instances/{instance_id}"
    if verb == "delete":
        call_service(path, "DELETE")
    else:
        call_service(f"{path}/{verb}", "POST")


def act(instance_id: str, action: str, **details: Any) -> None:
    """Do something to its machine as the platform does."""
    novita_id = call_service(f"/api/instances/{instance_id}")["novitaId"]
    call(f"{NOVITA}/_sim/machines/{novita_id}/{action}", "POST", details)


def fate(**fields: Any) -> None:
    """Decide what happens to the machines that are bought next."""
    call(f"{NOVITA}/_sim/next", "POST", fields)


def fault(**fields: Any) -> None:
    """Let requests to Novita go wrong."""
    call(f"{NOVITA}/_sim/faults", "POST", fields)


def call_service(path: str, method: str = "GET", *arguments: Any) -> Json:
    """Ask the service; a refusal's body is an answer as well."""
    found: Json = call(f"{SERVICE}{path}", method, *arguments)
    return found


def call(
    url: str, method: str = "GET", body: object = None, headers: dict[str, str] | None = None
) -> Any:
    """Send a request and return its answer's JSON."""
    request = urllib.request.Request(  # noqa: S310  # to our own ports
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            **(headers or {}),
        },
    )
    try:
        with OPENER.open(request, timeout=PATIENCE_SECONDS) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    return json.loads(content) if content else {}


def wait_for(is_there: Callable[[], Any]) -> None:
    """Ask again and again until the answer is yes."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        # Until a program listens, nobody answers.
        with suppress(OSError):
            if is_there():
                return
        time.sleep(0.1)
    raise TimeoutError("it does not come")


@contextmanager
def program(source: Path, room: Path, *arguments: str) -> Iterator[None]:
    """Run a command of the older program for as long as the block lasts."""
    process = subprocess.Popen(command_line(*arguments), env=environment(source), cwd=room)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


def run(source: Path, room: Path, *arguments: str) -> None:
    """Run a command of the older program to its end."""
    subprocess.run(command_line(*arguments), env=environment(source), cwd=room, check=True)


def command_line(*arguments: str) -> tuple[str, ...]:
    """Return what starts a command of the program."""
    return (sys.executable, "-m", "gpukeeper", *arguments)


def environment(source: Path) -> dict[str, str]:
    """Return an environment in which the older program is found before this one."""
    return os.environ | {"PYTHONPATH": str(source / "src"), "no_proxy": "*"}


@contextmanager
def answering() -> Iterator[dict[str, int]]:
    """Receive webhooks; the statuses of the answers, by path, may be changed meanwhile."""
    statuses: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(statuses.get(self.path, 204))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 47002), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield statuses
        server.shutdown()


def dump(database: Path) -> list[str]:
    """Return a SQLite database as the statements that make it."""
    with closing(sqlite3.connect(database)) as connection:
        return [f"{line}\n" for line in connection.iterdump()]


def lines_of(shown: Json) -> str:
    """Return JSON with a line for each thing that is shown."""
    parts = []
    for name, things in shown.items():
        if isinstance(things, dict):
            lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in things.items()]
            parts.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
        else:
            lines = [json.dumps(each) for each in things]
            parts.append(f'"{name}": [\n' + ",\n".join(lines) + "\n]")
    return "{" + ",\n".join(parts) + "}\n"


def write(path: Path, text: str) -> None:
    """Write a file of the store."""
    path.write_text(text, encoding="utf-8")
    print(f"written: {path} ({len(text)} characters)")


if __name__ == "__main__":
    main()
