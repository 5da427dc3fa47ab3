"""The composition root: builds everything from the settings, and runs and drains the loops."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from gpukeeper import __version__
from gpukeeper.config import Secrets, Settings, prepare_data_dir
from gpukeeper.domain import ids
from gpukeeper.domain.errors import NovitaError
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.loop import Loop
from gpukeeper.novita.catalog import Catalog
from gpukeeper.novita.client import CallReport, NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.nudges import Nudges
from gpukeeper.reporter import Reporter
from gpukeeper.runtime.database_setup import explain_store_errors, open_database, prepare_store
from gpukeeper.runtime.disk_space import list_directories, measure_disks
from gpukeeper.runtime.loops import (
    MAX_SILENCE,
    Engine,
    Tools,
    build_engine,
    build_loop,
    list_heartbeats,
    read_clock,
)
from gpukeeper.runtime.store_account import AccountProof, match_account
from gpukeeper.runtime.trusted_clock import (
    TrustedClock,
    open_clock,
    read_steady_clock,
    settle_forever,
    settle_once,
)
from gpukeeper.service import Health, Service
from gpukeeper.service.feed import Feed
from gpukeeper.service.health import Heartbeat, Vitals, examine_health
from gpukeeper.service.ordering import BuyerElsewhere, Ordering
from gpukeeper.store.db.database import Database
from gpukeeper.store.db.shared_clock import SharedClock
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import Metrics, create_metrics, get_logger, tracing
from gpukeeper.webhooks.sender import Sender

if TYPE_CHECKING:
    from gpukeeper.store.db.notify_listener import Listener

# A drain takes at most ten seconds (contract §6), of which the server has had two.
_LAST_TURN = timedelta(seconds=2)
_LAST_WORK = timedelta(seconds=5)


class Role(StrEnum):
    """What one process does."""

    ALL = "all"
    API = "api"
    ENGINE = "engine"

    @property
    def has_engine(self) -> bool:
        """Whether the background loops run in this process."""
        return self is not Role.API


@dataclass(frozen=True, slots=True)
class Runtime:
    """A built service: what answers requests, and the loops beside it.

    ``follow`` is the loop that reads the events for those who follow them.
    """

    service: Service
    metrics: Metrics
    database: Database
    novita: NovitaClient
    sender: Sender
    engine: Engine | None
    follow: Loop
    listener: "Listener | None"
    clock: TrustedClock
    # What has to be proven before Novita is asked for anything.
    proof: AccountProof | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loops; on leaving, take no more work, finish what is held, close everything.

        Raises InvalidConfiguration when the store turns out to be another account's.
        """
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self._close)
            if self.proof is not None:
                await self.proof.settle()
            on_failure.pop_all()
        loops = [self.follow, *(self.engine.loops if self.engine else ())]
        tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in loops]
        beside = [asyncio.create_task(self.service.market.get_ready(), name="get-ready")]
        if self.listener is not None:
            beside.append(asyncio.create_task(self.listener.run(), name=LoopName.LISTEN))
        beside.append(
            asyncio.create_task(settle_forever(self.clock, self._ask_time), name="settle-clock")
        )
        try:
            await settle_once(self.clock, self._ask_time)
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            for loop in loops:
                loop.drain()
            await self._drain(tasks)
            await self._close()

    async def _close(self) -> None:
        await self.sender.aclose()
        await self.novita.aclose()
        await asyncio.to_thread(self.database.close)
        await asyncio.to_thread(tracing.stop_export)

    async def _ask_time(self) -> None:
        """Ask Novita anything: each of its answers says what time it is."""
        with suppress(NovitaError):
            await self.novita.clusters()

    async def _drain(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Let the loops end, then the work that they started.

        What takes too long is cancelled, and found again in the store as after a crash.
        """
        _, late = await asyncio.wait(tasks, timeout=_LAST_TURN.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        workers = self.engine.workers if self.engine else ()
        await asyncio.gather(*(each.drain(_LAST_WORK) for each in workers))


def build(settings: Settings, role: Role = Role.ALL) -> Runtime:
    """Prepare the data directory and the database, and build the service on them.

    Raises InvalidConfiguration.  Nothing runs and nothing is asked of Novita before
    :meth:`Runtime.running`.
    """
    kept = prepare_data_dir(settings)
    database = open_database(settings)
    with ExitStack() as on_failure:
        on_failure.callback(database.close)
        deployment = prepare_store(database, settings, kept, has_engine=role.has_engine)
        proof = needed_proof(database, settings)
        with explain_store_errors(settings):
            runtime = _assemble(settings, role, kept, database, deployment, proof)
        on_failure.pop_all()
    return runtime


def needed_proof(database: Database, settings: Settings) -> AccountProof | None:
    """Return what has to be proven of the key before it may be used; None if nothing.

    Raises InvalidConfiguration when the store belongs to another Novita.
    """
    with database.engine.begin() as connection:
        if match_account(connection, settings):
            return None
    return AccountProof(database, settings, lambda: open_novita(settings))


def open_novita(
    settings: Settings,
    *,
    clock: Callable[[], datetime] = read_clock,
    on_call: Callable[[CallReport], None] | None = None,
    admit: Callable[[], Awaitable[None]] | None = None,
    on_date: Callable[[str | None], None] | None = None,
) -> NovitaClient:
    """Return the client of the Novita that the settings name; nothing is asked of it yet."""
    return NovitaClient(
        base_url=settings.novita_base_url,
        api_key=settings.novita_api_key,
        timeout_seconds=settings.novita_timeout.total_seconds(),
        retries=settings.novita_retries,
        rate_per_second=settings.novita_rate,
        clock=clock,
        random=random.random,
        on_call=on_call,
        admit=admit,
        on_date=on_date,
    )


def _assemble(
    settings: Settings,
    role: Role,
    kept: Secrets,
    database: Database,
    deployment: str,
    proof: AccountProof | None,
) -> Runtime:
    nudges = Nudges()
    database.on_trouble(_tell_of_store)
    listener = _listener(settings, database, nudges)
    now = open_clock(database, listener.clock if listener else read_clock, steady=read_steady_clock)
    metrics = create_metrics()
    tracing.start_export(settings.otel, version=__version__)
    log = get_logger("gpukeeper.engine")
    reporter = Reporter(metrics, log, now, tracing.server_attributes(settings.novita_base_url))
    limits = Limits(adoption_window=settings.adoption_window)
    novita = open_novita(
        settings,
        clock=now,
        on_call=reporter.called,
        admit=proof.admit if proof else None,
        on_date=now.hear,
    )
    metrics.clock_ahead.set_function(lambda: now.ahead.total_seconds())
    metrics.novita_rate.set_function(lambda: novita.rate_per_second)
    sender = Sender(
        timeout_seconds=settings.webhook_timeout.total_seconds(),
        secrets=kept.webhook,
        allow=settings.webhook_allow,
        user_agent=f"gpukeeper/{__version__}",
        clock=now,
    )
    outbox = Outbox(settings.webhook_urls, settings.webhook_retries, _new_id)
    market = Quotes(Catalog(novita, clock=now), settings.region)
    seal = EnvsCipher(kept.secret_key.get_secret_value())
    tools = Tools(
        database=database,
        novita=novita,
        market=market,
        sender=sender,
        outbox=outbox,
        seal=seal,
        limits=limits,
        nudges=nudges,
        reporter=reporter,
        deployment=deployment,
        # One process owns a file.  Of those that share a server each may doubt the time alone.
        is_time_sure=lambda: not database.is_shared or now.doubt is None,
    )
    engine = build_engine(settings, tools, clock=now) if role.has_engine else None

    feed = Feed(database, nudges)
    follow = build_loop(LoopName.EVENTS, feed.turn, reporter, now)
    nudges.connect(follow.name, follow.nudge)

    directories = list_directories(settings)

    def beats() -> list[Heartbeat]:
        beats = list_heartbeats([follow, *(engine.loops if engine else ())])
        if listener is not None:
            beats.append(
                Heartbeat(
                    LoopName.LISTEN, listener.beat_at, MAX_SILENCE, is_running=listener.is_running
                )
            )
        return beats

    async def health(is_brief: bool) -> Health:
        about = {"version": __version__, "role": role.value}
        disks = await asyncio.to_thread(measure_disks, directories)
        vitals = Vitals(tuple(beats()), disks, now.ahead)
        return await examine_health(database, vitals, now(), about=about, is_brief=is_brief)

    ordering = Ordering(
        database=database,
        market=market,
        outbox=outbox,
        seal=seal,
        deployment=deployment,
        nudges=nudges,
        clock=now,
        random_bytes=secrets.token_bytes,
        on_change=reporter.changed,
        buyer=engine.buyer if engine else BuyerElsewhere(),
        limits=limits,
        on_refusal=reporter.refused,
    )
    service = Service(
        ordering=ordering,
        database=database,
        novita=novita,
        market=market,
        outbox=outbox,
        seal=seal,
        limits=limits,
        deployment=deployment,
        nudges=nudges,
        feed=feed,
        clock=now,
        random_bytes=secrets.token_bytes,
        on_change=reporter.changed,
        examine=health,
        log=get_logger("gpukeeper.service"),
        patience=_patience(settings),
    )
    return Runtime(service, metrics, database, novita, sender, engine, follow, listener, now, proof)


def _listener(settings: Settings, database: Database, nudges: Nudges) -> "Listener | None":
    """Return what hears other processes and keeps the time that they share, if there may be any."""
    if settings.postgres_url is None:
        return None
    from gpukeeper.store.db.notify_listener import Listener

    clock = SharedClock(database.told_time(), steady=read_steady_clock)
    log = get_logger("gpukeeper.store")
    return Listener(
        settings.postgres_url.get_secret_value(),
        origin=database.origin,
        clock=clock,
        on_signal=nudges.heard,
        on_missed=nudges.missed,
        on_lost=lambda error: log.warning("listening_failed", error=error),
        on_back=lambda: log.info("listening_again"),
    )


def _tell_of_store(trouble: str | None) -> None:
    log = get_logger("gpukeeper.store")
    if trouble is None:
        log.info("store_available")
    else:
        log.error("store_unavailable", error=trouble)


def _new_id(prefix: str, at: datetime) -> str:
    return ids.new_id(prefix, at, secrets.token_bytes(10))


def _patience(settings: Settings) -> timedelta | None:
    """Return how old a look may be: two were due and the second had time to be answered."""
    if not settings.sweep_interval:
        return None
    slowest = max(settings.poll_interval, settings.sweep_interval)
    return 2 * slowest + settings.novita_timeout
