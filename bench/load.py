"""Asks over many kept connections at a time, at little cost: what is measured is the other end."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bench.processes import API_KEY, BenchFailed


def request(
    method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None
) -> bytes:
    """Return a request as it is sent, with the key of the benchmark."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {API_KEY}"]
    if content:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def ask(port: int, requests: Iterable[bytes], *, at_a_time: int, status: int = 200) -> list[float]:
    """Send all requests, so many at a time, and return how many seconds each answer took.

    Raises BenchFailed for any other status.
    """
    return asyncio.run(_ask(port, iter(requests), at_a_time, status))


async def _ask(port: int, requests: Iterator[bytes], at_a_time: int, status: int) -> list[float]:
    lanes = [_converse(port, requests, status) for _ in range(at_a_time)]
    return [seconds for lane in await asyncio.gather(*lanes) for seconds in lane]


async def _converse(port: int, requests: Iterator[bytes], status: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    times: list[float] = []
    try:
        for each in requests:
            began = time.perf_counter()
            writer.write(each)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            times.append(time.perf_counter() - began)
            if int(head.split(b" ", 2)[1]) != status:
                raise BenchFailed(f"not {status}: {head.decode()}{body.decode()[:500]}")
    finally:
        writer.close()
    return times
