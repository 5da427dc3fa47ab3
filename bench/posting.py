"""Post the same body to some URLs, as a bare loop does, which webhooks are held against.

Run as a program of its own: `python -m bench.posting URLS EACH AT_A_TIME`.  It prints as JSON
how many seconds it took, how much CPU, and how long each answer took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import httpx2

BODY = json.dumps({"type": "webhook.test", "timestamp": "2026-01-01T00:00:00Z", "data": {}})


def main() -> None:
    """Post, and print what it took."""
    urls, each, at_a_time = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])
    cpu, began = time.process_time(), time.monotonic()
    seconds = asyncio.run(post_all(urls, each, at_a_time))
    figures = {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "times": seconds,
    }
    print(json.dumps(figures))


async def post_all(urls: list[str], each: int, at_a_time: int) -> list[float]:
    """Post so often to each URL, so many at a time in all; return what each took in seconds."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=at_a_time)
    async with httpx2.AsyncClient(limits=limits) as client:
        left = iter([url for _ in range(each) for url in urls])
        lanes = await asyncio.gather(*(_post(client, left) for _ in range(at_a_time)))
    return [seconds for lane in lanes for seconds in lane]


async def _post(client: httpx2.AsyncClient, left: Iterator[str]) -> list[float]:
    times: list[float] = []
    for url in left:
        began = time.perf_counter()
        headers = {"content-type": "application/json"}
        (await client.post(url, content=BODY, headers=headers)).raise_for_status()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
