"""The service as a process: it starts, serves until it is told to stop, and says how it ended."""

import asyncio
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from gpukeeper import __version__
from gpukeeper.api.app import create_app
from gpukeeper.api.params.orders import order_of
from gpukeeper.config import Settings, prepare_data_dir
from gpukeeper.contract.serialization import format_money
from gpukeeper.dashboard import STATIC_PREFIX, Site, frame, install
from gpukeeper.domain.errors import Fault, GpuKeeperError, InvalidConfiguration
from gpukeeper.port_check import format_url, open_ports
from gpukeeper.runtime import (
    Role,
    Runtime,
    build,
    needed_proof,
    open_novita,
    preflight,
    store_account,
)
from gpukeeper.runtime.database_setup import error_text, explain_store_errors, upgrade
from gpukeeper.runtime.engine_lock import check_locks, lock_engine
from gpukeeper.runtime.maintenance import open_for_command
from gpukeeper.service.fleet import Overview
from gpukeeper.service.time_limit import READ_LIMIT, limit_time
from gpukeeper.store import migrations
from gpukeeper.store.db import schema_check
from gpukeeper.store.db.backup import copy
from gpukeeper.store.db.database import Connection, StoreError
from gpukeeper.store.db.outages import describe_outage
from gpukeeper.telemetry import configure_logging, get_logger, log_outputs
from gpukeeper.telemetry.logs import LOG_FILE
from gpukeeper.web.problems import kind_of
from gpukeeper.web.server.connection_limits import build_protocol
from gpukeeper.web.server.http_server import Server, stop_on_signals
from gpukeeper.web.server.proxies import Proxies
from gpukeeper.webhooks.guard import check_url

# Connections that are still open this long after SIGTERM are closed; the drain follows.
_GRACE_SECONDS = 2
# Connections of callers, webhooks under way and calls to Novita may together pass the usual 1,024.
_OPEN_FILES = 4_096


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was checked."""

    name: str
    is_ok: bool
    message: str


def serve(settings: Settings, role: Role = Role.ALL) -> int:
    """Serve until SIGTERM or SIGINT and return the exit status.

    Raises InvalidConfiguration when the service cannot start as configured, CannotListen when its
    port cannot be had.
    """
    preflight.check_preconditions(settings)
    kept = prepare_data_dir(settings)
    _open_logs(settings)
    _allow_open_files()
    with lock_engine(settings, has_engine=role.has_engine), ExitStack() as at_the_end:
        sockets = open_ports(settings.host, settings.port, setting="GPUKEEPER_PORT")
        for each in sockets:
            at_the_end.callback(each.close)
        runtime = build(settings, role)
        config = _server_config(settings, _app(settings, runtime, kept.secret_key))
        # The loop that the server prefers, uvloop, on which everything that waits costs less.
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            return runner.run(_serve(settings, runtime, role, config, sockets))


def _open_logs(settings: Settings) -> None:
    try:
        configure_logging(
            settings.log_level,
            format=settings.log_format,
            log_dir=settings.log_dir,
            stream=sys.stdout,
        )
    except OSError as error:
        sentence = log_outputs.describe_file_fault(settings.log_dir / LOG_FILE, error)
        raise InvalidConfiguration([Fault("GPUKEEPER_DATA_DIR", sentence)]) from error
    for path, remedy in preflight.find_open_paths(settings):
        get_logger("gpukeeper").warning("open_to_other_users", path=str(path), remedy=remedy)


def _allow_open_files() -> None:
    """Have as many files open as may be needed, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check(settings: Settings) -> tuple[CheckResult, ...]:
    """Check what the service needs, the database and the Novita key; changes and creates nothing.

    Raises InvalidConfiguration with all that the service could not start with, or when the database
    belongs to another account of Novita's.
    """
    preflight.check_preconditions(settings)
    check_locks(settings)
    doubts: list[tuple[str, list[str]]] = []

    def examine(connection: Connection) -> None:
        if not store_account.may_belong(connection, settings):
            machines = store_account.list_known_machines(connection)
            doubts.append((store_account.describe_mismatch(connection, settings), machines))

    database = _check_database(settings, examine)
    for refusal, machines in doubts:
        if asyncio.run(_is_other_account(settings, machines)):
            raise InvalidConfiguration([Fault("NOVITA_API_KEY", refusal)])
    open_paths = [remedy for _, remedy in preflight.find_open_paths(settings)]
    others = f", but other users may read what is kept: {'; '.join(open_paths)}"
    advice = others if open_paths else ""
    return (
        CheckResult("configuration", is_ok=True, message=f"every setting is valid{advice}"),
        database,
        asyncio.run(_check_novita(settings)),
    )


def migrate(settings: Settings) -> str:
    """Bring the database to this version's schema and return its revision; idempotent.

    Raises InvalidConfiguration when that cannot be, with the database's own words, or when the
    database belongs to another account of Novita's.
    """
    with open_for_command(settings) as database:
        with explain_store_errors(settings):
            revision = upgrade(database, settings)
        if (proof := needed_proof(database, settings)) is not None:
            asyncio.run(proof.settle())
        return revision


