"""``gpukeeper migrate --rebind``: it says what it means, and does nothing without a word."""

from pathlib import Path

import pytest

from tests.cli.program import Program

ENV = {"NOVITA_API_KEY": "sk-for-tests-0123456789"}


@pytest.fixture(autouse=True)
def _in_a_directory_with_a_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.run("migrate", env=ENV).status == 0


def test_a_script_has_to_say_yes(program: Program) -> None:
    other = ENV | {"NOVITA_BASE_URL": "http://127.0.0.1:9"}
    refused = program.run("migrate", "--rebind", env=other)
    assert refused.status == 2
    assert "--yes" in refused.stderr
    done = program.run("migrate", "--rebind", "--yes", env=other)
    assert (done.status, done.stdout.strip()[:2]) == (0, "00")
    assert "The store belongs to https://api.novita.ai and the key …6789" in done.stderr
    assert "It is about to belong to http://127.0.0.1:9" in done.stderr
    assert ENV["NOVITA_API_KEY"] not in done.stderr
