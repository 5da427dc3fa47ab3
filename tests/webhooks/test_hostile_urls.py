"""Every URL of the hostile table is refused, when it is given and when it is called."""

import pytest

from gpukeeper.webhooks.guard import Allowance, ForbiddenAddress, check_url, resolve
from gpukeeper.webhooks.urls import Address
from tests.webhooks.hostile import HOSTILE_URLS


async def nobody(host: str, port: int) -> list[Address]:
    """Fail: no look-up is needed to refuse any of them."""
    raise AssertionError(f"{host} was looked up")


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=ascii)
async def test_a_hostile_url_is_refused_without_a_look_up(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_url(url, allow=Allowance())
    with pytest.raises(ForbiddenAddress):
        await resolve(url, allow=Allowance(), resolver=nobody)
