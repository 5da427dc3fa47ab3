"""Find the proxies and certificates of the environment that outgoing HTTP could not use.

The HTTP library reads these variables by itself, in part with the first request only, and raises
errors of many kinds.  Here the same is found beforehand, and said by the name of the variable.
No value is shown: a proxy's URL may hold a password.
"""

import os
import re
import ssl
from collections.abc import Mapping

import httpx2

# Which of them counts for a URL is the library's business; a broken one breaks them all.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")

_NO_URL = "is no URL of a proxy such as http://proxy.example:3128"
_REMEDY = "correct it, or remove it"

# A name or an address; the library escapes in it what cannot be in one.
_HOST = re.compile(rb"[0-9A-Za-z._:-]+")

# The name under which OpenSSL looks for a certificate in a folder.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def find_faults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what cannot be used of an environment: a sentence for each variable; ideally none."""
    return find_proxy_faults(environ) | find_certificate_faults(environ)


def find_proxy_faults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables that cannot be used, each with a sentence.

    An exception for every host (``NO_PROXY=*``) switches proxies off, however they are written.
    """
    name_of_exceptions, exceptions = _setting(environ, "no_proxy")
    hosts = [host for host in map(str.strip, exceptions.split(",")) if host]
    if "*" in hosts:
        return {}
    found = (_setting(environ, name) for name in _PROXIES)
    told = {variable: _fault_of_proxy(text) for variable, text in found if text}
    told[name_of_exceptions] = _fault_of_exceptions(hosts)
    return {variable: f"{fault}; {_REMEDY}" for variable, fault in told.items() if fault}


def find_certificate_faults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of trusted certificates that cannot be used, each with a sentence."""
    for variable, find_fault in (
        ("SSL_CERT_FILE", _fault_of_bundle),
        ("SSL_CERT_DIR", _fault_of_folder),
    ):
        # The file counts alone where both are given.
        if path := environ.get(variable):
            fault = find_fault(path)
            return {variable: f"names {path}, {fault}; {_REMEDY}"} if fault else {}
    return {}


def find_faults_for_traces(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the library that sends traces could not use: its certificates are others."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        # The first one counts.
        if path := environ.get(variable):
            fault = _fault_of_folder(path) if os.path.isdir(path) else _fault_of_bundle(path)
            return {variable: f"names {path}, {fault}; {_REMEDY}"} if fault else {}
    return {}


def _setting(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return a variable as it is written and its text; the lower-case spelling counts most."""
    if name in environ:
        return name, environ[name].strip()
    written = [each for each in environ if each.lower() == name and environ[each].strip()]
    # What a web server hands on as HTTP_PROXY is a header of a stranger's.
    if not written or (name == "http_proxy" and "REQUEST_METHOD" in environ):
        return name.upper(), ""
    return written[-1], environ[written[-1]].strip()


def _fault_of_proxy(text: str) -> str | None:
    try:
        url = httpx2.URL(text if "://" in text else f"http://{text}")
        if url.scheme.startswith("socks"):
            return "names a SOCKS proxy, and only http:// and https:// proxies are understood here"
        is_host = _HOST.fullmatch(url.raw_host)
        if url.scheme not in ("http", "https") or not is_host or not _is_port(url.port):
            return _NO_URL
        httpx2.HTTPTransport(proxy=httpx2.Proxy(url), verify=_trusting_nobody())
    except (httpx2.InvalidURL, ValueError):
        # UnicodeError, for a host name that cannot be one, is a ValueError.
        return _NO_URL
    return None


def _is_port(port: int | None) -> bool:
    return port is None or 1 <= port <= 65535


def _fault_of_exceptions(hosts: list[str]) -> str | None:
    for host in hosts:
        try:
            httpx2.Client(
                mounts={host if "://" in host else f"all://*{host}": None},
                trust_env=False,
                verify=_trusting_nobody(),
            )
        except httpx2.InvalidURL:
            continue  # what is no host at all excepts nothing, here as in curl
        except ValueError:
            return "has a host that cannot be one"
    return None


def _fault_of_bundle(path: str) -> str | None:
    try:
        _trusting_nobody().load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "which holds no certificates in PEM"
    except OSError as error:
        return f"which cannot be read ({error.strerror})"
    return None


def _fault_of_folder(path: str) -> str | None:
    try:
        names = os.listdir(path)
    except OSError as error:
        return f"which cannot be read as a folder ({error.strerror})"
    if not any(map(_HASHED.fullmatch, names)):
        return "which holds no certificates by the names that 'openssl rehash' gives them"
    return None


def _trusting_nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
