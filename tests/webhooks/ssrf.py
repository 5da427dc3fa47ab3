"""Try every hostile URL as a caller's webhook, and print how many were refused: ``make ssrf``."""

import asyncio
import sys
from collections.abc import Sequence

from gpukeeper.webhooks.guard import Allowance, ForbiddenAddress, check_url, resolve
from gpukeeper.webhooks.urls import Address
from tests.webhooks.hostile import HOSTILE_URLS_BY_KIND


async def _nobody(host: str, port: int) -> Sequence[Address]:
    return []


def is_refused(url: str) -> bool:
    """Return whether a URL is refused both when it is given and when it is called."""
    refusals = 0
    try:
        check_url(url, allow=Allowance())
    except ForbiddenAddress:
        refusals += 1
    try:
        asyncio.run(resolve(url, allow=Allowance(), resolver=_nobody))
    except ForbiddenAddress:
        refusals += 1
    return refusals == 2


def main() -> int:
    """Print the figures; fail if a URL was let in."""
    let_in = []
    tried = 0
    for kind, urls in HOSTILE_URLS_BY_KIND.items():
        passed = [url for url in urls if not is_refused(url)]
        print(f"{kind}: {len(urls)} tried, {len(urls) - len(passed)} refused")
        let_in += passed
        tried += len(urls)
    print(f"hostile URLs: {tried} tried, {tried - len(let_in)} refused")
    for url in let_in:
        print(f"let in: {url!a}", file=sys.stderr)
    return 1 if let_in else 0


if __name__ == "__main__":
    sys.exit(main())
