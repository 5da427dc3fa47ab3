"""Who may import whom."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Parts of the standard library through which time, chance or the world could come in.
_IMPURE = {"asyncio", "logging", "os", "random", "secrets", "socket", "threading", "time", "uuid"}
_CLOCKS = {"now", "today", "utcnow"}

# Libraries that come with a declared one and are its public face, or what it reads with.
_COMES_WITH = {
    "starlette": "fastapi",
    "pydantic_core": "pydantic",
    "markupsafe": "jinja2",
}

# Libraries of several packages: the one that is always installed, and the extra with the others.
_HAVE_EXTRAS = {"opentelemetry": ("opentelemetry-api", "otel")}


def test_imports_point_down_only_and_every_library_has_one_home(root: Path) -> None:
    # In a process of its own: it configures logging for the whole process that it runs in.
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    linted = subprocess.run(
        [sys.executable, "-c", command, "--config", str(root / "pyproject.toml"), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_domain_imports_nothing_that_could_surprise_it(root: Path) -> None:
    allowed = (sys.stdlib_module_names - _IMPURE) | {"gpukeeper"}

    for path in (root / "src/gpukeeper/domain").rglob("*.py"):
        assert set(_imported(path)) <= allowed, path


def test_the_domain_reads_no_clock(root: Path) -> None:
    for path in (root / "src/gpukeeper/domain").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            reads_clock = isinstance(node, ast.Attribute) and node.attr in _CLOCKS
            assert not reads_clock, f"{path}:{getattr(node, 'lineno', '')}"


def test_the_declared_dependencies_are_those_that_are_imported(
    root: Path, sources: list[Path]
) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    distributions = packages_distributions()

    imported = {name for path in sources for name in _imported(path)}
    libraries = imported - sys.stdlib_module_names - {"gpukeeper"}
    needed = {
        distributions[_COMES_WITH.get(name, name)][0]
        for name in libraries
        if name not in _HAVE_EXTRAS
    }

    split = [_HAVE_EXTRAS[name] for name in libraries & _HAVE_EXTRAS.keys()]
    assert {*map(canonicalize_name, needed), *(always for always, _ in split)} == declared
    assert {extra for _, extra in split} == extras.keys()


def _imported(path: Path) -> Iterator[str]:
    """Yield the top-level package of every import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield (node.module or "").partition(".")[0]
