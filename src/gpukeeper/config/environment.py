"""Read the settings from the environment, a ``.env`` file and secret files; name every fault."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gpukeeper import http_environment, text_encoding
from gpukeeper.config import dotenv_file, kubernetes, otel_variables, parsers
from gpukeeper.config.settings import SECRETS, Settings, variables
from gpukeeper.domain.errors import Fault, InvalidConfiguration

_OURS = ("GPUKEEPER_", "NOVITA_")

_NOVITA_KEY = "NOVITA_API_KEY"

# What our prefixes may also name: the command-line client's settings, Compose's, the test suite's.
_CLIENT_VARIABLES = frozenset({"GPUKEEPER_URL", "GPUKEEPER_API_KEY", "GPUKEEPER_PROFILE"})
_COMPOSE_VARIABLES = frozenset({"GPUKEEPER_IMAGE", "GPUKEEPER_GATEWAY_IMAGE"})
_TEST_PREFIX = "GPUKEEPER_TEST_"

# No secret is longer; a larger file was named by mistake.
_MAX_SECRET_FILE_BYTES = 64 * 1024


def load(
    environ: Mapping[str, str] | None = None,
    *,
    env_file: Path | None = Path(".env"),
    asks_novita: bool = True,
) -> Settings:
    """Return the checked settings; the environment wins over ``env_file``, which may be missing.

    ``environ`` is the process's own environment where it is not given.  An empty variable counts
    as not given.  What never ``asks_novita`` needs no key, and gets none.

    Raises :class:`InvalidConfiguration` with every fault there is, each named after its variable:
    also of those of other programs that outgoing HTTP takes over (proxies, certificates).
    """
    faults: list[Fault] = []
    given = _given(environ, env_file, faults)
    if not asks_novita:
        given = {name: text for name, text in given.items() if not name.startswith(_NOVITA_KEY)}
        given[_NOVITA_KEY] = "unused"
    values = _with_secret_files(given, faults)
    faults += _unknown(given)
    faults += _exposed(values)
    otel = otel_variables.select_otel_variables(given)
    faults += otel_variables.find_otel_faults(otel)
    if asks_novita:
        around = os.environ if environ is None else environ
        unusable = http_environment.find_faults(around)
        if otel:
            unusable |= http_environment.find_faults_for_traces(around)
        faults += [Fault(name, sentence) for name, sentence in unusable.items()]
    known = {variable.name for variable in variables()}
    chosen = {name: values[name] for name in values.keys() & known}
    settings, wrong = _validated(chosen | {"otel": otel})
    faults += wrong
    if settings is None or faults:
        raise InvalidConfiguration(faults)
    return settings


def value_of(
    name: str, environ: Mapping[str, str] | None = None, *, env_file: Path | None = Path(".env")
) -> str | None:
    """Return the text of one setting as :func:`load` finds it, whatever the others are like.

    Raises :class:`InvalidConfiguration` when it cannot be found out.
    """
    faults: list[Fault] = []
    given = _given(environ, env_file, faults)
    related = {key: given[key] for key in (name, f"{name}_FILE") if key in given}
    values = _with_secret_files(related, faults)
    if faults:
        raise InvalidConfiguration(faults)
    return values.get(name)


def _given(
    environ: Mapping[str, str] | None, path: Path | None, faults: list[Fault]
) -> dict[str, str]:
    """Return every variable that is not empty; the environment wins over the file."""
    # A file of variables that begins with a byte-order mark hands it on in the first name.
    named = {
        name.removeprefix("\ufeff"): text
        for name, text in (os.environ if environ is None else environ).items()
    }
    own = kubernetes.drop_service_variables(named)
    given = dotenv_file.read_env_file(path, named, faults) | own
    return {name: text.strip() for name, text in given.items() if text.strip()}


def _with_secret_files(given: Mapping[str, str], faults: list[Fault]) -> dict[str, str]:
    """Return ``given`` with the content of each file that a NAME_FILE names, under its NAME."""
    values = dict(given)
    for name in sorted(SECRETS):
        path = given.get(f"{name}_FILE")
        if path is None:
            continue
        if name in given:
            faults.append(Fault(f"{name}_FILE", f"is given together with {name}: keep one of them"))
            continue
        try:
            values[name] = _secret_in(Path(path))
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            faults.append(Fault(f"{name}_FILE", f"names {path}, which cannot be used: {problem}"))
            # The fault is the file's; without a value, NAME would be reported as missing, too.
            values[name] = ""
    return values


def _secret_in(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_SECRET_FILE_BYTES + 1)
    if len(content) > _MAX_SECRET_FILE_BYTES:
        raise ValueError("it is too large to be a secret")
    text = text_encoding.decode(content).strip()
    if not text:
        raise ValueError("it is empty")
    return text


def _unknown(given: Mapping[str, str]) -> Iterator[Fault]:
    known = {variable.name for variable in variables()} | {f"{name}_FILE" for name in SECRETS}
    for name in sorted(given):
        is_ours = name.startswith(_OURS) and not name.startswith(_TEST_PREFIX)
        if not is_ours or name in known | _CLIENT_VARIABLES | _COMPOSE_VARIABLES:
            continue
        nearest = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "remove it"
        yield Fault(name, f"is not a setting of this version; {hint}")


def _exposed(values: Mapping[str, str]) -> Iterator[Fault]:
    """Find a host that other machines reach while no key protects it."""
    if "GPUKEEPER_API_KEYS" in values or "GPUKEEPER_HOST" not in values:
        return
    try:
        name = parsers.host(values["GPUKEEPER_HOST"])
    except ValueError:
        return
    if not parsers.is_loopback(name):
        yield Fault(
            "GPUKEEPER_API_KEYS",
            f"is required because GPUKEEPER_HOST={name} can be reached from other machines; "
            "'openssl rand -hex 24' makes a good key",
        )


def _validated(values: Mapping[str, Any]) -> tuple[Settings | None, list[Fault]]:
    try:
        return Settings(**values), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    return None, [_fault(detail) for detail in details if not _is_file_fault(detail, values)]


def _is_file_fault(detail: Any, values: Mapping[str, Any]) -> bool:
    return values.get(str(detail["loc"][0])) == ""


def _fault(detail: Any) -> Fault:
    name = str(detail["loc"][0])
    if detail["type"] == "missing":
        return Fault(name, f"is required: set it, or {name}_FILE to the path of a file with it")
    return Fault(name, str(detail["ctx"]["error"]))
