"""The proxy example with a real nginx: TLS in front, the service behind, live events through it."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.deployment.stack import ROOT
from tests.e2e.novita import simulating
from tests.e2e.serving import API_KEY, ORDER, QUICK, Service
from tests.e2e.waiting import eventually

NAME = "gpukeeper.example.com"
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
