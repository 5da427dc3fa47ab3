"""``gpukeeper backup``: what it writes, and what it refuses."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from gpukeeper import config, process
from gpukeeper.domain.errors import InvalidConfiguration
from tests.cli.program import Program

ENV = {"NOVITA_API_KEY": "sk-for-tests-0123456789"}


@pytest.fixture(autouse=True)
def _in_a_directory_with_a_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: Program
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.run("migrate", env=ENV).status == 0


def test_a_backup_is_written_and_the_secrets_are_pointed_out(
    program: Program, tmp_path: Path
) -> None:
    ended = program.run("backup", "copy.db", env=ENV)
    assert (ended.status, ended.stdout) == (0, "")
    assert ended.stderr.startswith("Written: copy.db (0.")
    assert "Keep the secrets in data as well" in ended.stderr
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM events").fetchall() == [(0,)]


@pytest.mark.parametrize("env", [{}, {"NOVITA_API_KEY_FILE": "/not/for/this/user"}])
def test_a_backup_needs_no_key_of_novitas(
    program: Program, tmp_path: Path, env: dict[str, str]
) -> None:
    assert program.run("backup", "copy.db", env=env).status == 0
    assert (tmp_path / "copy.db").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [("there.db", "'there.db' exists already"), ("none/x.db", "No such file or directory")],
)
def test_a_file_that_cannot_be_written_is_a_usage_error(
    program: Program, tmp_path: Path, file: str, message: str
) -> None:
    (tmp_path / "there.db").touch()
    ended = program.run("backup", file, env=ENV)
    assert ended.status == 2
    assert message in ended.stderr


def test_a_database_that_cannot_be_read_ends_with_1(program: Program, tmp_path: Path) -> None:
    for path in (tmp_path / "data").glob("gpukeeper.db*"):
        path.write_bytes(b"no database at all" * 100)
    ended = program.run("backup", "copy.db", env=ENV)
    assert ended.status == 1
    assert "not a database" in ended.stderr


def test_a_missing_database_ends_with_78(program: Program) -> None:
    ended = program.run("backup", "copy.db", env=ENV | {"GPUKEEPER_DATA_DIR": "elsewhere"})
    assert ended.status == 78
    assert "GPUKEEPER_DATA_DIR: there is no database at" in ended.stderr


def test_a_postgresql_database_is_left_to_its_own_tools(tmp_path: Path) -> None:
    settings = config.load(ENV, env_file=None).model_copy(
        update={"database_url": SecretStr("postgresql://user:password@host/db")}
    )
    with pytest.raises(InvalidConfiguration) as refusal:
        process.backup(settings, tmp_path / "copy.db")
    (fault,) = refusal.value.faults
    assert (fault.field, fault.message) == (
        "GPUKEEPER_DATABASE_URL",
        "names a PostgreSQL database: back it up with pg_dump",
    )
