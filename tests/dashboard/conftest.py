"""The dashboard over a whole engine, the simulator and a clock that is set by hand."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from gpukeeper.api.app import create_app
from gpukeeper.api.params.orders import order_of
from gpukeeper.dashboard import STATIC_PREFIX, Site, frame, install
from gpukeeper.domain.instances import Instance
from gpukeeper.service.fleet import Overview
from gpukeeper.store import instances
from gpukeeper.telemetry import create_metrics
from gpukeeper.web.problems import kind_of
from gpukeeper.webhooks.guard import Allowance, check_url
from tests.dashboard.pages import Page
from tests.engine.rig import Rig, build_rig

HOST = "http://127.0.0.1"
SECRET_KEY = SecretStr("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard and the world that it shows."""

    rig: Rig
    http: httpx2.AsyncClient

    async def get(self, path: str, *, status: int = 200) -> Page:
        """Return a page."""
        return _page(await self.http.get(path), status)

    async def post(self, path: str, *, status: int = 303, **fields: str) -> Page:
        """Send a form as a page of ours does."""
        return _page(
            await self.http.post(path, data={"sent": "yes"} | fields, headers={"origin": HOST}),
            status,
        )

    async def change(self, instance_id: str, fold: Callable[[Instance], Instance]) -> None:
        """Change a stored instance behind the engine's back."""
        now = self.rig.clock()
        await self.rig.database.write(
            lambda c: instances.change(c, instance_id, fold, now, self.rig.service.outbox)
        )


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Give the world of one test."""
    rig = build_rig(tmp_path)
    yield rig
    await rig.close()


@pytest.fixture
async def dashboard(rig: Rig) -> AsyncIterator[Dashboard]:
    """Give the dashboard of a service without keys."""
    async with browsing(build_app(rig)) as http:
        yield Dashboard(rig, http)


def build_app(rig: Rig, *keys: str, root_path: str = "") -> FastAPI:
    """Return the application as the process puts it together."""

    def check_webhook_url(url: str) -> str:
        return check_url(url, allow=Allowance())

    numbers = itertools.count(1)
    app = create_app(
        service=rig.service,
        check_webhook_url=check_webhook_url,
        api_keys=[SecretStr(key) for key in keys],
        secret_key=SECRET_KEY,
        default_region="CN-HK-01",
        default_startup_timeout=timedelta(seconds=600),
        metrics=create_metrics(),
        version="0.1.0",
        is_public=lambda path: path.startswith(STATIC_PREFIX),
        frame=partial(frame, version="0.1.0", can_log_out=bool(keys), root_path=root_path),
        root_path=root_path,
        clock=rig.clock,
    )
    site = Site(
        service=rig.service,
        overview=Overview(rig.service),
        read_order=partial(
            order_of,
            default_region="CN-HK-01",
            default_startup_timeout=timedelta(seconds=600),
            check_webhook_url=check_webhook_url,
        ),
        explain=lambda error: kind_of(error)[1],
        new_token=lambda: f"token-number-{next(numbers):08}",
        default_region="CN-HK-01",
        can_log_out=bool(keys),
        version="0.1.0",
        root_path=root_path,
    )
    install(app, site)
    return app


@asynccontextmanager
async def browsing(app: FastAPI, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client that asks for pages, as a browser does."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url=HOST,
        headers={"accept": "text/html"},
        **options,
    ) as http:
        yield http


def _page(response: httpx2.Response, status: int) -> Page:
    assert response.status_code == status, response.text
    return Page(response)