def backup(settings: Settings, target: Path) -> int:
    """Copy the SQLite database into a new file and return its size in bytes; others may use it.

    Raises InvalidConfiguration without such a database, OSError when the file cannot be written,
    and KeyboardInterrupt, with nothing left behind, when a signal asks the process to end.
    """
    url = settings.database_url
    if url is not None and url.get_secret_value().startswith("postgresql"):
        message = "names a PostgreSQL database: back it up with pg_dump"
        raise InvalidConfiguration([Fault("GPUKEEPER_DATABASE_URL", message)])
    path = settings.database_path
    if not path.exists():
        message = f"there is no database at {path}: run this where the service runs"
        raise InvalidConfiguration([Fault("GPUKEEPER_DATA_DIR", message)])
    # The others end a process as they find it, and would leave half a copy.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    return copy(path, target)


def _server_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=build_protocol(
            proxies=Proxies(settings.trusted_proxies), root_path=settings.root_path
        ),
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


async def _serve(
    settings: Settings,
    runtime: Runtime,
    role: Role,
    config: uvicorn.Config,
    sockets: Sequence[socket.socket],
) -> int:
    server = Server(runtime.service.nudges, config)
    log = get_logger("gpukeeper")
    log.info(
        "starting",
        version=__version__,
        role=role.value,
        url=", ".join(map(format_url, sockets)),
        novita=settings.novita_base_url,
        database=settings.database_name,
        webhooks=len(settings.webhook_urls),
        traces=bool(settings.otel),
    )
    with stop_on_signals(server):
        async with runtime.running():
            await server.serve(list(sockets))
    log.info("stopped")
    return 0


def _app(settings: Settings, runtime: Runtime, secret_key: SecretStr) -> FastAPI:
    def check_webhook_url(url: str) -> str:
        return check_url(url, allow=settings.webhook_allow)

    app = create_app(
        service=runtime.service,
        metrics=runtime.metrics,
        check_webhook_url=check_webhook_url,
        api_keys=settings.api_keys,
        secret_key=secret_key,
        default_region=settings.region,
        default_startup_timeout=settings.startup_timeout,
        version=__version__,
        is_public=lambda path: path.startswith(STATIC_PREFIX),
        proxies=Proxies(settings.trusted_proxies),
        frame=partial(
            frame,
            version=__version__,
            can_log_out=bool(settings.api_keys),
            root_path=settings.root_path,
        ),
        root_path=settings.root_path,
    )
    site = Site(
        service=runtime.service,
        overview=Overview(runtime.service),
        read_order=partial(
            order_of,
            default_region=settings.region,
            default_startup_timeout=settings.startup_timeout,
            check_webhook_url=check_webhook_url,
        ),
        explain=lambda error: kind_of(error)[1],
        new_token=lambda: secrets.token_urlsafe(16),
        default_region=settings.region,
        can_log_out=bool(settings.api_keys),
        version=__version__,
        root_path=settings.root_path,
    )
    install(app, site)
    return app


def _check_database(settings: Settings, also: schema_check.Read) -> CheckResult:
    name = settings.database_name
    try:
        found = _look_into_database(settings, also)
    except StoreError as error:
        sentence = describe_outage(error) or error_text(error)
        return CheckResult("database", is_ok=False, message=f"{name}: {sentence}")
    if found is not None and found.refusal is not None:
        return CheckResult("database", is_ok=False, message=f"{name}: {found.refusal}")
    if found is None or found.revision is None:
        message = f"{name} is empty or not there yet and will be set up at the start"
    elif found.is_older:
        newest = migrations.newest()
        message = f"{name} is at revision {found.revision} and will be migrated to {newest}"
        message += " at the start"
    else:
        message = f"{name} is at revision {found.revision}"
    return CheckResult("database", is_ok=True, message=message)


def _look_into_database(
    settings: Settings, also: schema_check.Read
) -> schema_check.SchemaReport | None:
    if settings.postgres_url is not None:
        return schema_check.check_server(settings.postgres_url.get_secret_value(), also)
    path = settings.database_path
    return schema_check.check_file(path, also) if path.exists() else None


async def _is_other_account(settings: Settings, machines: Sequence[str]) -> bool:
    """Whether Novita shows none of these machines to our key; not if it cannot be asked."""
    novita = open_novita(settings)
    try:
        return not await store_account.is_shown(novita, machines)
    except GpuKeeperError:
        return False
    finally:
        await novita.aclose()


async def _check_novita(settings: Settings) -> CheckResult:
    novita = open_novita(settings)
    try:
        async with limit_time(READ_LIMIT, novita):
            balance = await novita.balance()
            clusters = await novita.clusters()
    except GpuKeeperError as error:
        return CheckResult("novita", is_ok=False, message=error.message)
    finally:
        await novita.aclose()
    regions = ", ".join(sorted(cluster.region for cluster in clusters))
    is_known = any(settings.region.casefold() in _names(c.id, c.name) for c in clusters)
    if not is_known:
        message = f"GPUKEEPER_REGION is '{settings.region}'; Novita's regions are {regions}"
        return CheckResult("novita", is_ok=False, message=message)
    message = f"{settings.novita_base_url} accepts the key; balance ${format_money(balance)}"
    return CheckResult("novita", is_ok=True, message=message)


def _names(cluster_id: str, name: str) -> set[str]:
    return {cluster_id.casefold(), name.casefold(), name.split(" ", 1)[0].casefold()}
