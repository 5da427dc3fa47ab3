"""``gpukeeper restore``: a backup takes the place of the store, whole or not at all."""

import io
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gpukeeper.config import Settings
from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.process import backup, migrate
from gpukeeper.runtime import build, maintenance
from gpukeeper.runtime.engine_lock import lock_engine
from gpukeeper.runtime.restore import NotRestored, restore
from gpukeeper.store import facts, instances
from tests.postgres import Databases
from tests.runtime.conftest import Configure
from tests.store.rows import SEAL, SILENT, an_instance

Change = Callable[[Path], None]


def fill(settings: Settings, *numbers: int) -> None:
    """Have the store hold these instances."""
    runtime = build(settings)
    with runtime.database.engine.begin() as connection:
        for number in numbers:
            instances.add(connection, an_instance(number, due_at=None), SEAL, SILENT)
    runtime.database.close()


def ids_in(settings: Settings) -> list[str]:
    """Return the ids of the instances in the store."""
    with closing(sqlite3.connect(settings.database_path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM instances ORDER BY id")]


def looks_to_go(settings: Settings) -> int:
    """Return how many looks the store needs before it takes orders."""
    runtime = build(settings)
    with runtime.database.engine.begin() as connection:
        count = facts.count_sweeps_to_go(connection)
    runtime.database.close()
    return count


@pytest.fixture
def settings(configure: Configure) -> Settings:
    """Give the settings of a store that holds two instances."""
    settings = configure()
    fill(settings, 1, 2)
    return settings


@pytest.fixture
def saved(settings: Settings, tmp_path: Path) -> Path:
    """Give a backup of that store, and its secrets beside it."""
    folder = tmp_path / "backups"
    folder.mkdir()
    backup(settings, folder / "gpukeeper.db")
    for name in ("secret_key", "webhook_secret"):
        shutil.copy(settings.data_dir / name, folder / name)
    return folder / "gpukeeper.db"


def test_a_backup_and_its_secrets_are_restored_where_all_was_lost(
    settings: Settings, saved: Path
) -> None:
    key = (settings.data_dir / "secret_key").read_text()
    shutil.rmtree(settings.data_dir)
    told: list[str] = []
    restore(settings, saved, told.append, may_replace=False)
    assert ids_in(settings) == ["ins_000001", "ins_000002"]
    assert (settings.data_dir / "secret_key").read_text() == key
    for name in ("gpukeeper.db", "secret_key", "webhook_secret"):
        assert (settings.data_dir / name).stat().st_mode & 0o777 == 0o600
    assert looks_to_go(settings) == 2
    assert not list(settings.data_dir.glob("**/.restore-*"))
    assert any("Restored" in sentence for sentence in told)


def test_an_archive_on_stdin_is_restored_like_a_file(settings: Settings, saved: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as packed:
        packed.add(saved.parent, arcname=".")
    key = (settings.data_dir / "secret_key").read_text()
    shutil.rmtree(settings.data_dir)
    archive.seek(0)
    restore(settings, archive, print, may_replace=False)
    assert ids_in(settings) == ["ins_000001", "ins_000002"]
    assert (settings.data_dir / "secret_key").read_text() == key


@pytest.mark.parametrize("names", [[], ["a.db", "b.db"]])
def test_an_archive_needs_exactly_one_database(
    settings: Settings, tmp_path: Path, names: list[str]
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as packed:
        for name in names:
            (tmp_path / name).touch()
            packed.add(tmp_path / name, arcname=f"../{name}")
    archive.seek(0)
    with pytest.raises(NotRestored, match="must have one file"):
        restore(settings, archive, print, may_replace=True)
    with pytest.raises(NotRestored, match="no tar archive"):
        restore(settings, io.BytesIO(b"no archive" * 100), print, may_replace=True)
    assert not (tmp_path / "data" / "a.db").exists()


def test_a_store_that_holds_instances_is_replaced_by_a_word_and_kept(
    settings: Settings, saved: Path
) -> None:
    fill(settings, 3)
    with pytest.raises(NotRestored, match=r"holds 3 instances: say --replace"):
        restore(settings, saved, print, may_replace=False)
    assert len(ids_in(settings)) == 3
    told: list[str] = []
    for _ in range(2):
        restore(settings, saved, told.append, may_replace=True)
    assert len(ids_in(settings)) == 2
    aside = settings.data_dir / "gpukeeper.db.before-restore"
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchone() == (3,)
    assert str(aside) in " ".join(told)
    assert (settings.data_dir / "gpukeeper.db.before-restore-2").exists()


def test_a_secret_that_is_another_is_kept_and_replaced(settings: Settings, saved: Path) -> None:
    (saved.parent / "secret_key").write_text("T3RoZXIga2V5LCBvdGhlciBtYXJrLCBub3QgdGhhdC4=\n")
    before = (settings.data_dir / "secret_key").read_text()
    restore(settings, saved, print, may_replace=True)
    assert (settings.data_dir / "secret_key").read_text().startswith("T3RoZXI")
    assert (settings.data_dir / "secret_key.before-restore").read_text() == before


def test_a_backup_without_secrets_says_which_are_missing(settings: Settings, saved: Path) -> None:
    for name in ("secret_key", "webhook_secret"):
        (saved.parent / name).unlink()
    shutil.rmtree(settings.data_dir)
    told: list[str] = []
    restore(settings, saved, told.append, may_replace=False)
    assert "There is no secret_key beside the backup" in " ".join(told)


def test_a_store_that_is_in_use_is_left_alone(settings: Settings, saved: Path) -> None:
    with (
        lock_engine(settings, has_engine=True),
        pytest.raises(InvalidConfiguration, match="another gpukeeper runs"),
    ):
        restore(settings, saved, print, may_replace=True)
    # A process that has no engine holds no lock, and the file open.
    with closing(sqlite3.connect(settings.database_path)) as reader:
        reader.execute("PRAGMA journal_mode = WAL").close()
        reader.execute("SELECT count(*) FROM instances").fetchall()
        with pytest.raises(NotRestored, match="is in use"):
            restore(settings, saved, print, may_replace=True)
    assert len(ids_in(settings)) == 2


def cut(path: Path) -> None:
    """Lose the end of a file."""
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    """Have a file be none of ours."""
    path.write_text("no database at all" * 1000)


def empty(path: Path) -> None:
    """Have a database without tables."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1").close()
        connection.execute("CREATE TABLE other (id)").close()


@pytest.mark.parametrize("spoil", [cut, overwrite, empty])
def test_a_backup_that_cannot_be_used_changes_nothing(
    settings: Settings, saved: Path, spoil: Change
) -> None:
    spoil(saved)
    with pytest.raises(NotRestored):
        restore(settings, saved, print, may_replace=True)
    assert len(ids_in(settings)) == 2
    assert not (settings.data_dir / "gpukeeper.db.before-restore").exists()


def test_a_damaged_store_is_replaced_with_its_journals(settings: Settings, saved: Path) -> None:
    overwrite(settings.database_path)
    journal = settings.data_dir / "gpukeeper.db-wal"
    journal.write_bytes(b"of the damaged one")
    with pytest.raises(NotRestored, match="cannot be read"):
        restore(settings, saved, print, may_replace=False)
    restore(settings, saved, print, may_replace=True)
    assert len(ids_in(settings)) == 2
    assert not journal.exists()


def test_a_copy_of_files_with_their_journal_is_restored_whole(
    settings: Settings, tmp_path: Path
) -> None:
    runtime = build(settings)
    with runtime.database.engine.begin() as connection:
        instances.add(connection, an_instance(3, due_at=None), SEAL, SILENT)
    folder = tmp_path / "files"
    folder.mkdir()
    for path in settings.data_dir.glob("gpukeeper.db*"):
        shutil.copy(path, folder / path.name)
    runtime.database.close()
    shutil.rmtree(settings.data_dir)
    restore(settings, folder / "gpukeeper.db", print, may_replace=False)
    assert len(ids_in(settings)) == 3


def test_a_backup_is_known_as_one_however_it_is_put_back(settings: Settings, saved: Path) -> None:
    assert looks_to_go(settings) == 0
    shutil.copy(saved, settings.database_path)
    assert looks_to_go(settings) == 2
    maintenance.lift_restored(settings)
    assert looks_to_go(settings) == 0
    maintenance.note_restored(settings)
    assert looks_to_go(settings) == 2


def test_what_root_restores_belongs_to_the_owner_of_the_data_directory(
    settings: Settings, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, int] = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.update({Path(path).name: uid}))
    stat = Path.stat

    def of_another(self: Path, **options: bool) -> os.stat_result:
        found = stat(self, **options)
        if self != settings.data_dir:
            return found
        return os.stat_result([*found[:4], 10001, 10001, *found[6:]])

    monkeypatch.setattr(Path, "stat", of_another)
    restore(settings, saved, print, may_replace=True)
    assert given["gpukeeper.db"] == 10001
    assert given["engine.lock"] == 10001
    assert given["secret_key"] == 10001


def test_a_postgresql_database_is_left_to_its_own_tools(
    configure: Configure, saved: Path, postgres: Databases
) -> None:
    with postgres.new() as url:
        settings = configure(GPUKEEPER_DATABASE_URL=url)
        with pytest.raises(InvalidConfiguration, match="pg_restore"):
            restore(settings, saved, print, may_replace=True)
        migrate(settings)
        maintenance.note_restored(settings)
        assert looks_to_go(settings) == 2
        maintenance.lift_restored(settings)
        assert looks_to_go(settings) == 0


def test_a_postgresql_database_that_was_copied_elsewhere_looks_before_it_buys(
    configure: Configure, postgres: Databases
) -> None:
    with postgres.new() as url:
        settings = configure(GPUKEEPER_DATABASE_URL=url)
        assert looks_to_go(settings) == 0
        assert looks_to_go(settings) == 0
        with postgres.new(template=postgres.name(url)) as copied:
            assert looks_to_go(configure(GPUKEEPER_DATABASE_URL=copied)) == 2
        assert looks_to_go(settings) == 0
