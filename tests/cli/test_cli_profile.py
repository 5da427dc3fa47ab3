"""Where commands find the service: options, then the environment, then the user's profiles."""

from pathlib import Path

import pytest

from tests.cli.program import Ended, Program

LIST = {"instances": [], "total": 0, "nextCursor": None}
FILE = """
[default]
url = "http://one.example:8080"
api_key = "key-one"

[two]
url = "https://two.example"
api_key_file = "two.key"

[keyless]
url = "https://three.example"
"""


@pytest.fixture
def home(tmp_path: Path, program: Program) -> Path:
    """Give a folder of configuration with two profiles, that only its owner may read."""
    program.service.reply("GET /api/instances", LIST)
    folder = tmp_path / "gpukeeper"
    folder.mkdir()
    (folder / "config.toml").write_text(FILE)
    (folder / "config.toml").chmod(0o600)
    (folder / "two.key").write_text("key-two\n")
    return tmp_path


def run(program: Program, home: Path, *options: str, **env: str) -> Ended:
    """List with these options and variables."""
    return program.run(*options, "ls", env={"XDG_CONFIG_HOME": str(home), **env})


@pytest.mark.parametrize(
    ("options", "env", "host", "key"),
    [
        ((), {}, "one.example", "Bearer key-one"),
        (("--profile", "two"), {}, "two.example", "Bearer key-two"),
        ((), {"GPUKEEPER_PROFILE": "two"}, "two.example", "Bearer key-two"),
        (("--profile", "two"), {"GPUKEEPER_API_KEY": "k"}, "two.example", "Bearer key-two"),
        (("--profile", "keyless"), {"GPUKEEPER_API_KEY": "k"}, "three.example", None),
        ((), {"GPUKEEPER_API_KEY": "k"}, "one.example", "Bearer key-one"),
        (
            (),
            {"GPUKEEPER_PROFILE": "keyless", "GPUKEEPER_API_KEY": "k"},
            "three.example",
            "Bearer k",
        ),
        (("--url", "http://else.example"), {}, "else.example", None),
        (
            ("--profile", "two"),
            {"GPUKEEPER_URL": "http://else.example", "GPUKEEPER_API_KEY": "k"},
            "two.example",
            "Bearer key-two",
        ),
        (
            ("--profile", "two", "--url", "http://else.example"),
            {"GPUKEEPER_API_KEY": "k"},
            "else.example",
            "Bearer k",
        ),
        (
            (),
            {"GPUKEEPER_PROFILE": "two", "GPUKEEPER_URL": "http://else.example"},
            "else.example",
            None,
        ),
    ],
)
def test_the_nearest_word_counts_and_a_key_goes_to_its_own_service_only(
    program: Program,
    home: Path,
    options: tuple[str, ...],
    env: dict[str, str],
    host: str,
    key: str | None,
) -> None:
    ended = run(program, home, *options, **env)
    (request,) = program.service.requests
    assert (ended.status, ended.stderr) == (0, "There are none.\n")
    assert (request.url.host, request.headers.get("authorization")) == (host, key)


def test_without_any_configuration_this_machine_is_asked(program: Program, tmp_path: Path) -> None:
    program.service.reply("GET /api/instances", LIST)
    run(program, tmp_path)
    assert str(program.service.requests[0].url).startswith("http://127.0.0.1:8080/")


def test_a_key_that_others_may_read_is_warned_of(program: Program, home: Path) -> None:
    path = home / "gpukeeper" / "config.toml"
    path.chmod(0o644)
    ended = run(program, home)
    assert ended.status == 0
    assert f"Warning: others may read the key in {path}: chmod 600 {path}\n" in ended.stderr


