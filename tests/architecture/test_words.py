"""Which words stand in the repository, and which do not."""

import ast
import re
from pathlib import Path

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.instances import Status

# Put together from halves, so that this file does not contain what it looks for.
_UNFINISHED = re.compile("|".join((r"\bTO" r"DO\b", r"\bFIX" r"ME\b", r"\bXX" r"X\b")))
_REGISTRIES = re.compile(
    r"py" r"pi\.org|pythonhosted" r"\.org|npm" r"js\.(com|org)|://[^\s/]+/(simple|packages)/"
)
_SOMEBODYS_FOLDER = re.compile(r"(?<![\w.~])/(home|Users)/\w+/|(?<![\w.~])/ro" r"ot/")


def test_nothing_is_left_unfinished(texts: dict[Path, str]) -> None:
    assert _found(_UNFINISHED, texts) == []


def test_no_package_registry_is_named(texts: dict[Path, str]) -> None:
    assert _found(_REGISTRIES, texts) == []


def test_no_file_knows_the_machine_that_it_was_written_on(
    root: Path, texts: dict[Path, str]
) -> None:
    assert _found(_SOMEBODYS_FOLDER, texts) == []
    assert _found(re.compile(rf"(?<!\w){re.escape(str(root))}/"), texts) == []


def test_the_glossary_explains_every_status(root: Path) -> None:
    defined = set(re.findall(r"^\| `(\w+)` \|", _glossary(root), re.MULTILINE))

    assert {status.value for status in (*Status, *DeliveryStatus)} <= defined


def test_the_glossary_has_every_word_of_the_program(root: Path) -> None:
    words = (
        "order instance offer attempt observation status step sweep orphan adopt event delivery"
        " lane exhausted lease due_at deadline temporary permanent nudge drain stale"
    )
    entries = re.findall(r"^\| ([^|]+) \|", _glossary(root), re.MULTILINE)
    defined = {word.strip(" `") for entry in entries for word in entry.split(",")}

    assert set(words.split()) <= defined


def test_no_name_contains_a_word_that_the_glossary_rejects(root: Path, sources: list[Path]) -> None:
    _, _, rejected_part = _glossary(root).partition("## Words that no name")
    rejected = set(re.findall(r"`(\w+)`", rejected_part))
    assert rejected

    for path in sources:
        for name in _names(ast.parse(path.read_text())):
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
            assert not words & rejected, f"{path}: {name}"


def _glossary(root: Path) -> str:
    return (root / "docs/glossary.md").read_text()


def _names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def _found(pattern: re.Pattern[str], texts: dict[Path, str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
