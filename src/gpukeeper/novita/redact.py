"""Make what Novita says fit to be told: on one line, not too long, without secrets."""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

# Longer than any message of Novita's, and short enough for a log line or a webhook.
_MAX_CHARS = 500
# What is looked at of a text, whose beginning alone is told.
_MAX_READ_CHARS = 16_384
# Anything shorter is hidden where it stands alone only: within words it would garble messages.
_SECRET_MIN_CHARS = 6
# Even shorter ones, such as 1 or yes, are hidden only where they are plainly somebody's value.
_WORD_MIN_CHARS = 4
_NO_SECRETS = frozenset({"true", "false", "null", "none"})

# Less of base64 inside of other base64 is no sign of a secret.
_BASE64_MIN_CHARS = 8

_HIDDEN = "***"

_PERCENT = re.compile("%[0-9A-F]{2}")
# Of base64 inside of other base64, these characters at the front depend on what stands before.
_SHARED_CHARS = (0, 2, 3)

# Credentials that we do not know ourselves, such as those behind an imageAuthId.
_CREDENTIALS = (
    (re.compile(r"(://)[^/\s@\"']{1,512}@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(?i)(\b(?:basic|bearer) )(?=\S*[0-9=])[\w+/=.~-]{8,}"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd)[\"'\\]{0,2}\s?[:=]\s?[\"'\\]{0,2}"
            r"|(?:secret|token|api[_-]?key|auth)[\"'\\]{0,2}=[\"'\\]{0,2}"
            r"|(?:secret|token|api[_-]?key|auth)\\?[\"']\s?:\s?\\?[\"'])[^\s\"'\\,;&})*]+"
        ),
        rf"\1{_HIDDEN}",
    ),
)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return a text of Novita's as it may be logged, stored and sent; it may echo ``secrets``.

    A secret is hidden as it is, quoted as JSON, Go, HTML and Python do, percent-encoded, in base64,
    in hexadecimal, and line by line; at the end of a text that is cut, its beginning is.  What
    looks like credentials is hidden too.  However many and long secrets are, this takes some
    tens of milliseconds for each hundred kilobytes of them.
    """
    if not text:
        return ""
    folded = _fold(text[:_MAX_READ_CHARS])
    values = {value for secret in secrets if (value := secret.strip())}
    folded = _hide_long(folded, values)
    folded = _hide_short(folded, values)
    for pattern, shown in _CREDENTIALS:
        folded = pattern.sub(shown, folded)
    return folded[:_MAX_CHARS]


def _hide_long(text: str, values: Iterable[str]) -> str:
    # What begins nowhere in the text need not be looked for: most of what secrets can be is there
    # in no spelling.
    size = _SECRET_MIN_CHARS
    beginnings = {text[at : at + size] for at in range(len(text) - size + 1)}
    spellings = {
        spelling
        for value in values
        for spelling in _spellings(value)
        if spelling[:size] in beginnings and len(spelling) >= size
    }
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, _HIDDEN)
    for spelling in spellings:
        text = _hide_cut(text, spelling)
    return text


def _hide_cut(text: str, spelling: str) -> str:
    """Hide the beginning of a secret at the end of a text: Novita may have cut it, or we have."""
    end = text.rstrip(".…")
    start = end.find(spelling[:_SECRET_MIN_CHARS], max(0, len(end) - len(spelling)))
    while start >= 0:
        if spelling.startswith(end[start:]):
            return end[:start] + _HIDDEN
        start = end.find(spelling[:_SECRET_MIN_CHARS], start + 1)
    return text


def _hide_short(text: str, values: Iterable[str]) -> str:
    short = {v for v in values if len(v) < _SECRET_MIN_CHARS and v.lower() not in _NO_SECRETS}
    words = [re.escape(v) for v in sorted(short, key=len, reverse=True) if v in text]
    for word in words:
        is_word = len(word) >= _WORD_MIN_CHARS
        before = r"(?<!\w)" if is_word else r"(?<==)|(?<=[=\"'`])"
        after = r"(?!\w)" if is_word else r"(?=[\s\"'`,;&})\]]|$)"
        text = re.sub(f"(?:{before}){word}{after}", _HIDDEN, text)
    return text


def _spellings(value: str) -> Iterator[str]:
    """Return what a value may be written as, and what each of its lines may."""
    escaped = json.dumps(value)[1:-1]
    plain = json.dumps(value, ensure_ascii=False)[1:-1]
    # Go's JSON is made for web pages, and that of gateways escapes slashes.
    quoted = {written(text) for text in (escaped, plain) for written in (str, _for_pages, _slashed)}
    python = repr(value)[1:-1]
    forms = {
        # Each with what it makes of a line's end.
        (value, "\n"),
        *((text, "\\n") for text in quoted),
        *((json.dumps(text, ensure_ascii=False)[1:-1], "\\\\n") for text in quoted),
        (python, "\\n"),
        (python.replace("\\'", "'").replace('"', '\\"'), "\\n"),
        (html.escape(value, quote=False), "\n"),
        (html.escape(value), "\n"),
        (html.escape(value, quote=False).replace('"', "&#34;").replace("'", "&#39;"), "\n"),
    }
    percent = {quote(value, safe=""), quote(value), quote_plus(value)}
    forms |= {(form, "%0A") for form in percent}
    forms |= {(_PERCENT.sub(lambda found: found[0].lower(), form), "%0a") for form in percent}
    for form, line_end in forms:
        yield _fold(form)
        if line_end in form:
            for line in form.split(line_end):
                yield _fold(line.removesuffix("\\r").removesuffix("%0D").removesuffix("%0d"))
    raw = value.encode("utf-8", "surrogatepass")
    yield from (raw.hex(), raw.hex().upper())
    yield from _in_base64(raw)


def _in_base64(raw: bytes) -> Iterator[str]:
    """Return a value in base64, by itself or as a part of more, such as KEY=value."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode()
        for ahead, shared in enumerate(_SHARED_CHARS):
            text = encode(bytes(ahead) + raw).decode()
            is_whole = (ahead + len(raw)) % 3 == 0
            # Of an incomplete end, the last character depends on what follows.
            core = text if is_whole else text.rstrip("=")[:-1]
            if len(core) - shared >= _BASE64_MIN_CHARS:
                yield core[shared:]


def _for_pages(text: str) -> str:
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _slashed(text: str) -> str:
    return text.replace("/", "\\/")


def _fold(text: str) -> str:
    return " ".join(text.split())
