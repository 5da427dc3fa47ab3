"""However Novita writes a secret of ours into its texts, nobody is told it."""

import base64
import html
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gpukeeper.domain.errors import NovitaRejected
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.redact import redact
from gpukeeper.novita.secrets import Secrets
from tests.novita.scripted import PURCHASE

PEM = (
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkq/hkiG9w0+AQE\n"
    "FAASCBKcwggSj\"AgEAAo'IBA\n-----END KEY-----\n"
)
ODD = 'p@ss w0rd<"it\'s">\t& €uro\\end'
CORE = ("MIIEvQIBADANBgkq", "hkiG9w0", "FAASCBKcwggSj", "AgEAAo", "w0rd", "€uro", "uro\\")


def go_quoted(value: str) -> str:
    """Return a value as Go's %q writes it."""
    return json.dumps(value, ensure_ascii=False)


def for_pages(value: str) -> str:
    """Return a value as Go's JSON has it."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def go_html(value: str) -> str:
    """Return a value as Go's pages have it."""
    return html.escape(value, quote=False).replace('"', "&#34;").replace("'", "&#39;")


def b64(value: str) -> str:
    """Return a value in base64."""
    return base64.b64encode(value.encode()).decode()


FORMS: dict[str, Any] = {
    "as it is": str,
    "Go's %q": go_quoted,
    "Go's JSON": for_pages,
    "Go's JSON in JSON": lambda value: for_pages(for_pages(value)),
    "Go's HTML": go_html,
    "HTML": html.escape,
    "JSON": json.dumps,
    "a gateway's JSON": lambda value: json.dumps(value).replace("/", "\\/"),
    "hexadecimal": lambda value: value.encode().hex(),
    "hexadecimal in capitals": lambda value: value.encode().hex().upper(),
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "repr": repr,
    "percent": lambda value: quote(value, safe=""),
    "percent in lower case": lambda value: quote(value, safe="").replace("%0A", "%0a"),
    "percent but for slashes": quote,
    "a form": quote_plus,
    "base64": b64,
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "base64 without padding": lambda value: b64(value).rstrip("="),
    "base64 of a pair": lambda value: b64(f"KEY={value}"),
    "base64 of JSON around": lambda value: b64(f"ab{value}cd"),
    "line by line": lambda value: ", ".join(f"'{line}'" for line in value.splitlines()),
    "its first half": lambda value: value[: len(value) // 2],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("value", [PEM, ODD], ids=["several lines", "odd signs"])
def test_a_secret_is_hidden_in_every_spelling(value: str, form: Any) -> None:
    said = redact(f"cannot use {form(value)}", [value])
    assert said.startswith("cannot use ")
    assert "***" in said
    assert [part for part in CORE if part in said or b64(part)[1:8] in said] == []


@given(st.text(min_size=8, max_size=60).filter(lambda text: len(text.strip()) >= 8))
def test_any_secret_is_hidden_as_json_as_python_and_in_addresses(value: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        return
    for form in (json.dumps(value), repr(value), quote(value, safe=""), b64(value)):
        said = redact(f"[{form}]", [value])
        assert form.strip("\"'") not in said or "***" in said


@pytest.mark.parametrize(
    ("text", "secret", "shown"),
    [
        ("bad PIN=4711 here", "4711", "bad PIN=*** here"),
        ("bad PIN: 4711, here", "4711", "bad PIN: ***, here"),
        ("bad 14711 here", "4711", "bad 14711 here"),
        ("X=1 and port 1", "1", "X=*** and port 1"),
        ('{"X":"1"} of 11', "1", '{"X":"***"} of 11'),
        ("is true", "true", "is true"),
        ("is empty", "", "is empty"),
        ("is blank", "  ", "is blank"),
    ],
)
def test_a_short_secret_is_hidden_where_it_stands_alone(text: str, secret: str, shown: str) -> None:
    assert redact(text, [secret]) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pull https://robot:hunter22@r.example/x", "pull https://***@r.example/x"),
        ("user robot password: hunter22", "user robot password: ***"),
        ('{"password":"hunter22","a":1}', '{"password":"***","a":1}'),
        ("?token=hunter22&a=b", "?token=***&a=b"),
        ("Authorization: Basic cm9ib3Q6aHVudGVyMjI=", "Authorization: Basic ***"),
        ("invalid token: expired", "invalid token: expired"),
        ("basic authentication is needed", "basic authentication is needed"),
    ],
)
def test_what_looks_like_credentials_is_hidden_though_nobody_knows_them(
    text: str, shown: str
) -> None:
    assert redact(text, []) == shown


def test_the_end_of_a_text_that_was_cut_does_not_show_the_beginning_of_a_secret() -> None:
    value = "abcdefghijklmnopqrstuvwxyz" * 4
    for end in ("", "...", "…"):
        assert redact(f"bad value {value[:50]}{end}", [value]) == "bad value ***"
    long = redact("x " * 8185 + value, [value])
    assert value[:6] not in long


def test_many_long_secrets_are_looked_for_in_a_part_of_the_text_only() -> None:
    """What begins nowhere in the text is never looked for, so the work grows with the text."""
    values = ["\n".join(f"{n:02}{m:05}" for m in range(500)) for n in range(100)]
    said = redact("".join(values), values)
    # Of what was cut, less than any secret has may be left.
    assert len(said.strip("* ")) < 6


async def test_novitas_key_and_the_registrys_password_are_hidden_from_then_on() -> None:
    password = "registry-hunter22"

    class Novita(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("/template"):
                found = {"template": {"Id": "tpl", "imageAuth": "auth-1", "image": "r/x"}}
                return httpx2.Response(200, json=found)
            if request.url.path.endswith("/auths"):
                auth = {"id": "auth-1", "name": "n", "username": "robot", "password": password}
                return httpx2.Response(200, json={"data": [auth]})
            said = f"pull as robot {password} with sk_of_novita failed"
            return httpx2.Response(400, json={"reason": "BAD_IMAGE", "message": said})

    client = NovitaClient(
        base_url="http://novita.example",
        api_key=SecretStr("sk_of_novita"),
        connect=Novita,
        clock=lambda: datetime(2026, 11, 23, tzinfo=UTC),
        random=lambda: 0.5,
    )
    template = await client.template("tpl")
    with pytest.raises(NovitaRejected) as caught:
        await client.create(replace(PURCHASE, template=template))
    assert "pull as robot *** with *** failed" in caught.value.message
    await client.aclose()


async def test_a_password_that_a_template_holds_is_hidden_in_what_is_said_of_a_machine() -> None:
    class Novita(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("/template"):
                found = {"Id": "tpl", "imageAuth": "robot:registry-hunter22", "image": "r/x"}
                return httpx2.Response(200, json={"template": found})
            assert not request.url.path.endswith("/auths")
            trouble = {"state": "ImagePullFailed", "message": "as robot:registry-hunter22"}
            return httpx2.Response(200, json={"id": "m1", "statusError": trouble})

    client = NovitaClient(
        base_url="http://novita.example",
        api_key=SecretStr("sk_of_novita"),
        connect=Novita,
        clock=lambda: datetime(2026, 11, 23, tzinfo=UTC),
        random=lambda: 0.5,
    )
    await client.template("tpl")
    assert (await client.get("m1")).error == "ImagePullFailed: as ***"
    await client.aclose()


async def test_after_a_start_too_the_registrys_password_is_hidden_in_a_machines_error() -> None:
    """Nobody has ordered since, so no template has named the credentials."""
    asked: list[str] = []

    class Novita(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asked.append(request.url.path.rpartition("/")[2])
            if request.url.path.endswith("/auths"):
                auth = {"id": "auth-1", "name": "n", "username": "robot", "password": "hunter-22"}
                return httpx2.Response(200, json={"data": [auth]})
            trouble = {"state": "ImagePullFailed", "message": "robot with hunter-22"}
            row = {"id": "m1", "imageAuthId": "auth-1", "statusError": trouble}
            is_list = request.url.path.endswith("instances")
            said = {"instances": [row], "total": 1} if is_list else row
            return httpx2.Response(200, json=said)

    client = NovitaClient(
        base_url="http://novita.example",
        api_key=SecretStr("sk_of_novita"),
        connect=Novita,
        clock=lambda: datetime(2026, 11, 23, tzinfo=UTC),
        random=lambda: 0.5,
    )
    (listed,) = (await client.list_all()).machines
    assert listed.error == "ImagePullFailed: robot with ***"
    assert (await client.get("m1")).error == "ImagePullFailed: robot with ***"
    assert asked.count("auths") == 1
    await client.aclose()


def test_no_more_passwords_of_templates_are_kept_than_an_account_has_registries() -> None:
    secrets = Secrets(SecretStr("sk"), clock=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    for number in range(500):
        credentials = f"robot:hunter{number}"
        assert not secrets.has_to_learn(replace(PURCHASE.template, image_auth_id=credentials))
    assert 200 <= len(list(secrets)) < 500
