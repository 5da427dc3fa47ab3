"""What the service could not start with is found at once, by `check` as by `serve`."""

import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gpukeeper import process
from gpukeeper.config import Settings
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from tests.runtime.conftest import Configure


@pytest.fixture(params=["check", "serve"])
def refuse(request: pytest.FixtureRequest) -> Callable[[Settings], list[Fault]]:
    """Give a function that starts or checks the service and returns the faults."""

    def faults(settings: Settings) -> list[Fault]:
        with pytest.raises(InvalidConfiguration) as caught:
            (process.check if request.param == "check" else process.serve)(settings)
        return list(caught.value.faults)

    return faults


Refuse = Callable[[Settings], list[Fault]]


def test_a_log_file_that_cannot_be_opened_is_named(refuse: Refuse, configure: Configure) -> None:
    settings = configure()
    (settings.log_dir / "gpukeeper.log").mkdir(parents=True)

    (fault,) = refuse(settings)

    assert fault.field == "GPUKEEPER_DATA_DIR"
    assert fault.message.startswith(
        f"{settings.log_dir / 'gpukeeper.log'} cannot be written to (Is a directory)"
    )


def test_a_file_in_the_place_of_the_logs_is_named(refuse: Refuse, configure: Configure) -> None:
    settings = configure()
    settings.data_dir.mkdir()
    settings.log_dir.touch()

    (fault,) = refuse(settings)

    assert fault.field == "GPUKEEPER_DATA_DIR"
    assert "Not a directory" in fault.message


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("203.0.113.7", "Cannot assign requested address"),
        ("no-such-host.invalid", "Cannot listen on no-such-host.invalid port 8080"),
        ("a" * 70 + ".example", "no such host"),
    ],
)
def test_an_address_that_is_not_of_this_machine_is_a_fault_of_the_host(
    refuse: Refuse, configure: Configure, host: str, why: str
) -> None:
    (fault,) = refuse(configure(GPUKEEPER_HOST=host, GPUKEEPER_API_KEYS="k" * 16))

    assert fault.field == "GPUKEEPER_HOST"
    assert why in fault.message
    assert fault.message.endswith("GPUKEEPER_HOST names another one.")


def test_a_port_that_needs_privileges_is_a_fault_of_the_port(
    refuse: Refuse, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may listen anywhere.
    monkeypatch.setattr(socket.socket, "bind", deny)

    (fault,) = refuse(configure(GPUKEEPER_PORT="80"))

    assert fault.field == "GPUKEEPER_PORT"
    assert "(ports below 1024 need privileges)" in fault.message


def test_too_few_open_files_are_named(
    refuse: Refuse, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))

    (fault,) = refuse(configure())

    assert fault.field == "ulimit -n"
    assert fault.message.startswith("allows 64 open files, too few for the service")


def test_everything_is_told_at_once(refuse: Refuse, configure: Configure) -> None:
    settings = configure(GPUKEEPER_HOST="203.0.113.7", GPUKEEPER_API_KEYS="k" * 16)
    settings.data_dir.mkdir()
    settings.log_dir.touch()

    assert [fault.field for fault in refuse(settings)] == ["GPUKEEPER_DATA_DIR", "GPUKEEPER_HOST"]


def test_a_working_directory_that_is_gone_is_named(
    refuse: Refuse, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    (fault,) = refuse(configure(GPUKEEPER_DATA_DIR="data"))

    assert fault.field == "GPUKEEPER_DATA_DIR"
    assert "the directory that the program was started in is gone" in fault.message


def test_a_log_that_fails_at_the_last_moment_is_a_fault_too(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(process, "configure_logging", fail)

    with pytest.raises(InvalidConfiguration, match="Read-only file system"):
        process.serve(configure())


def test_a_port_that_somebody_listens_on_is_none_of_the_check_s_business(
    configure: Configure,
) -> None:
    # It may be the service itself that runs.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = process.check(configure(GPUKEEPER_PORT=str(listener.getsockname()[1])))

    assert found[0].is_ok


def test_a_data_directory_that_others_may_enter_is_said_and_left_as_it_is(
    configure: Configure,
) -> None:
    settings = configure()
    settings.log_dir.mkdir(parents=True)
    settings.data_dir.chmod(0o755)
    for name, mode in (("secret_key", 0o644), ("gpukeeper.db", 0o600)):
        (settings.data_dir / name).touch()
        (settings.data_dir / name).chmod(mode)
    (settings.data_dir / "secret_key").write_text("A" * 43 + "=")
    (settings.log_dir / "gpukeeper.log").touch()
    (settings.log_dir / "gpukeeper.log").chmod(0o640)

    said = process.check(settings)[0].message

    assert said == (
        "every setting is valid, but other users may read what is kept: "
        f"chmod 700 {settings.data_dir}; "
        f"chmod 600 {settings.log_dir / 'gpukeeper.log'}; "
        f"chmod 600 {settings.data_dir / 'secret_key'}"
    )
    assert settings.data_dir.stat().st_mode & 0o777 == 0o755
    settings.data_dir.chmod(0o700)
    assert process.check(settings)[0].message == "every setting is valid"
