"""The composition root: builds everything from the settings and the outside world."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from gpukeeper import __version__
from gpukeeper.config import Secrets, Settings, prepare_data_dir
from gpukeeper.domain import ids
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.novita.catalog import Catalog
from gpukeeper.novita.client import CallReport, NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.nudges import Nudges
from gpukeeper.runtime.database_setup import explain_store_errors, open_database, prepare_store
from gpukeeper.runtime.disk_space import list_directories, measure_disks
from gpukeeper.runtime.life_cycle import Runtime
from gpukeeper.runtime.loops import Tools, build_engine, build_loop, list_heartbeats
from gpukeeper.runtime.outside import Outside
from gpukeeper.runtime.store_account import AccountProof, match_account
from gpukeeper.runtime.trusted_clock import open_clock
from gpukeeper.service import Health, Service
from gpukeeper.service.feed import Feed
from gpukeeper.service.health import Vitals, examine_health
from gpukeeper.service.ordering import BuyerElsewhere, Ordering
from gpukeeper.store.db.database import Database
from gpukeeper.store.db.shared_clock import SharedClock
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import create_metrics, get_logger, tracing
from gpukeeper.webhooks.sender import Sender

if TYPE_CHECKING:
    from gpukeeper.store.db.notify_listener import Listener


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
class OpenStore:
    """A database of this version, the secrets and the mark of our machines that belong to it.

    ``proof`` has to be given before Novita is asked for anything.
    """

    database: Database
    secrets: Secrets
    deployment: str
    proof: AccountProof | None = None


def build(settings: Settings, role: Role = Role.ALL, outside: Outside = Outside()) -> Runtime:  # noqa: B008 - a value that nobody changes
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
        store = OpenStore(database, kept, deployment, proof)
        with explain_store_errors(settings):
            runtime = assemble(settings, role, store, outside)
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
    outside: Outside = Outside(),  # noqa: B008 - a value that nobody changes
    *,
    clock: Callable[[], datetime] | None = None,
    on_call: Callable[[CallReport], None] | None = None,
    admit: Callable[[], Awaitable[None]] | None = None,
    on_date: Callable[[str | None], None] | None = None,
) -> NovitaClient:
    """Return the client of the Novita that the settings name; nothing is asked of it yet."""
    return NovitaClient(
        base_url=settings.novita_base_url,
        api_key=settings.novita_api_key,
        connect=outside.connect,
        timeout_seconds=settings.novita_timeout.total_seconds(),
        retries=settings.novita_retries,
        rate_per_second=settings.novita_rate,
        clock=clock or outside.clock,
        sleep=outside.sleep,
        random=outside.draw,
        on_call=on_call,
        admit=admit,
        on_date=on_date,
    )


def assemble(settings: Settings, role: Role, store: OpenStore, outside: Outside) -> Runtime:
    """Build the service on a store that is ready for it.  Raises StoreError."""
    database, proof = store.database, store.proof
    nudges = Nudges()
    database.on_trouble(_report_outage)
    listener = _listener(settings, database, nudges, outside)
    source = listener.clock if listener else outside.clock
    now = open_clock(database, source, steady=outside.steady, may_jump=outside.may_jump)
    metrics = create_metrics()
    tracing.start_export(settings.otel, version=__version__)
    log = get_logger("gpukeeper.engine")
    server = tracing.server_attributes(settings.novita_base_url)
    reporter = outside.reporter(metrics, log, now, server)
    novita = open_novita(
        settings,
        outside,
        clock=now,
        on_call=reporter.called,
        admit=proof.admit if proof else None,
        on_date=now.hear,
    )
    metrics.clock_ahead.set_function(lambda: now.ahead.total_seconds())
    metrics.novita_rate.set_function(lambda: novita.rate_per_second)
    tools = Tools(
        database=database,
        novita=novita,
        market=Quotes(Catalog(novita, clock=now), settings.region),
        sender=outside.sender or _open_sender(settings, store.secrets, now),
        outbox=Outbox(
            settings.webhook_urls,
            settings.webhook_retries,
            lambda prefix, at: ids.new_id(prefix, at, outside.random_bytes(10)),
        ),
        seal=EnvsCipher(store.secrets.secret_key.get_secret_value()),
        limits=Limits(adoption_window=settings.adoption_window),
        nudges=nudges,
        reporter=reporter,
        deployment=store.deployment,
        # One process owns a file.  Of those that share a server each may doubt the time alone.
        is_time_sure=lambda: not database.is_shared or now.doubt is None,
    )
    engine = None
    if role.has_engine:
        engine = build_engine(settings, tools, clock=now, draw=outside.draw)
    feed = Feed(database, nudges)
    follow = build_loop(LoopName.EVENTS, feed.turn, reporter, now)
    nudges.connect(LoopName.EVENTS, follow.nudge)
    loops = [follow, *(engine.loops if engine else ())]
    directories = list_directories(settings)

    async def examine(is_brief: bool) -> Health:
        about = {"version": __version__, "role": role.value}
        disks = await asyncio.to_thread(measure_disks, directories)
        vitals = Vitals(tuple(list_heartbeats(loops, listener)), disks, now.ahead)
        return await examine_health(database, vitals, now(), about=about, is_brief=is_brief)

    ordering = Ordering(
        database=database,
        market=tools.market,
        outbox=tools.outbox,
        seal=tools.seal,
        deployment=tools.deployment,
        nudges=nudges,
        clock=now,
        random_bytes=outside.random_bytes,
        on_change=reporter.changed,
        buyer=engine.buyer if engine else BuyerElsewhere(),
        limits=tools.limits,
        on_refusal=reporter.refused,
    )
    service = Service(
        ordering=ordering,
        database=database,
        novita=novita,
        market=tools.market,
        outbox=tools.outbox,
        seal=tools.seal,
        limits=tools.limits,
        deployment=tools.deployment,
        nudges=nudges,
        feed=feed,
        clock=now,
        random_bytes=outside.random_bytes,
        on_change=reporter.changed,
        examine=examine,
        log=get_logger("gpukeeper.service"),
        patience=_patience(settings),
    )
    return Runtime(
        service, metrics, database, novita, tools.sender, engine, follow, listener, now, proof
    )


def _open_sender(settings: Settings, secrets: Secrets, clock: Callable[[], datetime]) -> Sender:
    return Sender(
        timeout_seconds=settings.webhook_timeout.total_seconds(),
        secrets=secrets.webhook,
        allow=settings.webhook_allow,
        user_agent=f"gpukeeper/{__version__}",
        clock=clock,
    )


def _listener(
    settings: Settings, database: Database, nudges: Nudges, outside: Outside
) -> "Listener | None":
    """Return what hears other processes and keeps the time that they share, if there may be any."""
    if settings.postgres_url is None:
        return None
    from gpukeeper.store.db.notify_listener import Listener

    clock = SharedClock(database.told_time(), steady=outside.steady)
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


def _report_outage(trouble: str | None) -> None:
    log = get_logger("gpukeeper.store")
    if trouble is None:
        log.info("store_available")
    else:
        log.error("store_unavailable", error=trouble)


def _patience(settings: Settings) -> timedelta | None:
    """Return how old a look may be: two were due and the second had time to be answered."""
    if not settings.sweep_interval:
        return None
    slowest = max(settings.poll_interval, settings.sweep_interval)
    return 2 * slowest + settings.novita_timeout
