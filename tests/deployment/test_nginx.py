"""The proxy example with a real nginx: TLS in front, the service behind, live events through it."""

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gpukeeper.client import Client
from tests.deployment.stack import ROOT
from tests.e2e.novita import simulating
from tests.e2e.serving import API_KEY, ORDER, QUICK, Service
from tests.e2e.waiting import eventually

NAME = "gpukeeper.example.com"
PRODUCT, TEMPLATE = ORDER["productName"], ORDER["templateId"]
_MAIN = """
daemon off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
include {folder}/site.conf; }}
"""


def test_orders_and_live_events_pass_nginx_with_tls(tmp_path: Path) -> None:
    _certificate(tmp_path)
    with simulating() as novita:
        service = Service(tmp_path, {**QUICK, "NOVITA_BASE_URL": novita.url})
        service.start()
        try:
            with _nginx(tmp_path, service.url.rpartition(":")[2]) as client:
                ordered = client.post("/api/instances", json=ORDER)
                assert ordered.status_code == 201, ordered.text
                options = {"type": "instance.running", "lastEventId": "0"}
                with client.stream("GET", "/api/events", params=options) as events:
                    assert events.status_code == 200
                    told = next(line for line in events.iter_lines() if line.startswith("data:"))
                assert ordered.json()["id"] in told
        finally:
            service.close()


@pytest.mark.parametrize("proxy_pass", ["http://127.0.0.1:8080", "http://127.0.0.1:8080/"])
def test_under_a_path_of_nginx_everything_stays_below_it_whether_it_is_left_on_or_taken_off(
    tmp_path: Path, proxy_pass: str
) -> None:
    path = "/gpukeeper"
    with simulating() as novita:
        settings = {**QUICK, "NOVITA_BASE_URL": novita.url, "GPUKEEPER_ROOT_PATH": path}
        service = Service(tmp_path, settings)
        service.start()
        try:
            here = service.url.removeprefix("http://")
            passed_to = proxy_pass.replace("127.0.0.1:8080", here)
            with _nginx_under_a_path(tmp_path, passed_to) as origin:
                with Client(origin + path, api_key=API_KEY) as client:
                    client.order("below", product_name=PRODUCT, template_id=TEMPLATE)
                    assert [each.name for each in client.instances().items] == ["below"]
                with httpx2.Client(base_url=origin, trust_env=False) as browser:
                    _look_around(browser, path)
        finally:
            service.close()


def _look_around(browser: httpx2.Client, path: str) -> None:
    """Sign in as a browser does, open a page and all that it needs, and hear of an event."""
    origin = {"origin": str(browser.base_url).rstrip("/"), "accept": "text/html"}
    asked = browser.get(path, headers=origin, follow_redirects=True)
    assert asked.url.path == f"{path}/login"
    form = {"key": API_KEY, "next": f"{path}/?view=all"}
    entered = browser.post(f"{path}/login", data=form, headers=origin)
    assert entered.headers["location"] == f"{path}/?view=all"
    page = browser.get(entered.headers["location"], headers=origin)
    assert "below" in page.text
    addresses = set(re.findall(r'(?:href|src|action|data-events)="(/[^"]*)"', page.text))
    assert len(addresses) > 10
    for address in addresses - {f"{path}/logout"}:
        assert address.startswith(f"{path}/"), address
        if address.endswith("/api/events"):
            with browser.stream("GET", f"{address}?lastEventId=0") as events:
                assert any(line.startswith("data:") for line in events.iter_lines())
        else:
            assert browser.get(address.replace("&amp;", "&"), headers=origin).is_success, address


@contextmanager
def _nginx_under_a_path(folder: Path, proxy_pass: str) -> Iterator[str]:
    """Run nginx with the example for a path, and give its origin."""
    port = _free_port()
    example = (ROOT / "deploy" / "nginx-path.conf").read_text()
    assert "proxy_pass http://127.0.0.1:8080;" in example
    example = example.replace("proxy_pass http://127.0.0.1:8080;", f"proxy_pass {proxy_pass};")
    (folder / "site.conf").write_text(f"server {{ listen 127.0.0.1:{port};\n{example}\n}}")
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    nginx = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    origin = f"http://127.0.0.1:{port}"
    try:
        with httpx2.Client(base_url=f"{origin}/gpukeeper", trust_env=False) as client:
            eventually(lambda: _answers(client), "nginx")
        yield origin
    finally:
        nginx.terminate()
        nginx.wait(15)


@contextmanager
def _nginx(folder: Path, service_port: str) -> Iterator[httpx2.Client]:
    """Run nginx with the example, changed only in its ports, and give a client that trusts it."""
    tls, plain = _free_port(), _free_port()
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    for shipped, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{tls} ssl",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "127.0.0.1:8080": f"127.0.0.1:{service_port}",
        "/etc/ssl/gpukeeper": str(folder),
    }.items():
        assert shipped in site
        site = site.replace(shipped, here)
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    nginx = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        trusted = ssl.create_default_context(cafile=folder / "fullchain.pem")
        with httpx2.Client(
            base_url=f"https://{NAME}:{tls}",
            verify=trusted,
            headers={"authorization": f"Bearer {API_KEY}"},
            transport=_Here(trusted),
            timeout=30,
            trust_env=False,
        ) as client:
            eventually(lambda: _answers(client), "nginx")
            yield client
    finally:
        nginx.terminate()
        nginx.wait(15)


class _Here(httpx2.HTTPTransport):
    """Connect to this machine whatever name is asked for, and check the name's certificate."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        super().__init__(verify=trusted)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(request)


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx2.TransportError:
        return False


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
