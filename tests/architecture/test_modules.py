"""What every module looks like."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 400

# Names that say nothing about what is inside, so that anything ends up inside.
_EMPTY_NAMES = frozenset({"base", "common", "core", "helpers", "manager", "misc", "utils"})

# Where everything may be caught, and how often: by the engine's loops and workers and by the API's
# last handler, which log it with a traceback and count it; and by the write thread, which hands it
# to the one who waits for the unit.
_MAY_CATCH_ALL = {
    "src/gpukeeper/engine/loop.py": 2,
    "src/gpukeeper/web/middleware.py": 1,
    "src/gpukeeper/store/db/database.py": 1,
    "src/gpukeeper/store/db/batch_executor.py": 1,
}


def test_no_module_is_longer_than_400_lines(root: Path, modules: list[Path]) -> None:
    lengths = {path.relative_to(root): len(path.read_text().splitlines()) for path in modules}

    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_module_has_a_name_that_says_nothing(sources: list[Path]) -> None:
    assert [path for path in sources if path.stem in _EMPTY_NAMES] == []


def test_every_module_opens_with_one_sentence(root: Path, modules: list[Path]) -> None:
    def is_wrong(path: Path) -> bool:
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        first, _, _ = docstring.partition("\n\n")
        return not re.search(r"\w[.`)]*\.$", first.strip())

    assert [path.relative_to(root) for path in modules if is_wrong(path)] == []


def test_everything_is_caught_in_the_named_places_only(root: Path, sources: list[Path]) -> None:
    counts = {
        path.relative_to(root).as_posix(): len(list(_catch_alls(ast.parse(path.read_text()))))
        for path in sources
    }

    assert {name: count for name, count in counts.items() if count} == _MAY_CATCH_ALL


def test_nothing_is_silenced_without_a_reason(modules: list[Path]) -> None:
    silenced = re.compile(r"type: " r"ignore(?!\[[\w, -]+\] +#)|pragma: " r"no cover")
    for path in modules:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            assert not silenced.search(line), f"{path}:{number}"


def _catch_alls(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _is_any(node.type)):
            yield node
        elif isinstance(node, ast.Call) and _name(node.func) == "suppress":
            yield from filter(_is_any, node.args)


def _is_any(node: ast.expr) -> bool:
    """Whether an expression after ``except`` stands for every exception."""
    if isinstance(node, ast.Tuple):
        return any(map(_is_any, node.elts))
    return _name(node) in ("Exception", "BaseException")


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
