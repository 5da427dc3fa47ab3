"""The files around the code: Makefile, locks and documentation."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def test_make_help_explains_every_target(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([\w-]+):.*## \w", makefile, re.MULTILINE))

    assert targets == explained


def test_ci_runs_what_the_readme_promises(root: Path) -> None:
    ci = (root / ".ci/run").read_text()
    first_screen = "\n".join((root / "README.md").read_text().splitlines()[:40])

    assert "\nmake test\nmake demo ARGS=--once\n" in ci
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_the_generated_documentation_is_current(root: Path) -> None:
    # In a process of its own: what other tests import or set must not show in it.
    command = [sys.executable, str(root / "scripts/docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_in_the_documentation_leads_somewhere(
    root: Path, texts: dict[Path, str]
) -> None:
    for path, text in texts.items():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
            link, _, anchor = "".join(target).partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            linked = (path.parent / link).resolve() if link else path
            assert linked.exists(), f"{path.relative_to(root)} links to {link}"
            if anchor and linked.suffix == ".md":
                assert anchor in _anchors(linked.read_text()), f"{path}: {link}#{anchor}"


def test_every_page_is_listed_where_readers_look_for_it(root: Path) -> None:
    for folder in (root / "docs", root / "docs/decisions"):
        index = (folder / "README.md").read_text()
        for page in folder.glob("*.md"):
            assert page.name == "README.md" or f"({page.name})" in index, page


def test_every_decision_says_why_and_what_else_was_considered(root: Path) -> None:
    for record in (root / "docs/decisions").glob("0*.md"):
        headings = re.findall(r"^## (.*)$", record.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives"], record


@pytest.mark.parametrize(("lock", "group"), [("runtime.txt", ""), ("dev.txt", "dev")])
def test_the_locks_fit_the_project_file(root: Path, lock: str, group: str) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    locked = _locked(root / "requirements" / lock)
    lines = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["otel"],
        *(project["dependency-groups"][group] if group else ()),
    ]

    for requirement in map(Requirement, lines):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement}: run `make lock`"


def test_the_locks_agree_with_each_other_and_every_package_is_hashed(root: Path) -> None:
    runtime = _locked(root / "requirements/runtime.txt")
    development = _locked(root / "requirements/dev.txt")

    assert runtime.items() <= development.items()
    assert all(hashes for _, hashes in development.values())


def _locked(path: Path) -> dict[str, tuple[Version, frozenset[str]]]:
    """Return each locked package with its version and hashes."""
    text = path.read_text().replace("\\\n", " ")
    found: dict[str, tuple[Version, frozenset[str]]] = {}
    for line in text.splitlines():
        match = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.]+)", line)
        if match:
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
            found[canonicalize_name(match[1])] = (Version(match[2]), hashes)
    return found


def _anchors(text: str) -> set[str]:
    """Return the anchors of a page: those of its headings, and those set by hand."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*slugs, *re.findall(r'<a id="([^"]+)"', text)}
