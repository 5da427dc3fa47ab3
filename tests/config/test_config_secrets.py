"""Secrets: given as files, or generated once and kept."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpukeeper.config import Settings, examine_data_dir, load, prepare_data_dir
from gpukeeper.config.data_dir import SECRET_KEY_FILE, WEBHOOK_SECRET_FILE
from gpukeeper.domain.errors import Fault, InvalidConfiguration

WEBHOOK_SECRET = "whsec_" + "YWJj" * 8
SECRET_KEY = "B" * 43 + "="

SECRETS = {
    "NOVITA_API_KEY": "sk_novita",
    "GPUKEEPER_API_KEYS": "a" * 16,
    "GPUKEEPER_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "GPUKEEPER_SECRET_KEY": SECRET_KEY,
    "GPUKEEPER_DATABASE_URL": "sqlite:///x.db",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings whose data directory does not exist yet."""
    return load(
        {"NOVITA_API_KEY": "sk", "GPUKEEPER_DATA_DIR": str(tmp_path / "a" / "data")}, env_file=None
    )


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def fault_of(environ: dict[str, str]) -> Fault:
    """Return the only fault of an environment."""
    with pytest.raises(InvalidConfiguration) as caught:
        load(environ, env_file=None)
    (fault,) = caught.value.faults
    return fault


def test_every_secret_may_be_given_as_a_file(tmp_path: Path) -> None:
    environ = {}
    for name, secret in SECRETS.items():
        (tmp_path / name).write_text(f"{secret}\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)

    assert load(environ, env_file=None) == load(SECRETS, env_file=None)


def test_a_file_of_keys_may_have_one_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{'a' * 16}\n{'b' * 16}\n")

    settings = load({"NOVITA_API_KEY": "sk", "GPUKEEPER_API_KEYS_FILE": str(path)}, env_file=None)

    assert len(settings.api_keys) == 2


def test_keys_in_a_file_protect_a_host_that_others_reach(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("a" * 16)
    environ = {
        "NOVITA_API_KEY": "sk",
        "GPUKEEPER_HOST": "0.0.0.0",
        "GPUKEEPER_API_KEYS_FILE": str(path),
    }

    assert load(environ, env_file=None).host == "0.0.0.0"


def test_a_secret_is_not_given_in_two_ways(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk_other")

    fault = fault_of({"NOVITA_API_KEY": "sk", "NOVITA_API_KEY_FILE": str(path)})

    expected = "is given together with NOVITA_API_KEY: keep one of them"
    assert fault == Fault("NOVITA_API_KEY_FILE", expected)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b" \n", "it is empty"),
        (b"\xff", "it is not text in UTF-8"),
        (b"a" * 70_000, "it is too large to be a secret"),
    ],
)
def test_a_file_without_a_secret_is_one_fault(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    fault = fault_of({"NOVITA_API_KEY_FILE": str(path)})

    expected = f"names {path}, which cannot be used: {problem}"
    assert fault == Fault("NOVITA_API_KEY_FILE", expected)


def test_a_wrong_secret_in_a_file_is_a_fault_of_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("hunter22")

    fault = fault_of({"NOVITA_API_KEY": "sk", "GPUKEEPER_SECRET_KEY_FILE": str(path)})

    assert fault.field == "GPUKEEPER_SECRET_KEY"
    assert "hunter22" not in fault.message


def test_only_secrets_may_be_given_as_files() -> None:
    fault = fault_of({"NOVITA_API_KEY": "sk", "GPUKEEPER_PORT_FILE": "/run/secrets/port"})

    assert fault.message.startswith("is not a setting of this version")


def test_what_is_missing_is_generated_once_and_kept_for_us_alone(settings: Settings) -> None:
    first = prepare_data_dir(settings)

    again = prepare_data_dir(settings)

    assert first == again
    assert mode_of(settings.data_dir) == mode_of(settings.log_dir) == 0o700
    names = {path.name for path in settings.data_dir.iterdir()}
    assert names == {"logs", SECRET_KEY_FILE, WEBHOOK_SECRET_FILE}
    for name in (SECRET_KEY_FILE, WEBHOOK_SECRET_FILE):
        assert mode_of(settings.data_dir / name) == 0o600
    (webhook,) = first.webhook
    assert webhook.get_secret_value().startswith("whsec_")
    kept = {first.secret_key.get_secret_value(), webhook.get_secret_value()}
    assert kept == {
        (settings.data_dir / name).read_text().strip()
        for name in (SECRET_KEY_FILE, WEBHOOK_SECRET_FILE)
    }
    for secret in kept:
        assert secret not in repr(first)


def test_two_services_have_different_secrets(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})

    assert prepare_data_dir(settings) != prepare_data_dir(other)


