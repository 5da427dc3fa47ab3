"""What the pages work with, kept on the application."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request

from gpukeeper.dashboard.page_cache import PageCache
from gpukeeper.domain.errors import GpuKeeperError, NotFound
from gpukeeper.domain.instances import Order
from gpukeeper.service import Service
from gpukeeper.service.fleet import Overview

# No id of ours or of Novita's has a space, a control character or this length.
_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Kind(Protocol):
    """What is said of a kind of error: its HTTP status, its meaning, and what to do about it."""

    @property
    def status(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def meaning(self) -> str: ...
    @property
    def remedy(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Site:
    """The use cases, and what the pages are told by whoever puts the program together.

    ``read_order`` makes an order of what the API calls an order's body, or raises InvalidOrder;
    ``explain`` says of an error what the API says; ``can_log_out`` is false where nobody logs in.
    ``root_path`` is put before every link: empty, or with a slash at its beginning alone.
    """

    service: Service
    overview: Overview
    read_order: Callable[[dict[str, Any]], Order]
    explain: Callable[[GpuKeeperError], Kind]
    new_token: Callable[[], str]
    default_region: str
    can_log_out: bool
    version: str
    root_path: str = ""
    kept: PageCache = field(default_factory=PageCache)


def site_of(request: Request) -> Site:
    """Return what the dashboard was installed with."""
    site: Site = request.app.state.site
    return site


def check_id(text: str) -> str:
    """Return an id from a path; raises NotFound for one that nothing can have."""
    if not _ID.fullmatch(text):
        raise NotFound("There is nothing with such an id.")
    return text
