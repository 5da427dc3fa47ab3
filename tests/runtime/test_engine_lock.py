"""A SQLite store has one engine, wherever those that ask for it have their data."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukeeper import process
from gpukeeper.config import Settings
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.runtime import Role
from gpukeeper.telemetry import shut_down_logging
from tests.runtime.conftest import Configure


class Started(Exception):
    """A service was about to be built."""


@pytest.fixture(autouse=True)
def _without_logs_in_the_end() -> Iterator[None]:
    yield
    shut_down_logging()


def refusal_beside(
    monkeypatch: pytest.MonkeyPatch, running: Settings, second: Settings, role: Role = Role.ALL
) -> Fault | None:
    """Serve; return why a second service that is started meanwhile is refused, if it is."""
    faults: list[Fault] = []

    def start_second(settings: Settings, _role: Role) -> None:
        if settings is second:
            raise Started
        try:
            process.serve(second, role)
        except InvalidConfiguration as error:
            faults.extend(error.faults)
        raise Started

    monkeypatch.setattr(process, "build", start_second)
    with pytest.raises(Started):
        process.serve(running)
    return faults[0] if faults else None


@pytest.mark.parametrize("is_named_by_both", [True, False])
def test_one_database_has_one_engine_though_their_data_is_apart(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path, is_named_by_both: bool
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    path = first / "gpukeeper.db"
    (tmp_path / "link.db").symlink_to(path)
    url = {"GPUKEEPER_DATABASE_URL": f"sqlite:///{path}"}
    linked = {"GPUKEEPER_DATABASE_URL": f"sqlite:///{tmp_path / 'link.db'}"}
    fault = refusal_beside(
        monkeypatch,
        configure(GPUKEEPER_DATA_DIR=str(first), **(url if is_named_by_both else {})),
        configure(GPUKEEPER_DATA_DIR=str(second), **linked),
    )
    assert fault is not None
    assert fault.field == "GPUKEEPER_DATABASE_URL"
    assert fault.message.startswith("another gpukeeper runs on")


def test_one_data_directory_has_one_engine(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path
) -> None:
    other = configure(GPUKEEPER_DATABASE_URL=f"sqlite:///{tmp_path / 'other.db'}")
    fault = refusal_beside(monkeypatch, configure(), other)
    assert fault is not None
    assert fault.field == "GPUKEEPER_DATA_DIR"


def test_an_api_beside_an_engine_and_stores_apart_are_served(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path
) -> None:
    apart = configure(GPUKEEPER_DATA_DIR=str(tmp_path / "apart"))
    assert refusal_beside(monkeypatch, configure(), apart) is None
    assert refusal_beside(monkeypatch, configure(), configure(), role=Role.API) is None


def test_a_database_in_a_directory_that_is_not_there_is_named(
    configure: Configure, tmp_path: Path
) -> None:
    settings = configure(GPUKEEPER_DATABASE_URL=f"sqlite:///{tmp_path}/none/there.db")
    with pytest.raises(InvalidConfiguration, match=r"none/there\.db cannot be locked: No such"):
        process.serve(settings)
