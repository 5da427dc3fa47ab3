"""How faults of the configuration are told."""

import re
from pathlib import Path

import pytest

from gpukeeper.config import variables
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from tests.config.test_config_load import KEY, WEBHOOK_SECRET, faults_of, read

SECONDS = "must be a number of seconds above 0, such as 30 or 0.5"
DAYS = "must be a number of days of at most 9999 (0 keeps everything), such as 90 or 0.5"
BASE_URL = "must be an http:// or https:// URL such as https://api.novita.ai"
API_KEYS = "each key must have at least 16 characters; 'openssl rand -hex 24' makes a good one"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("NOVITA_API_KEY", "two words", "must consist of letters, digits and signs without spaces"),
        *(
            ("NOVITA_BASE_URL", text, BASE_URL)
            for text in (
                "api.novita.ai",
                "ftp://api.novita.ai",
                "https://",
                "https://user:secret@api.novita.ai",
                "https://api.novita.ai?x",
                "https://api.novita.ai/#",
                "https://[::1",
                "https://api.novita.ai:0",
                "https://api.novita.ai/ü",
            )
        ),
        *(
            (
                "GPUKEEPER_HOST",
                text,
                "must be an IP address or a host name, such as 127.0.0.1 or 0.0.0.0",
            )
            for text in ("http://localhost", "a b", "*", "-", "127.0.0.1:80")
        ),
        *(
            ("GPUKEEPER_PORT", text, "must be a whole number between 0 and 65535")
            for text in ("-1", "65536", "http", "80.0", "8_0", "٨٠")
        ),
        *(
            ("GPUKEEPER_ROOT_PATH", text, "must be a path such as /gpukeeper: a slash first, ")
            for text in (
                *("gpukeeper", "http://host/gpukeeper", "//host", "/a//b", "/a/../b", "/..", "/."),
                *(
                    "/a/./b",
                    "/a b",
                    "/a%2fb",
                    "/a?b",
                    "/a#b",
                    "/a\\b",
                    "/ü",
                    "/a'b",
                    "/" + "a" * 200,
                ),
            )
        ),
        *(
            ("GPUKEEPER_ROOT_PATH", text, "must not begin with /")
            for text in ("/api", "/api/", "/instances/gpukeeper", "/static", "/login")
        ),
        *(("GPUKEEPER_RETENTION", text, DAYS) for text in ("-1", "90d", "10000", "forever", "1e3")),
        *(("GPUKEEPER_API_KEYS", text, API_KEYS) for text in ("short", f"{'a' * 16},b", ",", ",,")),
        (
            "GPUKEEPER_DATA_DIR",
            "~no-such-user/data",
            "must be a path; there is no such user's home",
        ),
        *(
            ("GPUKEEPER_DATABASE_URL", text, "must be postgresql://user:password@host/database")
            for text in (
                "mysql://host/db",
                "gpu.db",
                "postgresql+psycopg://host/db",
                "postgresql://user:password@host",
                "postgresql://user:password@host/",
                "postgresql:///db",
                "postgresql://user:pass#word@host/db",
                "postgresql://[host/db",
                "postgresql://user:pass word@host/db",
                "postgresql://user:50%@host/db",
                "postgresql://user:pass/word@host/db",
                "postgresql://user:1/2?word@host/db",
            )
        ),
        *(
            ("GPUKEEPER_DATABASE_URL", text, "must name a file: sqlite:///path/to/file")
            for text in (
                "sqlite:",
                "sqlite://",
                "sqlite:///",
                "sqlite:///:memory:",
                "sqlite:///a?b",
            )
        ),
        ("GPUKEEPER_WEBHOOK_URL", "hooks.example", "A webhook URL is http:// or https://"),
        ("GPUKEEPER_WEBHOOK_URL", "https://u:p@hooks.example", "A webhook URL has no user name"),
        ("GPUKEEPER_WEBHOOK_URL", "https://a.example,nothing", "A webhook URL is http://"),
        ("GPUKEEPER_WEBHOOK_SECRET", "whsec_short", "A webhook secret is whsec_"),
        ("GPUKEEPER_WEBHOOK_SECRET", ",".join([WEBHOOK_SECRET] * 3), "must be one secret, or two"),
        ("GPUKEEPER_WEBHOOK_SECRET", ",", "must be one secret, or two"),
        ("GPUKEEPER_WEBHOOK_RETRIES", "21", "must be a whole number between 0 and 20"),
        ("GPUKEEPER_WEBHOOK_ALLOW", "10.0.0.1/8", "'10.0.0.1/8' is not a host"),
        ("GPUKEEPER_REGION", "x" * 65, "must be a region's name or cluster id of at most 64"),
        *(
            (f"GPUKEEPER_{name}", text, SECONDS)
            for name in (
                "WEBHOOK_BACKOFF",
                "WEBHOOK_TIMEOUT",
                "POLL_INTERVAL",
                "STARTUP_TIMEOUT",
                "ADOPTION_WINDOW",
                "NOVITA_TIMEOUT",
            )
            for text in ("0", "-1", "30s", "nan", "inf", "1e3", "0.0")
        ),
        ("GPUKEEPER_SWEEP_INTERVAL", "-1", "must be a number of seconds (0 switches it off)"),
        *(
            ("GPUKEEPER_SECRET_KEY", text, "must be 32 bytes in URL-safe base64")
            for text in ("short", "A" * 42, "A" * 44, "A" * 42 + "+=")
        ),
        ("GPUKEEPER_NOVITA_RATE", "0", "must be a number of calls per second above 0"),
        ("GPUKEEPER_LOG_LEVEL", "loud", "must be debug, info, warning or error"),
        ("GPUKEEPER_LOG_FORMAT", "xml", "must be console or json"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(name: str, text: str, message: str) -> None:
    (fault,) = faults_of(KEY | {name: text})

    assert fault.field == name
    assert fault.message.startswith(message)


def test_every_fault_is_reported_at_once() -> None:
    faults = faults_of(
        {
            "GPUKEEPER_HOST": "0.0.0.0",
            "GPUKEEPER_PORT": "x",
            "GPUKEEPER_POLL_INTERVAL": "0",
            "GPUKEEPER_POTR": "80",
        }
    )

    assert {fault.field for fault in faults} == {
        "NOVITA_API_KEY",
        "GPUKEEPER_API_KEYS",
        "GPUKEEPER_PORT",
        "GPUKEEPER_POLL_INTERVAL",
        "GPUKEEPER_POTR",
    }


def test_the_key_is_required() -> None:
    expected = "is required: set it, or NOVITA_API_KEY_FILE to the path of a file with it"

    for environ in ({}, {"NOVITA_API_KEY": " "}):
        assert faults_of(environ) == [Fault("NOVITA_API_KEY", expected)]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "10.0.0.5", "gpukeeper.example"])
