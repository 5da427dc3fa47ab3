"""What the environment and files bring along that is no setting, or is written in another way."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpukeeper.config import load, value_of
from gpukeeper.http_environment import find_faults
from tests.config.test_config_load import KEY, WEBHOOK_SECRET, faults_of, read

NO_URL = "is no URL of a proxy such as http://proxy.example:3128; correct it, or remove it"
NO_SOCKS = "names a SOCKS proxy, and only http:// and https:// proxies are understood here"

# What a Service called "gpukeeper" puts into every container of its namespace.
SERVICE = {
    "GPUKEEPER_SERVICE_HOST": "10.96.0.7",
    "GPUKEEPER_SERVICE_PORT": "8080",
    "GPUKEEPER_SERVICE_PORT_HTTP": "8080",
    "GPUKEEPER_PORT": "tcp://10.96.0.7:8080",
    "GPUKEEPER_PORT_8080_TCP": "tcp://10.96.0.7:8080",
    "GPUKEEPER_PORT_8080_TCP_PROTO": "tcp",
    "GPUKEEPER_PORT_8080_TCP_PORT": "8080",
    "GPUKEEPER_PORT_8080_TCP_ADDR": "10.96.0.7",
}


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("HTTP_PROXY", "socks5://user:hunter22@proxy.example:1080", NO_SOCKS),
        ("https_proxy", "socks5h://proxy.example:1080", NO_SOCKS),
        ("ALL_PROXY", "socks://proxy.example:1080", NO_SOCKS),
        ("all_proxy", "ftp://proxy.example", NO_URL),
        ("HTTPS_PROXY", "http://[::1", NO_URL),
        ("HTTPS_PROXY", "http://user:hunter22@proxy.example:99999", NO_URL),
        ("HTTPS_PROXY", "http://proxy.example:0", NO_URL),
        ("HTTPS_PROXY", "proxy.example:port", NO_URL),
        ("HTTPS_PROXY", "http://", NO_URL),
        ("Https_Proxy", "http://pro xy.example", NO_URL),
        ("no_proxy", "a.example, xn--", "has a host that cannot be one"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_fault_that_shows_no_password(
    variable: str, text: str, sentence: str
) -> None:
    (fault,) = faults_of(KEY | {variable: text})

    assert fault.field == variable
    assert fault.message.startswith(sentence)
    assert "hunter22" not in fault.message


def test_every_broken_variable_is_told_at_once_and_beside_the_settings(tmp_path: Path) -> None:
    faults = faults_of(
        {
            "HTTP_PROXY": "socks5://proxy.example",
            "https_proxy": "http://[",
            "SSL_CERT_FILE": str(tmp_path / "none.pem"),
            "GPUKEEPER_PORT": "many",
        }
    )

    assert {fault.field for fault in faults} == {
        "NOVITA_API_KEY",
        "GPUKEEPER_PORT",
        "HTTP_PROXY",
        "https_proxy",
        "SSL_CERT_FILE",
    }


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "10.0.0.0/8,::1,[::1],a:b:c,[x"},
        {"https_proxy": "proxy.example:3128", "HTTPS_PROXY": "socks5://not-heeded"},
        {"HTTPS_PROXY": "https://user:p%40ss@proxy.example"},
        {"ALL_PROXY": "socks5://proxy.example", "NO_PROXY": "a.example, *"},
        {"HTTP_PROXY": "a header of a stranger's", "REQUEST_METHOD": "GET"},
        {"FTP_PROXY": "socks5://proxy.example", "ALL_PROXY": " "},
        {"https_proxy": "", "HTTPS_PROXY": "socks5://switched-off"},
    ],
)
def test_proxies_that_can_be_used_or_are_not_heeded_are_no_fault(
    environ: Mapping[str, str],
) -> None:
    assert read(environ).port == 8080


def test_what_asks_nobody_needs_no_proxy() -> None:
    assert load({"HTTPS_PROXY": "socks5://x"}, env_file=None, asks_novita=False).port == 8080


def test_certificates_that_cannot_be_read_are_a_fault_that_names_them(tmp_path: Path) -> None:
    empty, folder, text = tmp_path / "empty.pem", tmp_path / "certificates", tmp_path / "text.pem"
    empty.write_text("")
    folder.mkdir()
    text.write_text("no certificate")

    for variable, path, why in (
        ("SSL_CERT_FILE", tmp_path / "none.pem", "which cannot be read (No such file"),
        ("SSL_CERT_FILE", empty, "which holds no certificates in PEM"),
        ("SSL_CERT_FILE", text, "which holds no certificates in PEM"),
        ("SSL_CERT_FILE", folder, "which cannot be read (Is a directory)"),
        ("SSL_CERT_DIR", tmp_path / "none", "which cannot be read as a folder (No such file"),
        ("SSL_CERT_DIR", text, "which cannot be read as a folder (Not a directory)"),
        ("SSL_CERT_DIR", folder, "which holds no certificates by the names"),
    ):
        (fault,) = faults_of(KEY | {variable: str(path)})
        assert fault.field == variable
        assert fault.message.startswith(f"names {path}, {why}")


def test_certificates_that_can_be_read_are_no_fault(tmp_path: Path) -> None:
    bundle = ssl.get_default_verify_paths().openssl_cafile
    if not os.path.isfile(bundle):
        import certifi

        bundle = certifi.where()
    (tmp_path / "0a775a30.0").write_bytes(Path(bundle).read_bytes())

    assert find_faults({"SSL_CERT_FILE": bundle, "SSL_CERT_DIR": "/not/heeded/then"}) == {}
    assert find_faults({"SSL_CERT_DIR": str(tmp_path)}) == {}


def test_what_kubernetes_injects_for_a_service_is_neither_a_setting_nor_a_fault() -> None:
    others = {
        "NOVITA_SERVICE_HOST": "10.96.0.8",
        "NOVITA_PORT": "tcp://10.96.0.8:80",
        "GPUKEEPER_API_SERVICE_HOST": "fd00::7",
        "GPUKEEPER_API_PORT": "tcp://[fd00::7]:80",
        "GPUKEEPER_API_PORT_53_UDP_ADDR": "fd00::7",
    }

    assert read(SERVICE | others).port == 8080


def test_the_port_of_a_file_counts_although_kubernetes_injects_one(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("GPUKEEPER_PORT=9000\n")

    assert load(KEY | SERVICE, env_file=env_file).port == 9000


@pytest.mark.parametrize(
    "environ",
    [
        {"GPUKEEPER_PORT": "tcp://10.96.0.7:8080"},
        {"GPUKEEPER_POTR": "tcp://10.96.0.7:8080", "GPUKEEPER_SERVICE_HOST": "10.96.0.7"},
        {"GPUKEEPER_PORT": "808O", "GPUKEEPER_SERVICE_HOST": "10.96.0.7"},
        {"GPUKEEPER_SERVICE_HOTS": "10.96.0.7"},
        {"GPUKEEPER_PORT_8080": "x"},
    ],
)
def test_a_typo_is_refused_even_beside_a_service(environ: Mapping[str, str]) -> None:
    (fault,) = faults_of(KEY | dict(environ))

    assert fault.field in environ


def test_files_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    env_file, secret = tmp_path / ".env", tmp_path / "secret"
    env_file.write_text("NOVITA_API_KEY=sk_marked\r\nGPUKEEPER_PORT=9000\r\n", "utf-8-sig")
    secret.write_text(f"{WEBHOOK_SECRET}\r\n", "utf-8-sig")
    environ = {"GPUKEEPER_WEBHOOK_SECRET_FILE": str(secret)}

    settings = load(environ, env_file=env_file)

    assert settings.novita_api_key.get_secret_value() == "sk_marked"
    assert settings.port == 9000
    assert value_of("GPUKEEPER_WEBHOOK_SECRET", environ, env_file=env_file) == WEBHOOK_SECRET


def test_a_byte_order_mark_before_the_first_name_of_the_environment_is_passed_over() -> None:
    settings = load({"\ufeffNOVITA_API_KEY": "sk_marked"}, env_file=None)

    assert settings.novita_api_key.get_secret_value() == "sk_marked"


def test_files_in_utf_16_are_refused_with_what_to_do(tmp_path: Path) -> None:
    env_file, secret = tmp_path / ".env", tmp_path / "secret"
    env_file.write_text("NOVITA_API_KEY=sk_hunter22", "utf-16")
    secret.write_text("sk_hunter22", "utf-16")

    (of_file,) = faults_of(KEY, env_file=env_file)
    (of_secret,) = faults_of({"NOVITA_API_KEY_FILE": str(secret)})

    assert of_file.message == "cannot be read: it is text in UTF-16: save it as UTF-8"
    assert of_secret.field == "NOVITA_API_KEY_FILE"
    assert of_secret.message.endswith("it is text in UTF-16: save it as UTF-8")


def test_single_quotes_in_the_file_are_literal(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        "NOVITA_API_KEY='sk_${HOME}$x'\n"
        "export 'GPUKEEPER_API_KEYS' = 'a${HOME}bbbbbbbbbbbbbbbbbb'\n"
        "GPUKEEPER_REGION=us\n"
        'GPUKEEPER_DATA_DIR="/srv/${GPUKEEPER_REGION}/${PART:-one}"\n'
        "GPUKEEPER_WEBHOOK_URL=https://${RECEIVER}/x$y\n"
    )

    settings = load({"HOME": "/root", "RECEIVER": "hooks.example"}, env_file=env_file)

    assert settings.novita_api_key.get_secret_value() == "sk_${HOME}$x"
    assert settings.api_keys[0].get_secret_value() == "a${HOME}bbbbbbbbbbbbbbbbbb"
    assert settings.data_dir == Path("/srv/us/one")
    assert settings.webhook_urls == ("https://hooks.example/x$y",)


def test_a_file_that_is_a_pipe_is_read_and_a_folder_of_its_name_is_passed_over(
    tmp_path: Path,
) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"NOVITA_API_KEY=sk_piped\n")
    os.close(write_end)
    folder = tmp_path / ".env"
    folder.mkdir()

    settings = load({}, env_file=Path(f"/dev/fd/{read_end}"))
    os.close(read_end)

    assert settings.novita_api_key.get_secret_value() == "sk_piped"
    assert load(KEY, env_file=folder).port == 8080


@pytest.mark.parametrize(
    "text",
    [
        "https://hooks.example/x?ids=1,2",
        "https://hooks.example/fetch?from=https://one.example,https://two.example",
    ],
)
def test_a_comma_within_a_webhook_url_is_never_taken_for_two_receivers(text: str) -> None:
    (fault,) = faults_of(KEY | {"GPUKEEPER_WEBHOOK_URL": text})

    assert "a comma within one is written %2C" in fault.message


def test_a_comma_that_is_escaped_stays_within_its_url() -> None:
    text = "https://hooks.example/x?ids=1%2C2,https://two.example/?y=1"

    assert read({"GPUKEEPER_WEBHOOK_URL": text}).webhook_urls == tuple(text.split(","))
