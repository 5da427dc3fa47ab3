"""Builds the engine: its loops and their workers, wired to wake each other."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gpukeeper.config import Settings
from gpukeeper.domain.deliveries import RetryPolicy
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.applying import Applying
from gpukeeper.engine.deliver import Deliverer
from gpukeeper.engine.leases import HeldLeases
from gpukeeper.engine.loop import LONGEST_REST, Loop, Workers
from gpukeeper.engine.purchases import Purchaser
from gpukeeper.engine.reconcile import Reconciler
from gpukeeper.engine.retention import Retention
from gpukeeper.engine.sweep import Intervals, Sweep
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.novita.turns import LONGEST_WAIT
from gpukeeper.nudges import Nudges
from gpukeeper.reporter import Reporter
from gpukeeper.service.health import Heartbeat
from gpukeeper.store import tables
from gpukeeper.store.db.database import Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.instances import DueQueue
from gpukeeper.store.outbox import Outbox
from gpukeeper.webhooks.sender import Sender

if TYPE_CHECKING:
    from gpukeeper.store.db.notify_listener import Listener

# Tasks that wait for Novita or for receivers cost little; these bound what is under way at once.
_RECONCILE_WORKERS = 64
WEBHOOK_WORKERS = 512
# A loop that is silent for so many of its intervals is frozen.
_MAX_MISSED = 4
# A loop turns that often even when nothing is due.
_MAX_SILENCE = _MAX_MISSED * LONGEST_REST


@dataclass(frozen=True, slots=True)
class Tools:
    """What the engine works with."""

    database: Database
    novita: NovitaClient
    market: Quotes
    sender: Sender
    outbox: Outbox
    seal: EnvsCipher
    limits: Limits
    nudges: Nudges
    reporter: Reporter
    deployment: str
    is_time_sure: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Engine:
    """The background work by kind, and the loops that do it; without ``retention`` all is kept."""

    sweep: Sweep
    buyer: Reconciler
    reconciler: Reconciler
    deliverer: Deliverer
    retention: Retention | None
    loops: tuple[Loop, ...]

    @property
    def workers(self) -> tuple[Workers, ...]:
        """Those that have to finish what they hold before the process ends."""
        return (self.buyer.workers, self.reconciler.workers, self.deliverer.workers)


def build_engine(
    settings: Settings,
    tools: Tools,
    *,
    clock: Callable[[], datetime],
    draw: Callable[[], float],
) -> Engine:
    """Return the engine, whose loops do not run yet; ``draw`` gives numbers from [0, 1)."""
    reporter = tools.reporter
    senders = Workers(LoopName.DELIVER, WEBHOOK_WORKERS, log=reporter.log, on_error=reporter.failed)
    sweep = Sweep(
        database=tools.database,
        novita=tools.novita,
        outbox=tools.outbox,
        limits=tools.limits,
        intervals=Intervals(moving=settings.poll_interval, settled=settings.sweep_interval),
        deployment=tools.deployment,
        clock=clock,
        nudges=tools.nudges,
        on_change=reporter.changed,
        on_look=reporter.looked,
        new_token=_new_token,
        on_progress=lambda: look.beat(),
        log=reporter.log,
    )
    buyer = _reconciler(LoopName.PURCHASE, DueQueue.ORDERS, tools, clock, draw)
    reconciler = _reconciler(LoopName.RECONCILE, DueQueue.MACHINES, tools, clock, draw)
    deliverer = Deliverer(
        database=tools.database,
        sender=tools.sender,
        policy=RetryPolicy(first=settings.webhook_backoff),
        clock=clock,
        random=draw,
        new_token=_new_token,
        workers=senders,
        leasing=HeldLeases(
            tools.database, tables.deliveries, senders, is_time_sure=tools.is_time_sure
        ),
        on_attempt=reporter.attempted,
        log=reporter.log,
    )
    retention = _retention(settings.retention, tools, clock)
    look = build_loop(LoopName.SWEEP, sweep.turn, reporter, clock, max_sweep_silence(settings))
    buy = build_loop(LoopName.PURCHASE, buyer.turn, reporter, clock)
    reconcile = build_loop(LoopName.RECONCILE, reconciler.turn, reporter, clock)
    deliver = build_loop(LoopName.DELIVER, deliverer.turn, reporter, clock)
    buyer.workers.on_free = buy.nudge
    reconciler.workers.on_free = reconcile.nudge
    senders.on_free = deliver.nudge
    loops = [look, buy, reconcile, deliver]
    for loop in loops:
        tools.nudges.connect(loop.name, loop.nudge)
    if retention is not None:
        loops.append(build_loop(LoopName.RETENTION, retention.turn, reporter, clock))
    return Engine(sweep, buyer, reconciler, deliverer, retention, tuple(loops))


def max_sweep_silence(settings: Settings) -> timedelta:
    """Return how long nothing may be heard of the loop that looks at Novita.

    It is heard of before each call.  However short its interval is, one call may take its
    timeout, after as long a wait as the client accepts, and must not be taken for a freeze.
    """
    interval = min(settings.poll_interval, settings.sweep_interval or settings.poll_interval)
    one_call = LONGEST_WAIT + settings.novita_timeout + LONGEST_REST
    return max(_MAX_MISSED * interval, one_call)


def build_loop(
    name: LoopName,
    turn: Callable[[], Awaitable[datetime | None]],
    reporter: Reporter,
    clock: Callable[[], datetime],
    max_silence: timedelta = _MAX_SILENCE,
) -> Loop:
    """Return a loop that does not run yet, whose beats and errors the reporter is told of."""
    return Loop(
        name,
        turn,
        clock=clock,
        log=reporter.log,
        max_silence=max_silence,
        on_beat=reporter.turned,
        on_error=reporter.failed,
    )


def list_heartbeats(loops: Sequence[Loop], listener: "Listener | None") -> list[Heartbeat]:
    """Return when each loop last turned."""
    beats = [
        Heartbeat(loop.name, loop.beat_at, loop.max_silence, is_running=loop.is_running)
        for loop in loops
    ]
    if listener is not None:
        is_running = listener.is_running
        beats.append(Heartbeat(LoopName.LISTEN, listener.beat_at, _MAX_SILENCE, is_running))
    return beats


def _reconciler(
    name: LoopName,
    kind: DueQueue,
    tools: Tools,
    clock: Callable[[], datetime],
    draw: Callable[[], float],
) -> Reconciler:
    reporter = tools.reporter
    workers = Workers(name, _RECONCILE_WORKERS, log=reporter.log, on_error=reporter.failed)
    leasing = HeldLeases(tools.database, tables.instances, workers, is_time_sure=tools.is_time_sure)
    applying = Applying(
        database=tools.database,
        novita=tools.novita,
        outbox=tools.outbox,
        limits=tools.limits,
        clock=clock,
        nudges=tools.nudges,
        leasing=leasing,
        on_change=reporter.changed,
        log=reporter.log,
    )
    purchasing = Purchaser(
        applying=applying,
        database=tools.database,
        novita=tools.novita,
        market=tools.market,
        seal=tools.seal,
        limits=tools.limits,
        clock=clock,
        log=reporter.log,
    )
    return Reconciler(
        kind=kind,
        database=tools.database,
        novita=tools.novita,
        purchasing=purchasing,
        applying=applying,
        limits=tools.limits,
        clock=clock,
        random=draw,
        new_token=_new_token,
        workers=workers,
        leasing=leasing,
        log=reporter.log,
    )


def _retention(keep: timedelta, tools: Tools, clock: Callable[[], datetime]) -> Retention | None:
    if not keep:
        return None
    return Retention(
        database=tools.database,
        keep=keep,
        clock=clock,
        new_token=_new_token,
        on_removed=tools.reporter.removed,
        log=tools.reporter.log,
    )


def _new_token() -> str:
    return secrets.token_hex(16)
