"""The files that the rules of the repository are about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Folders that only this checkout has: environments, caches, and what the program wrote.
_NOT_OURS = frozenset({".git", ".venv", "__pycache__", "build", "data", "dist", "htmlcov"})


@pytest.fixture
def root() -> Path:
    """Return the folder of the repository."""
    return ROOT


@pytest.fixture
def sources() -> list[Path]:
    """Return the modules of the program."""
    return sorted((ROOT / "src").rglob("*.py"))


@pytest.fixture
def modules() -> list[Path]:
    """Return every module: program, tests, scripts and benchmarks."""
    return [path for path in _files(ROOT) if path.suffix == ".py"]


@pytest.fixture
def texts() -> dict[Path, str]:
    """Return what every text file of the repository says."""
    found: dict[Path, str] = {}
    for path in _files(ROOT):
        try:
            found[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            # A picture or a recorded body: no text, no rule about it.
            continue
    return found


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        is_cache = path.name.endswith("_cache") or path.name == ".hypothesis"
        if path.name in _NOT_OURS or is_cache or path.name.startswith(".coverage"):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.name != ".env":
            yield path
