"""``gpukeeper restore``: what it takes, what it says, and how it ends."""

from pathlib import Path

import pytest

from tests.cli.program import Program

ENV = {"NOVITA_API_KEY": "sk-for-tests-0123456789"}


@pytest.fixture(autouse=True)
def _in_a_directory_with_a_backup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.run("migrate", env=ENV).status == 0
    assert program.run("backup", "copy.db", env=ENV).status == 0


def test_a_backup_is_restored_and_it_is_said_what_follows(program: Program) -> None:
    ended = program.run("restore", "copy.db", env={})
    assert (ended.status, ended.stdout) == (0, "")
    assert "Restored: " in ended.stderr
    assert "after two complete looks at Novita" in ended.stderr


def test_a_file_that_is_no_backup_ends_with_1(program: Program, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("no database at all" * 1000)
    ended = program.run("restore", "other.db", env={})
    assert ended.status == 1
    assert "other.db cannot be used" in ended.stderr


def test_a_file_that_is_not_there_is_a_usage_error(program: Program) -> None:
    ended = program.run("restore", "none.db", env={})
    assert ended.status == 2
    assert "No such file or directory: 'none.db'" in ended.stderr


@pytest.mark.parametrize("words", [[], ["copy.db", "--mark"], ["--mark", "--lift"]])
def test_one_thing_is_done_at_a_time(program: Program, words: list[str]) -> None:
    ended = program.run("restore", *words, env={})
    assert ended.status == 2
    assert "FILE, --mark or --lift" in ended.stderr


def test_a_store_is_marked_and_the_mark_is_lifted(program: Program) -> None:
    assert "Marked" in program.run("restore", "--mark", env={}).stderr
    assert "Lifted" in program.run("restore", "--lift", env={}).stderr
