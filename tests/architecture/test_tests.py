"""What every test keeps to."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# Fewer words than this are no sentence.
_MIN_WORDS = 3


@pytest.fixture
def trees(root: Path) -> dict[Path, ast.Module]:
    """Return every module of the tests, parsed."""
    return {path: ast.parse(path.read_text()) for path in (root / "tests").rglob("*.py")}


def test_no_test_sleeps_to_let_time_pass(trees: dict[Path, ast.Module]) -> None:
    for path, tree in trees.items():
        for call in _calls(tree):
            is_nap = _dotted(call.func).endswith("sleep") and not _is_zero(call.args)
            assert not is_nap, f"{path}:{call.lineno}"


def test_no_test_is_skipped_or_expected_to_fail(trees: dict[Path, ast.Module]) -> None:
    silent = ("pytest.skip", "pytest.xfail", "pytest.importorskip")
    marks = ("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail")
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert _dotted(node) not in silent + marks, f"{path}:{node.lineno}"


def test_the_name_of_every_test_is_a_sentence(trees: dict[Path, ast.Module]) -> None:
    short = [
        f"{path.name}: {node.name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name.split("_")) - 1 < _MIN_WORDS
    ]

    assert short == []


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _is_zero(arguments: list[ast.expr]) -> bool:
    first = arguments[0] if arguments else None
    return isinstance(first, ast.Constant) and first.value == 0
