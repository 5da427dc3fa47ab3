"""Take webhooks on some ports, each answer after a while; the last port hangs, if asked to.

Run as a program of its own: `python -m bench.receivers PORTS [--hangs]`.  It prints a line for each
webhook: when it came, when its event happened (both seconds since 1970), and the event's type.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ANSWER_SECONDS = 0.02
HANG_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook that came: its event's type, when it came, and when it happened (Unix time)."""

    event_type: str
    arrived_at: float
    happened_at: float


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ports", help="separated by commas")
    parser.add_argument("--hangs", action="store_true", help="let the last one hang")
    arguments = parser.parse_args()
    asyncio.run(receive([int(port) for port in arguments.ports.split(",")], arguments.hangs))


async def receive(ports: list[int], hangs: bool) -> None:
    """Answer every webhook on these ports."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        seconds = HANG_SECONDS if hangs and port == ports[-1] else ANSWER_SECONDS
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                tell(time.time(), body)
                await asyncio.sleep(seconds)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    for port in ports:
        await asyncio.start_server(converse, "127.0.0.1", port)
    await asyncio.Event().wait()


def tell(arrived_at: float, body: bytes) -> None:
    """Print the line for a webhook."""
    event = json.loads(body)
    happened_at = datetime.fromisoformat(event["timestamp"]).timestamp()
    print(f"{arrived_at:.6f} {happened_at:.6f} {event['type']}", flush=True)


def arrivals(log: Path) -> Iterator[Arrival]:
    """Return what this program has printed so far."""
    # What comes after the last line's end is still being written.
    for line in log.read_text().rpartition("\n")[0].splitlines():
        arrived_at, happened_at, event_type = line.split(" ")
        yield Arrival(event_type, float(arrived_at), float(happened_at))


if __name__ == "__main__":
    main()
