"""The commands that run, check and prepare the service."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpukeeper import port_check, process
from gpukeeper.cli.commands.daemon import Role
from gpukeeper.process import CheckResult
from gpukeeper.runtime import Role as RuntimeRole
from gpukeeper.simulator.novita_api import simulator_server
from tests.cli.program import Program

KEY = {"NOVITA_API_KEY": "sk-for-tests-0123456789"}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    # Whoever uses a port of this machine at the moment has nothing to do with these tests.
    monkeypatch.setattr(port_check, "open_ports", lambda host, port, **_: (Taken(host, port),))


@dataclass(frozen=True, slots=True)
class Taken:
    """A socket that has an address."""

    host: str
    port: int

    def getsockname(self) -> tuple[str, int]:
        """Return it."""
        return (self.host, self.port)


def replace(
    monkeypatch: pytest.MonkeyPatch, name: str, does: Callable[..., object]
) -> list[tuple[Any, dict[str, Any]]]:
    """Replace a function of the service's process and return the list of its calls."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def stand_in(settings: object, **named: object) -> object:
        calls.append((settings, named))
        return does()

    monkeypatch.setattr(process, name, stand_in)
    return calls


@pytest.mark.parametrize("command", ["serve", "check", "migrate"])
def test_bad_configuration_ends_with_78_and_every_fault_on_its_own_line(
    program: Program, command: str
) -> None:
    ended = program.run(command, env={"GPUKEEPER_PORT": "many", "GPUKEEPER_TYPO": "x"})
    assert (ended.status, ended.stdout) == (78, "")
    named = [line.split(":")[0] for line in ended.stderr.splitlines()]
    assert sorted(named) == ["GPUKEEPER_PORT", "GPUKEEPER_TYPO", "NOVITA_API_KEY"]


@pytest.mark.parametrize("role", ["all", "api", "engine"])
def test_serve_runs_a_role_and_ends_with_its_status(
    program: Program, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    calls = replace(monkeypatch, "serve", lambda: 3)
    ended = program.run("serve", "--role", role, env=KEY | {"GPUKEEPER_PORT": "8123"})
    assert ended.status == 3
    [(settings, named)] = calls
    assert (settings.port, named) == (8123, {"role": role})


def test_the_roles_are_those_of_the_service() -> None:
    assert [role.value for role in Role] == [role.value for role in RuntimeRole]


def test_serve_runs_everything_unless_told_otherwise(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = replace(monkeypatch, "serve", lambda: 0)
    assert program.run("serve", env=KEY).status == 0
    assert calls[0][1] == {"role": "all"}


@pytest.mark.parametrize(("is_ok", "status", "mark"), [(True, 0, "✓"), (False, 1, "✗")])
def test_check_prints_each_result_and_fails_with_any(
    program: Program, monkeypatch: pytest.MonkeyPatch, is_ok: bool, status: int, mark: str
) -> None:
    results = (
        CheckResult("database", is_ok=True, message="at revision 0001"),
        CheckResult("novita", is_ok=is_ok, message="the key\nwas asked"),
    )
    replace(monkeypatch, "check", lambda: results)
    ended = program.run("check", env=KEY)
    assert ended.status == status
    assert ended.stdout == f"✓ database: at revision 0001\n{mark} novita: the key was asked\n"


def test_check_ends_with_78_where_the_service_could_not_start(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = (
        CheckResult("database", is_ok=False, message="it is damaged"),
        CheckResult("novita", is_ok=False, message="it is away"),
    )
    replace(monkeypatch, "check", lambda: results)
    assert program.run("check", env=KEY).status == 78


def test_migrate_prints_the_revision(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "migrate", lambda: "0001")
    ended = program.run("migrate", env=KEY)
    assert (ended.status, ended.stdout) == (0, "0001\n")


def test_simulate_serves_and_says_where_and_how_to_use_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(simulator_server, "serve", lambda *arguments: served.append(arguments))
    ended = program.run("simulate", "--port", "9191", "--fast", "--speed", "10", "--seed", "7")
    assert (ended.status, ended.stdout) == (0, "")
    [(sockets, settings)] = served
    assert sockets == (Taken("127.0.0.1", 9191),)
    assert (settings.seed, settings.clock_speed, settings.spot_lifetime_seconds) == (7, 10.0, 0.0)
    assert "NOVITA_BASE_URL=http://127.0.0.1:9191" in ended.stderr
    assert ended.stderr.count("curl") == 2


def test_simulate_sells_other_ids_at_each_start_unless_a_seed_is_given(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(
        simulator_server, "serve", lambda sockets, settings: seeds.append(settings.seed)
    )
    said = [program.run("simulate").stderr for _ in range(2)]
    assert seeds[0] != seeds[1]
    assert [f"--seed {seed}" in words for seed, words in zip(seeds, said, strict=True)] == [
        True
    ] * 2


def test_simulate_behaves_as_novita_does_unless_told_otherwise(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(simulator_server, "serve", lambda *arguments: served.append(arguments))
    ended = program.run("simulate", "--host", "::1")
    assert served[0][1].spot_lifetime_seconds > 0
    assert "http://[::1]:9090" in ended.stderr
