"""Run the program in this process against a scripted service."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from gpukeeper.cli.main import main
from gpukeeper.cli.service_access import Access
from tests.client.fake_service import FakeService, FakeTime

_OF_THIS_MACHINE = (
    "GPUKEEPER_URL",
    "GPUKEEPER_API_KEY",
    "GPUKEEPER_PROFILE",
    "GPUKEEPER_DATA_DIR",
    "GPUKEEPER_WEBHOOK_SECRET",
    "NOVITA_API_KEY",
    "NO_COLOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    *(f"{each}_proxy" for each in ("http", "https", "all", "no")),
    *(f"{each}_PROXY" for each in ("HTTP", "HTTPS", "ALL", "NO")),
)

NOW = datetime(2026, 11, 23, 5, 21, tzinfo=UTC)

# A terminal as wide as any, and no configuration of the user's.
_HERE = {"COLUMNS": "80", "TERM": "xterm", "XDG_CONFIG_HOME": os.devnull}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the program ended."""

    status: int
    stdout: str
    stderr: str


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@dataclass(frozen=True, slots=True)
class Program:
    """The program, its service and its time; nothing of this machine's environment."""

    monkeypatch: pytest.MonkeyPatch
    service: FakeService = field(default_factory=FakeService)
    time: FakeTime = field(default_factory=FakeTime)

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        on_terminal: bool = False,
    ) -> Ended:
        """Run the program with these arguments; ``on_terminal`` as if a person sat there."""
        access = Access(
            connect=self.service.connect,
            clock=self.time.clock,
            now=lambda: NOW,
            sleep=self.time.sleep,
        )
        stream = Terminal if on_terminal else io.StringIO
        stdout, stderr = stream(), stream()
        with self.monkeypatch.context() as patch:
            for name in _OF_THIS_MACHINE:
                patch.delenv(name, raising=False)
            for name, value in {**_HERE, **(env or {})}.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", stream(stdin))
            patch.setattr("sys.stdout", stdout)
            patch.setattr("sys.stderr", stderr)
            with pytest.raises(SystemExit) as ended:
                main(arguments, access=access)
        status = ended.value.code
        assert isinstance(status, int)
        return Ended(status, stdout.getvalue(), stderr.getvalue())
