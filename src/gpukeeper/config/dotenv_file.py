"""Read the variables of a ``.env`` file, and name each line of it that says nothing."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import parse_variables

from gpukeeper import text_encoding
from gpukeeper.domain.errors import Fault

# A line that looks like a setting of ours is meant as one.
_OURS = ("GPUKEEPER_", "NOVITA_")

_IN_SINGLE_QUOTES = re.compile(r"\s*(export\s+)?('[^']+'|[^=#\s]+)\s*=\s*'")


def read_env_file(
    path: Path | None, environ: Mapping[str, str], faults: list[Fault]
) -> dict[str, str]:
    """Return the variables of the file, if there is one; what is wrong with it joins ``faults``.

    ``${NAME}`` and ``${NAME:-default}`` stand for variables of the lines above or of ``environ``,
    but within single quotes, which are literal.
    """
    try:
        lines = _lines(path)
    except OSError as error:
        faults.append(Fault(str(path), f"cannot be read ({type(error).__name__})"))
        return {}
    except ValueError as error:
        faults.append(Fault(str(path), f"cannot be read: {error}"))
        return {}
    wrong = [line for line in lines if line.error or _has_no_value(line)]
    # A reader that passed over them would pass over the settings in them.
    message = "is not NAME=value, or its quote is open"
    faults += [Fault(f"{path} line {_number(line)}", message) for line in wrong]
    found: dict[str, str] = {}
    for line in lines:
        if line.key and line.value:
            found[line.key] = _value(line, line.value, {**environ, **found})
    return found


def _lines(path: Path | None) -> list[Binding]:
    # A folder of that name is often a virtual environment; a pipe is how password managers do it.
    if path is None or not path.exists() or path.is_dir():
        return []
    return list(parse_stream(StringIO(text_encoding.decode(path.read_bytes()), newline=None)))


def _value(line: Binding, text: str, known: Mapping[str, str]) -> str:
    if _IN_SINGLE_QUOTES.match(line.original.string):
        return text
    return "".join(part.resolve(known) for part in parse_variables(text))


def _number(line: Binding) -> int:
    # Empty lines belong to what follows them.
    text = line.original.string
    return line.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _has_no_value(line: Binding) -> bool:
    return line.key is not None and line.key.startswith(_OURS) and line.value is None