@pytest.mark.parametrize(
    ("text", "profile", "says"),
    [
        ("[default", None, "cannot be read"),
        ("[default]\nkey = 'x'", None, "has key, which is not understood"),
        ("[default]\nurl = 1", None, "has url, which is not understood"),
        ("default = 1", None, "has no profile 'default', but none"),
        (FILE, "three", "has no profile 'three', but default, two, keyless"),
        (None, "three", "is missing, so there is no profile 'three'"),
        ("[default]\napi_key_file = 'none'", None, "No such file or directory"),
    ],
)
def test_a_profile_that_cannot_be_used_is_a_usage_error(
    program: Program, home: Path, text: str | None, profile: str | None, says: str
) -> None:
    path = home / "gpukeeper" / "config.toml"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    ended = run(program, home, *(("--profile", profile) if profile else ()))
    assert ended.status == 2
    assert says in " ".join(ended.stderr.split())
    assert program.service.requests == []


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("HTTPS_PROXY", "socks5://user:hunter22@proxy.example", "names a SOCKS proxy"),
        ("all_proxy", "http://user:hunter22@proxy.example:99999", "is no URL of a proxy"),
        ("NO_PROXY", "xn--", "has a host that cannot be one"),
        ("SSL_CERT_FILE", "/none.pem", "names /none.pem, which cannot be read (No such file"),
        ("SSL_CERT_DIR", "/none", "names /none, which cannot be read as a folder (No such file"),
    ],
)
def test_an_environment_that_cannot_be_used_is_a_usage_error_that_names_the_variable(
    program: Program, home: Path, variable: str, text: str, says: str
) -> None:
    ended = run(program, home, **{variable: text})
    words = " ".join(ended.stderr.split())
    assert (ended.status, ended.stdout, program.service.requests) == (2, "", [])
    assert f"Invalid value for {variable}: {says}" in words
    assert "hunter22" not in words


def test_a_service_on_this_machine_is_asked_whatever_proxies_there_are(
    program: Program, home: Path
) -> None:
    env = {"HTTPS_PROXY": "socks5://proxy.example", "SSL_CERT_FILE": "/none.pem"}
    ended = run(program, home, "--url", "http://127.0.0.1:8080", **env)
    assert (ended.status, len(program.service.requests)) == (0, 1)
    refused = run(program, home, "--url", "https://127.0.0.1:8080", **env)
    assert (refused.status, len(program.service.requests)) == (2, 1)
    assert "Invalid value for SSL_CERT_FILE" in refused.stderr


def test_files_with_a_byte_order_mark_are_read(program: Program, home: Path) -> None:
    folder = home / "gpukeeper"
    (folder / "config.toml").write_text(FILE, "utf-8-sig")
    (folder / "two.key").write_text("key-two\r\n", "utf-8-sig")
    assert run(program, home, "--profile", "two").status == 0
    assert program.service.requests[0].headers["authorization"] == "Bearer key-two"


@pytest.mark.parametrize(
    ("encoding", "says"),
    [("utf-16", "it is text in UTF-16: save it as UTF-8"), ("latin-1", "it is not text in UTF-8")],
)
def test_a_file_in_another_encoding_is_named_with_what_to_do(
    program: Program, home: Path, encoding: str, says: str
) -> None:
    folder = home / "gpukeeper"
    key = folder / "two.key"
    key.write_text("schlüssel", encoding)
    of_key = run(program, home, "--profile", "two")
    given = run(program, home, "--api-key-file", str(key))
    (folder / "config.toml").write_text(f"# für\n{FILE}", encoding)
    of_file = run(program, home)
    for ended, hint in (
        (of_key, "api_key_file"),
        (given, "--api-key-file"),
        (of_file, "--profile"),
    ):
        assert ended.status == 2
        assert f"Invalid value for {hint}:" in ended.stderr
        assert says in " ".join(ended.stderr.split())
    assert program.service.requests == []


def test_a_user_without_a_home_has_no_profiles(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    program.service.reply("GET /api/instances", LIST)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    env = {"XDG_CONFIG_HOME": ""}
    assert program.run("ls", env=env).status == 0
    named = program.run("--profile", "two", "ls", env=env)
    assert named.status == 2
    assert "set XDG_CONFIG_HOME" in named.stderr
    data_dir = program.run("webhooks", "secret", env=env | {"GPUKEEPER_DATA_DIR": "~/data"})
    assert data_dir.status == 2
    assert "Invalid value for --data-dir" in data_dir.stderr


def test_a_key_in_a_home_that_there_is_not_is_a_fault_of_the_profile(
    program: Program, home: Path
) -> None:
    (home / "gpukeeper/config.toml").write_text("[default]\napi_key_file = '~no-such-user/key'")
    ended = run(program, home)
    assert ended.status == 2
    assert "names an api_key_file in a home directory" in " ".join(ended.stderr.split())


@pytest.mark.parametrize("how", ["profile", "option", "variable"])
def test_an_address_with_a_password_is_never_printed(
    program: Program, home: Path, how: str
) -> None:
    address = "http://me:hunter22@one.example:8080"
    file = home / "gpukeeper" / "config.toml"
    file.write_text(FILE.replace("http://one.example:8080", address))
    ended = {
        "profile": lambda: run(program, home),
        "option": lambda: run(program, home, "--url", address),
        "variable": lambda: run(program, home, GPUKEEPER_URL=address),
    }[how]()
    assert ended.status == 2
    assert "hunter22" not in ended.stderr + ended.stdout
    assert "@" in ended.stderr
