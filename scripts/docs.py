"""Write the parts of docs/ that the program itself knows best, or check that they are current.

A generated part stands between two comments that name it, so that the text around it is free:
``<!-- generated: settings -->`` and ``<!-- end of generated: settings -->``.
"""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import typer
from pydantic import SecretStr

from gpukeeper import __version__
from gpukeeper.api.app import create_app
from gpukeeper.cli.main import app as cli_app
from gpukeeper.config import variables
from gpukeeper.service import Service
from gpukeeper.telemetry import METRIC_LIST, create_metrics
from gpukeeper.web.problems import KINDS, problem_type

DOCS = Path(__file__).resolve().parents[1] / "docs"

# The help of a command is laid out for this many columns, whatever the terminal.
_COLUMNS = 96

_PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>\w+) -->\n)"
    r".*?"
    r"(?P<end><!-- end of generated: (?P=name) -->)",
    re.DOTALL,
)


def main() -> int:
    """Write what has changed, or with ``--check`` show it and return 1."""
    parser = argparse.ArgumentParser(description="Write the generated parts of docs/.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    is_check = parser.parse_args().check
    changed = list(outdated())
    for path, text in changed:
        if is_check:
            sys.stdout.writelines(_difference(path, text))
        else:
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(DOCS.parent)}")
    if is_check and changed:
        print("Generated documentation is out of date: run `make docs`.", file=sys.stderr)
    return 1 if is_check and changed else 0


def outdated() -> Iterator[tuple[Path, str]]:
    """Yield each file of docs/ that is not current, with the text that it should have."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        current = _PART.sub(_generate, text)
        if current != text:
            yield path, current
    path = DOCS / "openapi.json"
    current = json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != current:
        yield path, current


def settings() -> str:
    """Return every variable as a table."""
    rows = [
        (f"`{each.name}`", _default(each.default), each.sentence + _FILE * each.is_secret)
        for each in variables()
    ]
    return _table(("variable", "default", "what it says"), rows)


def problems() -> str:
    """Return every kind of problem as a table whose anchors are the problems' types."""
    rows = [
        (f"{_anchor(code)}`{code}`", str(kind.status), kind.meaning, kind.remedy)
        for code, kind in KINDS.items()
    ]
    return _table(("code", "status", "when", "what to do"), rows)


def metrics() -> str:
    """Return every metric as a table."""
    rows = [
        (f"`{each.name}`", each.kind, ", ".join(f"`{name}`" for name in each.labels), each.sentence)
        for each in METRIC_LIST
    ]
    return _table(("metric", "kind", "labels", "what it tells"), rows)


def cli() -> str:
    """Return the help of every command, in the order of the program's own help."""
    return "\n".join(_command_help(typer.main.get_command(cli_app), "gpukeeper", None))


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the routes; nothing is served."""
    app = create_app(
        service=Mock(spec=Service),
        check_webhook_url=str,
        api_keys=(),
        secret_key=SecretStr("A" * 43 + "="),
        default_region="",
        default_startup_timeout=timedelta(),
        metrics=create_metrics(),
        version=__version__,
    )
    return app.openapi()


GENERATORS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "problems": problems,
    "metrics": metrics,
    "cli": cli,
}

_FILE = " May be given as a file with `_FILE` after the name."


def _generate(part: re.Match[str]) -> str:
    return f"{part['begin']}{GENERATORS[part['name']]()}{part['end']}"


def _default(shown: str) -> str:
    """Values are shown as code, remarks on them as text."""
    return shown if not shown or " " in shown or shown == "empty" else f"`{shown}`"


def _anchor(code: str) -> str:
    return f'<a id="{problem_type(code).partition("#")[2]}"></a>'


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (heading, ["---"] * len(heading), *rows)
    return "".join(_row(line) for line in lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _command_help(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=_COLUMNS, max_content_width=_COLUMNS
    )
    yield f"## `{context.command_path}`\n\n```\n{command.get_help(context).strip()}\n```\n"
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _command_help(child, child_name, context)


def _difference(path: Path, text: str) -> Iterator[str]:
    name = str(path.relative_to(DOCS.parent))
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    old, new = (each.splitlines(keepends=True) for each in (before, text))
    return difflib.unified_diff(old, new, name, f"{name} (generated)")


if __name__ == "__main__":
    sys.exit(main())