def test_a_host_that_others_reach_needs_keys(host: str) -> None:
    (fault,) = faults_of(KEY | {"GPUKEEPER_HOST": host})

    assert fault.field == "GPUKEEPER_API_KEYS"
    assert "can be reached from other machines" in fault.message
    assert read({"GPUKEEPER_HOST": host, "GPUKEEPER_API_KEYS": "a" * 16}).api_keys


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_a_loopback_host_needs_no_keys(host: str) -> None:
    assert read({"GPUKEEPER_HOST": host}).api_keys == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GPUKEEPER_POTR", "did you mean GPUKEEPER_PORT?"),
        ("GPUKEEPER_WEBHOOK_URLS", "did you mean GPUKEEPER_WEBHOOK_URL?"),
        ("NOVITA_KEY", "did you mean NOVITA_API_KEY?"),
        ("GPUKEEPER_API_KEY_FILE", "did you mean GPUKEEPER_API_KEYS_FILE?"),
        ("GPUKEEPER_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZ", "remove it"),
    ],
)
def test_an_unknown_setting_is_a_fault_with_the_nearest_name(name: str, hint: str) -> None:
    expected = [Fault(name, f"is not a setting of this version; {hint}")]

    assert faults_of(KEY | {name: "1"}) == expected


def test_what_belongs_to_others_is_passed_over() -> None:
    client = ("GPUKEEPER_URL", "GPUKEEPER_API_KEY", "GPUKEEPER_PROFILE")
    compose = ("GPUKEEPER_IMAGE", "GPUKEEPER_GATEWAY_IMAGE")

    assert read(dict.fromkeys((*client, *compose, "GPUKEEPER_TEST_X", "PATH"), "x")) == read({})


def test_no_variable_of_the_command_line_or_of_compose_stops_the_service() -> None:
    root = Path(__file__).parents[2]
    files = [*(root / "src/gpukeeper/cli").glob("*.py"), *root.glob("compose*.yaml")]
    named = {
        name for path in files for name in re.findall(r"\bGPUKEEPER_[A-Z_]+[A-Z]", path.read_text())
    }
    settings = {variable.name for variable in variables()}
    settings |= {f"{name}_FILE" for name in settings}

    assert len(named - settings) >= 5
    assert read(dict.fromkeys(named - settings, "x")) == read({})


def test_no_secret_is_in_a_fault() -> None:
    secrets = {
        "NOVITA_API_KEY": "hunter22 hunter22",
        "GPUKEEPER_API_KEYS": "hunter22",
        "GPUKEEPER_WEBHOOK_SECRET": "hunter22",
        "GPUKEEPER_SECRET_KEY": "hunter22",
        "GPUKEEPER_DATABASE_URL": "mysql://me:hunter22@host/db",
        "GPUKEEPER_WEBHOOK_URL": "https://me:hunter22@hooks.example",
        "NOVITA_BASE_URL": "https://me:hunter22@api.novita.ai",
    }

    assert "hunter22" not in str(faults_of(secrets))


def test_no_password_of_a_database_is_shown_that_has_a_sign_too_many() -> None:
    for sign in "/?#@:[]%= \\":
        name, url = "GPUKEEPER_DATABASE_URL", f"postgresql://me:canary{sign}91bc@host/db"
        try:
            shown = read(KEY | {name: url}).database_name
        except InvalidConfiguration as error:
            shown = str(error.faults)

        assert "canary" not in shown, sign
        assert "91bc" not in shown, sign
