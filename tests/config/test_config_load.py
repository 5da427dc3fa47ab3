"""What may be configured, its defaults, and where it is read from."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from gpukeeper.config import Settings, load, value_of, variables
from gpukeeper.domain.errors import Fault, InvalidConfiguration

KEY = {"NOVITA_API_KEY": "sk_novita"}
WEBHOOK_SECRET = "whsec_" + "YWJj" * 8
SECRET_KEY = "A" * 43 + "="


def read(environ: Mapping[str, str]) -> Settings:
    """Return the settings of an environment alone."""
    return load(KEY | dict(environ), env_file=None)


def faults_of(environ: Mapping[str, str], *, env_file: Path | None = None) -> list[Fault]:
    """Return the faults of an environment."""
    with pytest.raises(InvalidConfiguration) as caught:
        load(environ, env_file=env_file)
    return list(caught.value.faults)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read({})

    assert settings.novita_api_key.get_secret_value() == "sk_novita"
    assert settings.novita_base_url == "https://api.novita.ai"
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.api_keys == ()
    assert settings.data_dir == Path("data")
    assert settings.database_path == Path("data/gpukeeper.db")
    assert settings.log_dir == Path("data/logs")
    assert (settings.webhook_urls, settings.webhook_secrets) == ((), ())
    assert (settings.webhook_retries, settings.webhook_backoff) == (3, timedelta(seconds=2))
    assert settings.webhook_timeout == timedelta(seconds=10)
    assert (settings.webhook_allow.hosts, settings.webhook_allow.networks) == (frozenset(), ())
    assert settings.region == "CN-HK-01"
    assert settings.poll_interval == timedelta(seconds=30)
    assert settings.startup_timeout == timedelta(seconds=600)
    assert settings.sweep_interval == timedelta(seconds=60)
    assert settings.adoption_window == timedelta(seconds=90)
    assert settings.secret_key is None
    assert (settings.trusted_proxies, settings.keep_alive) == ((), 75)
    assert (settings.novita_timeout, settings.novita_retries) == (timedelta(seconds=30), 3)
    assert settings.novita_rate == 10
    assert (settings.log_level, settings.log_format) == ("info", None)


def test_a_database_on_postgresql_is_named_without_its_password() -> None:
    url = "postgresql://me:hunter22@a.example,b.example:5433/gpu?sslmode=require"
    settings = read({"GPUKEEPER_DATABASE_URL": url})
    assert settings.postgres_url is not None
    assert settings.postgres_url.get_secret_value() == url
    assert settings.database_name == "postgresql://a.example,b.example:5433/gpu"
    assert "hunter22" not in repr(settings)


def test_without_postgresql_the_database_is_called_by_its_file() -> None:
    assert read({}).postgres_url is None
    assert read({}).database_name == "data/gpukeeper.db"


def test_trusted_proxies_are_addresses_and_networks() -> None:
    settings = read({"GPUKEEPER_TRUSTED_PROXIES": " 192.0.2.1, 10.0.0.0/8,[fd00::1], fd00::/8,"})
    named = ["192.0.2.1/32", "10.0.0.0/8", "fd00::1/128", "fd00::/8"]
    assert [str(network) for network in settings.trusted_proxies] == named
    for wrong in ("proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*"):
        (fault,) = faults_of(KEY | {"GPUKEEPER_TRUSTED_PROXIES": wrong})
        assert fault.field == "GPUKEEPER_TRUSTED_PROXIES"
        assert wrong not in fault.message or wrong == "*"


def test_every_variable_is_read() -> None:
    settings = read(
        {
            "NOVITA_BASE_URL": "http://127.0.0.1:9000/novita/",
            "GPUKEEPER_HOST": "::",
            "GPUKEEPER_PORT": "0",
            "GPUKEEPER_API_KEYS": " aaaaaaaaaaaaaaaa , bbbbbbbbbbbbbbbb,",
            "GPUKEEPER_DATA_DIR": "/var/lib/gpukeeper",
            "GPUKEEPER_DATABASE_URL": "sqlite:////srv/gpu.db",
            "GPUKEEPER_WEBHOOK_URL": "https://a.example/x,http://127.0.0.1:9/y,https://a.example/x",
            "GPUKEEPER_WEBHOOK_SECRET": f"{WEBHOOK_SECRET},{WEBHOOK_SECRET}YWJj",
            "GPUKEEPER_WEBHOOK_RETRIES": "0",
            "GPUKEEPER_WEBHOOK_BACKOFF": "0.5",
            "GPUKEEPER_WEBHOOK_TIMEOUT": "5",
            "GPUKEEPER_WEBHOOK_ALLOW": "hooks.internal,10.0.0.0/8",
            "GPUKEEPER_REGION": "us-ca-6",
            "GPUKEEPER_POLL_INTERVAL": "15",
            "GPUKEEPER_STARTUP_TIMEOUT": "60",
            "GPUKEEPER_SWEEP_INTERVAL": "0",
            "GPUKEEPER_ADOPTION_WINDOW": "120",
            "GPUKEEPER_RETENTION": "1.5",
            "GPUKEEPER_SECRET_KEY": SECRET_KEY,
            "GPUKEEPER_NOVITA_TIMEOUT": "9",
            "GPUKEEPER_NOVITA_RETRIES": "1",
            "GPUKEEPER_NOVITA_RATE": "2.5",
            "GPUKEEPER_LOG_LEVEL": "DEBUG",
            "GPUKEEPER_LOG_FORMAT": "json",
        }
    )

    assert settings.novita_base_url == "http://127.0.0.1:9000/novita"
    assert (settings.host, settings.port) == ("::", 0)
    keys = [key.get_secret_value() for key in settings.api_keys]
    assert keys == ["a" * 16, "b" * 16]
    assert settings.data_dir == Path("/var/lib/gpukeeper")
    assert settings.database_path == Path("/srv/gpu.db")
    assert settings.webhook_urls == ("https://a.example/x", "http://127.0.0.1:9/y")
    assert len(settings.webhook_secrets) == 2
    assert (settings.webhook_retries, settings.webhook_backoff) == (0, timedelta(seconds=0.5))
    assert settings.webhook_timeout == timedelta(seconds=5)
    assert settings.webhook_allow.hosts == {"hooks.internal"}
    assert settings.webhook_allow.networks == (IPv4Network("10.0.0.0/8"),)
    assert settings.region == "us-ca-6"
    assert settings.retention == timedelta(hours=36)
    assert settings.poll_interval == timedelta(seconds=15)
    assert settings.startup_timeout == timedelta(seconds=60)
    assert settings.sweep_interval == timedelta(0)
    assert settings.adoption_window == timedelta(seconds=120)
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == SECRET_KEY
    assert (settings.novita_timeout, settings.novita_retries) == (timedelta(seconds=9), 1)
    assert settings.novita_rate == 2.5
    assert (settings.log_level, settings.log_format) == ("debug", "json")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("NOVITA_API_KEY=from-file\n# note\nexport GPUKEEPER_PORT='9000'\n")

    settings = load({"GPUKEEPER_PORT": "9001"}, env_file=env_file)

    assert settings.novita_api_key.get_secret_value() == "from-file"
    assert settings.port == 9001


def test_an_unknown_setting_in_the_file_is_a_fault_too(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("GPUKEEPER_POTR=1\nOTHER=1\n")

    assert [fault.field for fault in faults_of(KEY, env_file=env_file)] == ["GPUKEEPER_POTR"]


def test_a_missing_file_is_no_fault(tmp_path: Path) -> None:
    assert load(KEY, env_file=tmp_path / ".env") == read({})


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"GPUKEEPER_PORT=\xff")

    (fault,) = faults_of(KEY, env_file=env_file)

    assert fault == Fault(str(env_file), "cannot be read: it is not text in UTF-8")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("GPUKEEPER_PORT=9000\nGPUKEEPER_REGION 'hunter22'\n", 2),
        ("# note\n\nNOVITA_API_KEY='hunter22\n", 3),
        ("=hunter22\n", 1),
        ("OTHER\nGPUKEEPER_REGION\n", 2),
    ],
)
def test_a_line_of_the_file_that_says_nothing_is_a_fault_that_names_it(
    tmp_path: Path, text: str, line: int
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(text)

    (fault,) = faults_of(KEY, env_file=env_file)

    assert fault == Fault(f"{env_file} line {line}", "is not NAME=value, or its quote is open")


def test_one_setting_is_found_whatever_the_others_are_like(tmp_path: Path) -> None:
    env_file, secret = tmp_path / ".env", tmp_path / "secret"
    env_file.write_text("GPUKEEPER_DATA_DIR=/srv\nGPUKEEPER_TYPO=1\n")
    secret.write_text(f"{WEBHOOK_SECRET}\n")
    environ = {"GPUKEEPER_WEBHOOK_SECRET_FILE": str(secret), "GPUKEEPER_PORT": "many"}

    assert value_of("GPUKEEPER_DATA_DIR", environ, env_file=env_file) == "/srv"
    assert value_of("GPUKEEPER_WEBHOOK_SECRET", environ, env_file=env_file) == WEBHOOK_SECRET
    assert value_of("GPUKEEPER_REGION", environ, env_file=env_file) is None
    secret.unlink()
    with pytest.raises(InvalidConfiguration):
        value_of("GPUKEEPER_WEBHOOK_SECRET", environ, env_file=env_file)


def test_the_process_s_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVITA_API_KEY", "sk_process")
    monkeypatch.setenv("GPUKEEPER_PORT", "9002")

    assert load(env_file=None).port == 9002


def test_no_secret_is_in_the_text_of_the_settings() -> None:
    settings = read({"GPUKEEPER_API_KEYS": "k" * 16, "GPUKEEPER_WEBHOOK_SECRET": WEBHOOK_SECRET})

    for secret in ("sk_novita", "k" * 16, WEBHOOK_SECRET):
        assert secret not in repr(settings) + str(settings)


def test_the_settings_do_not_change() -> None:
    settings = read({})

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_every_variable_is_documented_with_its_default() -> None:
    found = {variable.name: variable for variable in variables()}

    assert len(found) == 28
    assert found["GPUKEEPER_POLL_INTERVAL"].default == "30"
    assert found["GPUKEEPER_RETENTION"].default == "90"
    assert found["GPUKEEPER_DATA_DIR"].default == "./data"
    assert found["NOVITA_API_KEY"].is_secret
    assert not found["GPUKEEPER_PORT"].is_secret
    for variable in found.values():
        assert variable.sentence.endswith("."), variable.name
