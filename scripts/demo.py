"""Show the main job on this machine: a simulated Novita, a webhook listener, the service, an order.

``--once`` ends after the webhook has been verified, with status 0; anything that goes wrong on
the way ends with another status.  Without it the service stays up until Ctrl-C.
"""

import argparse
import base64
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

GPUKEEPER = [sys.executable, "-m", "gpukeeper"]
PRODUCT = "RTX 4090 24GB"
TEMPLATE = "tpl-basic"
# Generous for a slow machine: what is waited for here takes a second or two.
PATIENCE_SECONDS = 60
# Where the service is without a word of anybody's; the others take any port.
USUAL_PORT = 8080


class DemoFailed(Exception):
    """A step of the demo did not do what it should."""


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="end after the verified webhook")
    once = parser.parse_args().once
    # The commands of the demo print between our own lines.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ExitStack() as stack:
            run(stack, once=once)
    except DemoFailed as failure:
        print(f"\n✗ {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
    return 0


def run(stack: ExitStack, *, once: bool) -> None:
    """Start everything, order, and show what comes of it."""
    data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpukeeper-demo-")))
    env = foreign(os.environ) | {
        "NOVITA_API_KEY": "simulated",
        "GPUKEEPER_DATA_DIR": str(data_dir / "data"),
        "GPUKEEPER_POLL_INTERVAL": "1",
        "GPUKEEPER_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "GPUKEEPER_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }
    say("1. A Novita that needs no key and costs nothing, a webhook listener, and the service")
    simulator = Child(stack, "simulator", ["simulate", "--fast", "--port", "0"], env, data_dir)
    listening = ["webhooks", "listen", "--port", "0", "-o", "json"]
    listener = Child(stack, "listener", listening, env, data_dir)
    webhooks = read_lines(listener.process)
    env["NOVITA_BASE_URL"] = simulator.address(r"Novita, simulated, on (http://\S+)")
    env["GPUKEEPER_WEBHOOK_URL"] = listener.address(r"Listening on (http://[^;\s]+)") + "/"
    simulator.wait_until_up(env["NOVITA_BASE_URL"] + "/_sim")
    service, env["GPUKEEPER_URL"] = start_service(stack, env, data_dir)
    service.wait_until_up(env["GPUKEEPER_URL"] + "/health/ready")
    children = (simulator, listener, service)
    print(f"   {'simulator':10} {env['NOVITA_BASE_URL']}")
    print(f"   {'service':10} {env['GPUKEEPER_URL']}")
    print(f"   {'listener':10} {env['GPUKEEPER_WEBHOOK_URL']}")

    say(f"2. What is for sale as '{PRODUCT}'")
    command(["offers", "--product", PRODUCT], env, data_dir)

    say("3. One order; each status as it comes")
    command(
        ["up", "demo", "--product", PRODUCT, "--template", TEMPLATE, "--wait", "--timeout", "60"],
        env,
        data_dir,
    )

    say("4. The webhooks, their signatures verified by the listener")
    event = wait_for(webhooks, "instance.running", listener.process)
    told = event["data"]["instance"]
    print(f"   ✓ {event['type']} of '{told['name']}' ({told['id']})")

    say("5. The machine")
    shown = command(["show", told["id"], "-o", "json"], env, data_dir, is_read=True)
    instance: dict[str, Any] = json.loads(shown)
    for endpoint in instance["endpoints"]:
        print(f"   {endpoint['type']:5} {endpoint['port']:5}  {endpoint['url']}")
    print(f"   ssh          {instance['sshCommand'] or 'gpukeeper ssh ' + instance['id']}")
    print(f"   costs        ${instance['pricePerHour']} per hour until it is stopped or deleted")
    if once:
        say("Done.")
        return
    say(f"The dashboard is up: {env['GPUKEEPER_URL']}/. Ctrl-C ends everything.")
    print("   In a second terminal, in this folder:")
    print(f'   export PATH="{Path(sys.executable).parent}:$PATH"')
    for name in ("GPUKEEPER_URL", "GPUKEEPER_DATA_DIR", "GPUKEEPER_WEBHOOK_SECRET"):
        print(f"   export {name}={env[name]}")
    print("   gpukeeper ls")
    print("   gpukeeper rm demo --wait")
    while all(child.is_alive for child in children):
        show_webhook(webhooks)
    ended = next(child for child in children if not child.is_alive)
    raise DemoFailed(f"the {ended.name} has ended\n{ended.last_words()}")


class Child:
    """One of our own commands beside us, which ends with us.

    Its address is what it says of itself: whoever else may answer at an address is not asked.
    """

    def __init__(
        self,
        stack: ExitStack,
        name: str,
        arguments: list[str],
        env: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self.process = stack.enter_context(process(arguments, env, folder, self._log))

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def address(self, said: str) -> str:
        """Wait until it says where it listens (a pattern).  Raises DemoFailed if it ends first."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends_at:
            # In this order: the last words of one that has ended are all there.
            is_alive = self.is_alive
            if found := re.search(said, self._log.read_text()):
                return found[1]
            if not is_alive:
                break
            time.sleep(0.05)
        raise DemoFailed(f"the {self.name} did not come up\n{self.last_words()}")

    def wait_until_up(self, url: str) -> None:
        """Wait until its address answers well.  Raises DemoFailed with its last words."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends_at and self.is_alive:
            if is_answered(url):
                return
            time.sleep(0.05)
        raise DemoFailed(f"the {self.name} did not come up\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it has written."""
        return self._log.read_text()[-2000:]


def start_service(stack: ExitStack, env: dict[str, str], data_dir: Path) -> tuple[Child, str]:
    """Start the service and return it with its address: the usual port, or any if it is taken.

    Raises DemoFailed when it does not come up.
    """
    for port in (USUAL_PORT, 0):
        service = Child(stack, "service", ["serve"], env | {"GPUKEEPER_PORT": str(port)}, data_dir)
        try:
            return service, service.address(r"Uvicorn running on (http://[0-9.:]+)")
        except DemoFailed:
            if port == 0 or "[cannot_listen]" not in service.last_words():
                raise
            print(f"   port {USUAL_PORT} is another's: the service takes any other")
    raise AssertionError("the last port raises")


def foreign(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment is not about us: the demo has settings of its own only.

    A key, a database or a webhook URL that somebody exported for real work must not take part, nor
    a collector of traces, a proxy or certificates: everything of the demo is on this machine.
    """
    ours = ("GPUKEEPER_", "NOVITA_", "OTEL_", "SSL_CERT_")
    return {
        name: text
        for name, text in environ.items()
        if not name.startswith(ours) and not name.lower().endswith("_proxy")
    }


@contextmanager
def process(
    arguments: list[str], env: Mapping[str, str], folder: Path, log: Path
) -> Iterator[subprocess.Popen[str]]:
    """Run one of our own commands beside us, and end it with us."""
    # What the listener prints is read; the service's log would fill a pipe that nobody reads.
    is_read = arguments[:2] == ["webhooks", "listen"]
    with log.open("w") as output:
        child = subprocess.Popen(
            [*GPUKEEPER, *arguments],
            env=env,
            # Away from the checkout, whose `.env` is for real work.
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_read else output,
            stderr=output,
            text=True,
            # Ctrl-C is for us; the children are told in order.
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def command(
    arguments: list[str], env: Mapping[str, str], folder: Path, *, is_read: bool = False
) -> str:
    """Run a command as a user would in a folder; return what it prints if that is to be read.

    Raises DemoFailed when it fails.
    """
    print(f"   $ gpukeeper {' '.join(map(quoted, arguments))}", flush=True)
    with subprocess.Popen(
        [*GPUKEEPER, *arguments],
        env=env,
        cwd=folder,
        stdout=subprocess.PIPE if is_read else None,
        # On a terminal of its own the command would write each status over the one before.
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            print(line, end="", file=sys.stderr, flush=True)
        said = child.stdout.read() if child.stdout else ""
    if child.returncode != 0:
        raise DemoFailed(f"gpukeeper {arguments[0]} ended with {child.returncode}")
    return said


def read_lines(child: subprocess.Popen[str]) -> "queue.SimpleQueue[str]":
    """Return a queue that fills with what the process prints."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def wait_for(
    lines: "queue.SimpleQueue[str]", event_type: str, child: subprocess.Popen[str]
) -> dict[str, Any]:
    """Return the first verified event of this type.  Raises DemoFailed if none comes."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while (left := ends_at - time.monotonic()) > 0 and child.poll() is None:
        try:
            event: dict[str, Any] = json.loads(lines.get(timeout=min(left, 1)))
        except queue.Empty:
            continue
        print(f"   webhook {event['type']}")
        if event["type"] == event_type:
            return event
    raise DemoFailed(f"no {event_type} webhook arrived")


def show_webhook(lines: "queue.SimpleQueue[str]") -> None:
    """Show the next webhook, if one comes within a second."""
    try:
        event = json.loads(lines.get(timeout=1))
    except queue.Empty:
        return
    print(f"   webhook {event['type']} {event['data'].get('instance', {}).get('name', '')}")


def is_answered(url: str) -> bool:
    """Say whether an address of this machine answers well; no proxy knows of it."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def quoted(argument: str) -> str:
    """Return an argument as it is typed."""
    return f"'{argument}'" if " " in argument else argument


def say(text: str) -> None:
    """Print a headline."""
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(f"\n\033[1m{text}\033[0m" if is_coloured else f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
