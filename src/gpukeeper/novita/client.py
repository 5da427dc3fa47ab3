"""Ask Novita: paced, and with retries of whatever surely did not happen.

An answer that was lost after a change was asked for is OutcomeUnknown and never repeated here;
NovitaUnavailable from a change means that it surely was not made.  Nothing is logged here:
``on_call`` is told of every call, and no exception or repr shows the API key.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import httpx2
from pydantic import SecretStr

from gpukeeper.domain.backoff import exponential_delay
from gpukeeper.domain.errors import NovitaError, NovitaUnavailable, RateLimited
from gpukeeper.domain.instances import Command
from gpukeeper.domain.machines import ConnectionDetails, Listing, Observation
from gpukeeper.domain.products import BillingMode, Cluster, Product, PurchaseRequest, Template
from gpukeeper.novita import protocol
from gpukeeper.novita.errors import final_error
from gpukeeper.novita.full_listing import read_pages
from gpukeeper.novita.messages import Request, Response
from gpukeeper.novita.protocol import Page, RegistryAuth
from gpukeeper.novita.rate_limit import TokenBucket
from gpukeeper.novita.secrets import Secrets
from gpukeeper.novita.transport import Transport
from gpukeeper.novita.turns import LONGEST_WAIT, CallQueue, OnProgress

T = TypeVar("T")
Check = Callable[[], None]
Confirm = Callable[[bool], Awaitable[None]]
Connect = Callable[[], httpx2.AsyncBaseTransport]

# More templates than these pages hold are no list to choose from.
_TEMPLATE_PAGES = 5

# Short enough to ride out a hiccup within one call of the API, long enough to help when throttled.
_FIRST_RETRY_AFTER = timedelta(seconds=1)
_LAST_RETRY_AFTER = timedelta(seconds=10)

# A Retry-After beyond this is taken for a mistake, so that one answer cannot silence us for days.
_LONGEST_PAUSE = timedelta(minutes=15)


# What is only help is not worth more of the time in which somebody waits.
_HELP_SECONDS = 3


def _always() -> None:
    """Call nothing off."""


def _whatever(_: Observation) -> bool:
    """Want every machine."""
    return True


def _untold() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class CallReport:
    """One HTTP call that ended: ``outcome`` is ``ok`` or the name of the error class.

    ``path`` is the same for all calls of a route.

    ``paced_seconds`` is how long it was held back before it was made.
    """

    route: str
    method: str
    path: str
    outcome: str
    seconds: float
    status: int | None
    paced_seconds: float = 0.0


class NovitaClient:
    """Novita's v1 API under neutral names (Novita API notes §3).

    Safe for concurrent use by the tasks of one event loop.  ``retries`` is how often a call is
    repeated that surely had no effect; ``timeout_seconds`` limits one call as a whole, a third
    of it the making of the connection; ``rate_per_second`` of 0 means unlimited.  ``random``
    returns numbers from [0, 1).  ``connect`` makes what carries the requests of one connection,
    instead of the network.  What changes something takes a ``check``: it is called right before
    each try, after all waiting, and calls the change off by raising.
    ``admit`` is called before anything is asked, and calls that off by raising a NovitaError.
    ``on_date`` is told of the time in each answer, as HTTP writes it.

    Every method may raise BadCredentials, NovitaRejected, RateLimited, NovitaTimeout and
    NovitaUnavailable besides what it names itself.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        connect: Connect | None = None,
        timeout_seconds: float = 30,
        retries: int = 3,
        rate_per_second: float = 10,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float],
        on_call: Callable[[CallReport], None] | None = None,
        admit: Callable[[], Awaitable[None]] | None = None,
        on_date: Callable[[str | None], None] | None = None,
    ) -> None:
        self._transport = Transport(
            base_url=base_url,
            api_key=api_key,
            connect=connect,
            timeout_seconds=timeout_seconds,
        )
        self._retries = retries
        self._bucket = TokenBucket(rate_per_second=rate_per_second)
        self._turns = CallQueue(self._bucket, clock=clock, sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._on_call = on_call
        self._admit = admit
        self._on_date = on_date
        self._first_page = 0
        # Which simulated world has answered last; None for Novita itself.
        self.simulated_world: str | None = None
        self._secrets = Secrets(api_key, clock=clock)

    @property
    def rate_per_second(self) -> float:
        """How many calls a second are let through now; infinity where nothing limits them."""
        return self._bucket.rate_per_second

    @property
    def pause(self) -> timedelta:
        """How long a call that is made now would be held back."""
        return self._bucket.wait(self._clock())

    async def create(
        self, purchase: PurchaseRequest, *, check: Check = _always, confirm: Confirm | None = None
    ) -> str:
        """Buy a machine and return Novita's id of it; it starts by itself (§3.1).

        ``confirm`` is awaited right before each try, when its turn has come, and is told whether
        there was anything to wait for; it calls the purchase off by raising.

        Not idempotent: a second call buys a second machine.  Raises OutcomeUnknown when a
        machine may have been bought (look it up by name), OutOfStock, InsufficientBalance and
        QuotaExceeded; after any error but OutcomeUnknown nothing was bought.
        """
        request = protocol.create_request(purchase)
        return await self._ask(request, protocol.created_id, check, confirm=confirm)

    async def start(self, novita_id: str, *, check: Check = _always) -> None:
        """Start a stopped machine.  Raises what :meth:`delete` does, and OutOfStock."""
        await self._change(Command.START, novita_id, check)

    async def stop(self, novita_id: str, *, check: Check = _always) -> None:
        """Stop a machine.  Raises what :meth:`delete` does."""
        await self._change(Command.STOP, novita_id, check)

    async def restart(self, novita_id: str, *, check: Check = _always) -> None:
        """Restart a machine.  Raises what :meth:`delete` does."""
        await self._change(Command.RESTART, novita_id, check)

    async def delete(self, novita_id: str, *, check: Check = _always) -> None:
        """Delete a machine; that Novita accepted it does not mean that it is gone (§3.4).

        Raises NovitaNotFound when there is no such machine (any more), InvalidStateChange when
        its state does not allow this or it already happened, and OutcomeUnknown when the answer
        was lost: look again before asking again.
        """
        await self._change(Command.DELETE, novita_id, check)

    async def get(self, novita_id: str) -> Observation:
        """Look at one machine.  Raises NovitaNotFound when it does not exist (any more)."""
        return await self._ask(protocol.machine_request(novita_id), protocol.observation)

    async def connection(self, novita_id: str) -> ConnectionDetails:
        """Return how to reach a machine, with its password, both anew after each start (§3.3).

        Raises NovitaNotFound when it does not exist (any more).
        """
        return await self._ask(protocol.machine_request(novita_id), protocol.connection)

    async def list_all(
        self,
        *,
        name: str | None = None,
        is_wanted: Callable[[Observation], bool] = _whatever,
        on_progress: OnProgress = _untold,
    ) -> Listing:
        """Look at all machines, 100 a call; only a complete listing can show an absence (§3.2).

        ``name`` is Novita's fuzzy filter: compare exactly yourself.  Of machines that are not
        wanted only the ids are returned.  ``on_progress`` is called before each try, and whenever a
        call gets its turn that others wait behind.
        """
        at = self._clock()

        async def fetch(number: int) -> Page:
            request = protocol.page_request(number, name=name)
            return await self._ask(request, protocol.page, on_progress=on_progress)

        pages = await read_pages(fetch, first=self._first_page, is_wanted=is_wanted)
        self._first_page = pages.first
        return Listing(
            pages.ids, pages.machines, is_complete=pages.is_complete, at=at, calls=pages.calls
        )

    async def products(
        self, *, cluster_id: str | None, billing_mode: BillingMode, gpu_num: int
    ) -> tuple[Product, ...]:
        """Return what is sold in one cluster or (``None``) in all; the stock is a hint (§3.7)."""
        request = protocol.products_request(
            cluster_id=cluster_id, billing_mode=billing_mode, gpu_num=gpu_num
        )
        return await self._ask(request, protocol.products)

    async def products_in_turn(
        self, *, cluster_id: str, billing_mode: BillingMode, gpu_num: int
    ) -> tuple[Product, ...]:
        """Return what is sold in one cluster, for whoever has a turn already (see :meth:`create`).

        Asked once and at once; it counts towards the rate, so that others wait a little longer.
        """
        request = protocol.products_request(
            cluster_id=cluster_id, billing_mode=billing_mode, gpu_num=gpu_num
        )
        self._bucket.take(self._clock())
        return await self._send(request, protocol.products, paced=timedelta(0))

    async def clusters(self) -> tuple[Cluster, ...]:
        """Return all regions (§3.8)."""
        return await self._ask(protocol.clusters_request(), protocol.clusters)

    async def template(self, template_id: str) -> Template:
        """Return a template.  Raises NovitaNotFound when there is none of this id (§3.11).

        Of a private image, the registry's credentials are asked for as well, hourly at most, so
        that they are known and hidden where Novita echoes them.
        """
        found = await self._ask(protocol.template_request(template_id), protocol.template)
        if self._secrets.has_to_learn(found):
            await self._learn_credentials()
        return found

    async def templates(self, channel: str) -> tuple[Template, ...]:
        """Return the templates of a channel, ``private`` or ``official``, 500 at most (§3.11)."""
        found: list[Template] = []
        for number in range(1, _TEMPLATE_PAGES + 1):
            request = protocol.templates_request(channel, number)
            page = await self._ask(request, protocol.templates)
            found += page.templates
            if page.is_last:
                break
        return tuple(found)

    async def registry_auths(self) -> tuple[RegistryAuth, ...]:
        """Return the account's registry credentials (§3.9)."""
        return await self._ask(protocol.registry_auths_request(), protocol.registry_auths)

    async def balance(self) -> Decimal:
        """Return the account's available money in USD (§3.14)."""
        return await self._ask(protocol.balance_request(), protocol.balance)

    async def aclose(self) -> None:
        """Close the connections that this client opened itself."""
        await self._transport.aclose()

    async def _change(self, verb: Command, novita_id: str, check: Check) -> None:
        await self._ask(protocol.verb_request(verb, novita_id), protocol.check_change, check)

    async def _ask(
        self,
        request: Request,
        read: Callable[[Request, Response], T],
        check: Check = _always,
        on_progress: OnProgress = _untold,
        confirm: Confirm | None = None,
    ) -> T:
        """Ask until there is an answer, a refusal, or no retry left.

        NovitaUnavailable is retried for changes too: it means that they were surely not made.
        """
        if self._admit is not None:
            await self._admit()
        failures = 0
        was_told_to_wait = False
        while True:
            try:
                arrived_at = self._clock()
                has_waited = await self._turns.wait(request.route, on_progress)
                paced = self._clock() - arrived_at
                if confirm is not None:
                    await confirm(has_waited or failures > 0)
                check()
                return await self._send(request, read, paced=paced)
            except NovitaUnavailable as error:
                failures += 1
                was_told_to_wait = was_told_to_wait or error.retry_after is not None
                delay = self._delay(failures, error)
                if failures > self._retries or delay > LONGEST_WAIT:
                    last = final_error(request, error, was_told_to_wait=was_told_to_wait)
                    raise last from error.__cause__
            await self._sleep(delay.total_seconds())

    def _delay(self, failures: int, error: NovitaUnavailable) -> timedelta:
        # A Retry-After of nothing is no reason to hammer.
        if error.retry_after:
            return error.retry_after
        return exponential_delay(
            failures, first=_FIRST_RETRY_AFTER, ceiling=_LAST_RETRY_AFTER, random=self._random()
        )

    async def _send(
        self, request: Request, read: Callable[[Request, Response], T], *, paced: timedelta
    ) -> T:
        """Make one call, tell of it, and heed what Novita says of the pace."""
        request = replace(request, secrets=(*request.secrets, *self._secrets))
        asked_at = self._clock()
        status: int | None = None
        try:
            answer = await self._transport.send(request, asked_at=asked_at)
            status = answer.status
            if self._on_date is not None:
                self._on_date(answer.headers.get("date"))
            self.simulated_world = answer.simulated_world or self.simulated_world
            if self._secrets.has_to_learn_for(request, answer):
                await self._learn_credentials()
                request = replace(request, secrets=(*request.secrets, *self._secrets))
            result = read(request, answer)
        except NovitaError as error:
            self._report(request, type(error).__name__, asked_at, status, paced)
            self._heed(error)
            raise
        self._report(request, "ok", asked_at, status, paced)
        self._bucket.recover()
        return result

    async def _learn_credentials(self) -> None:
        # Without them all goes on, and Novita's own words are hidden by pattern.
        with suppress(NovitaError, TimeoutError):
            async with asyncio.timeout(_HELP_SECONDS):
                request = protocol.registry_auths_request()
                await self._turns.wait(request.route, _untold)
                auths = await self._send(request, protocol.registry_auths, paced=timedelta(0))
                self._secrets.learn(auths)

    def _heed(self, error: NovitaError) -> None:
        """Call more slowly, or not at all for a while, when Novita says so."""
        now = self._clock()
        if isinstance(error, RateLimited):
            self._bucket.slow_down(now)
        if isinstance(error, NovitaUnavailable) and error.retry_after is not None:
            self._bucket.pause(now, min(error.retry_after, _LONGEST_PAUSE))

    def _report(
        self,
        request: Request,
        outcome: str,
        asked_at: datetime,
        status: int | None,
        paced: timedelta,
    ) -> None:
        if self._on_call is not None:
            seconds = (self._clock() - asked_at).total_seconds()
            paced_seconds = max(paced.total_seconds(), 0.0)
            self._on_call(
                CallReport(
                    route=request.route,
                    method=request.method,
                    path=request.path,
                    outcome=outcome,
                    seconds=max(seconds, 0.0),
                    status=status,
                    paced_seconds=paced_seconds,
                )
            )