def test_processes_that_start_together_get_the_same_secrets(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(prepare_data_dir, [settings] * 32))

    assert found.count(found[0]) == 32


def test_what_another_process_has_kept_is_never_overwritten(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    path = settings.data_dir / SECRET_KEY_FILE

    def slow(size: int) -> bytes:
        if size == 32 and not path.exists():
            path.write_text(SECRET_KEY)
        return b"x" * size

    found = prepare_data_dir(settings, random_bytes=slow)

    assert found.secret_key.get_secret_value() == path.read_text() == SECRET_KEY


def test_what_is_configured_is_not_generated(tmp_path: Path) -> None:
    environ = SECRETS | {"GPUKEEPER_DATA_DIR": str(tmp_path)}

    found = prepare_data_dir(load(environ, env_file=None))

    assert found.secret_key.get_secret_value() == SECRET_KEY
    assert [each.get_secret_value() for each in found.webhook] == [WEBHOOK_SECRET]
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (SECRET_KEY_FILE, "GPUKEEPER_SECRET_KEY"),
        (WEBHOOK_SECRET_FILE, "GPUKEEPER_WEBHOOK_SECRET"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"hunter22", b"\xff\xfe"])
def test_a_damaged_secret_is_told_and_not_replaced(
    settings: Settings, name: str, field: str, content: bytes
) -> None:
    prepare_data_dir(settings)
    path = settings.data_dir / name
    path.write_bytes(content)

    with pytest.raises(InvalidConfiguration) as caught:
        prepare_data_dir(settings)

    (fault,) = caught.value.faults
    assert fault.field == field
    assert str(path) in fault.message
    assert "hunter22" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_data_directory_that_is_a_file_is_told(settings: Settings) -> None:
    settings.data_dir.parent.mkdir()
    settings.data_dir.write_text("")

    with pytest.raises(InvalidConfiguration) as caught:
        prepare_data_dir(settings)

    assert caught.value.faults[0].field == "GPUKEEPER_DATA_DIR"


def test_a_data_directory_that_cannot_be_written_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root, permissions alone would not keep us out.
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(InvalidConfiguration) as caught:
        prepare_data_dir(settings)

    expected = Fault("GPUKEEPER_DATA_DIR", f"{settings.data_dir} cannot be written to")
    (fault,) = caught.value.faults
    assert fault.field == expected.field
    assert fault.message.startswith(expected.message)


def test_a_disk_that_is_full_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(InvalidConfiguration) as caught:
        prepare_data_dir(settings)

    (fault,) = caught.value.faults
    assert fault.field == "GPUKEEPER_DATA_DIR"
    assert "No space left on device" in fault.message
    assert [path.name for path in settings.data_dir.iterdir()] == ["logs"]


@pytest.mark.parametrize("use", [prepare_data_dir, examine_data_dir])
@pytest.mark.parametrize("name", ["a", "a/data"])
def test_a_data_directory_that_is_a_file_is_called_one(
    settings: Settings, tmp_path: Path, name: str, use: Callable[[Settings], object]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(InvalidConfiguration, match=f"GPUKEEPER_DATA_DIR: {path} is a file, not"):
        use(settings)


def test_examining_a_data_directory_creates_nothing(settings: Settings, tmp_path: Path) -> None:
    examine_data_dir(settings)
    assert list(tmp_path.iterdir()) == []


def test_examining_a_data_directory_finds_a_damaged_secret(settings: Settings) -> None:
    prepare_data_dir(settings)
    examine_data_dir(settings)
    (settings.data_dir / WEBHOOK_SECRET_FILE).write_text("damaged")
    with pytest.raises(InvalidConfiguration, match="GPUKEEPER_WEBHOOK_SECRET: was kept in"):
        examine_data_dir(settings)
