"""A Novita that answers from a script, and a time that passes only when somebody sleeps."""

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
from anyio.lowlevel import checkpoint
from pydantic import SecretStr

from gpukeeper.domain.products import BillingMode, Offer, Port, PurchaseRequest, Template, Tool
from gpukeeper.novita.client import CallReport, NovitaClient

API_KEY = "sk_the-api-key"

PURCHASE = PurchaseRequest(
    name="trainer-gkabc",
    offer=Offer(
        product_id="4090.16c62g",
        product_name="RTX 4090 24GB",
        cluster_id="us-ca-6",
        region="US-CA-06",
        billing_mode=BillingMode.SPOT,
        gpu_num=2,
        price_per_hour=Decimal("0.35"),
        stock="normal",
        max_disk_gb=1024,
    ),
    template=Template(
        id="tpl-basic",
        name="Basic",
        image_url="docker.io/acme/worker:1.4",
        image_auth_id="auth-7",
        tools=(Tool("Jupyter", "8888", "http"),),
        min_cuda_version="12.4",
    ),
    rootfs_size_gb=60,
    envs={"HF_TOKEN": "hf_token_in_clear"},
    ports=(Port(8000, "http"), Port(22, "tcp")),
    command="serve --all",
)

Reply = httpx2.Response | Exception


def reply(status: int, body: object = None, **headers: str) -> httpx2.Response:
    """An answer with a JSON body, or with the text or bytes given."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, content=content, headers=names)


@dataclass
class FakeTime:
    """A clock that stands still but for sleeps, which it counts."""

    now: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += timedelta(seconds=seconds)
        await checkpoint()


class ScriptedNovita:
    """Gives the scripted replies in turn, the last one again and again; keeps what was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        next_one = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(next_one, Exception):
            raise next_one
        return httpx2.Response(
            next_one.status_code, content=next_one.content, headers=next_one.headers
        )

    @property
    def paths(self) -> list[str]:
        """What was asked, in order."""
        return [request.url.path for request in self.requests]

    def body(self, number: int = 0) -> Any:
        """The JSON body of one request."""
        return json.loads(self.requests[number].content)


Handler = (
    Callable[[httpx2.Request], httpx2.Response]
    | Callable[[httpx2.Request], Coroutine[None, None, httpx2.Response]]
)


def client_of(
    novita: Handler,
    time: FakeTime | None = None,
    *,
    retries: int = 3,
    rate_per_second: float = 0,
    reports: list[CallReport] | None = None,
) -> NovitaClient:
    """A client whose network is ``novita`` and whose time is ``time``."""
    time = time or FakeTime()
    return NovitaClient(
        base_url="https://novita.example/",
        api_key=SecretStr(API_KEY),
        connect=lambda: httpx2.MockTransport(novita),
        retries=retries,
        rate_per_second=rate_per_second,
        clock=time,
        sleep=time.sleep,
        random=lambda: 0.5,
        on_call=None if reports is None else reports.append,
    )


def outcomes(reports: Sequence[CallReport]) -> list[str]:
    """How the calls ended, in order."""
    return [report.outcome for report in reports]
