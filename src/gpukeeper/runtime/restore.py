"""Put a backup of a SQLite store back, whole or not at all, with the secrets that lie beside it."""

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from gpukeeper.config import Settings, create_data_dir
from gpukeeper.config.data_dir import SECRET_KEY_FILE, WEBHOOK_SECRET_FILE
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.runtime.engine_lock import lock_engine
from gpukeeper.store import facts
from gpukeeper.store.db.database import Database, StoreError, sqlite_url
from gpukeeper.store.db.schema_check import check_file

_ASIDE = ".before-restore"
_JOURNALS = ("-wal", "-shm")
_SECRETS = (SECRET_KEY_FILE, WEBHOOK_SECRET_FILE)

Tell = Callable[[str], None]


class NotRestored(Exception):
    """The store is as it was; the message is a sentence that says why."""


def restore(settings: Settings, source: Path | BinaryIO, tell: Tell, *, may_replace: bool) -> None:
    """Put a backup in the place of the store, marked as restored.

    ``source`` is the file, or a tar archive of it and its secrets.  What was there is renamed, and
    is given up only if it holds nothing or ``may_replace``.  ``tell`` is told what was done.
    Raises NotRestored, OSError, and InvalidConfiguration.
    """
    if settings.postgres_url is not None:
        message = "names a PostgreSQL database: use pg_restore, then 'gpukeeper restore --mark'"
        raise InvalidConfiguration([Fault("GPUKEEPER_DATABASE_URL", message)])
    create_data_dir(settings)
    target = settings.database_path.resolve()
    with lock_engine(settings, has_engine=True), _room_beside(target) as room:
        file = source if isinstance(source, Path) else _unpacked(source, room)
        prepared = _prepared(file, room / "prepared.db")
        if target.exists():
            _close_old(target, may_replace=may_replace)
            kept = _put_aside(target)
            tell(f"What was there is kept as {kept}.")
        _give_to_owner(prepared, target.parent)
        prepared.replace(target)
        _sync(target.parent)
        tell(f"Restored: {target}.")
        _restore_secrets(settings, file.parent, tell)
        for path in settings.data_dir.iterdir():
            _give_to_owner(path, settings.data_dir)


@contextmanager
def _room_beside(target: Path) -> Iterator[Path]:
    """Give a folder of ours on the disk of the target, which is gone in the end."""
    with TemporaryDirectory(prefix=".restore-", dir=target.parent) as directory:
        yield Path(directory)


def _unpacked(archive: BinaryIO, room: Path) -> Path:
    """Unpack an archive and return the database in it."""
    folder = room / "unpacked"
    folder.mkdir()
    try:
        with tarfile.open(fileobj=archive, mode="r|*") as packed:
            for member in packed:
                if member.isfile():
                    member.name, member.mode = Path(member.name).name, 0o600
                    packed.extract(member, folder, filter="data")
    except tarfile.TarError as error:
        raise NotRestored(f"What is read is no tar archive ({error}).") from error
    files = [path for path in folder.iterdir() if path.name not in _SECRETS]
    databases = [path for path in files if path.suffix == ".db"]
    if len(databases) != 1:
        names = ", ".join(sorted(path.name for path in databases)) or "none"
        raise NotRestored(f"The archive must have one file that ends with .db; it has: {names}.")
    return databases[0]


def _prepared(source: Path, copy: Path) -> Path:
    """Return a copy of a backup that was found to be sound, marked as restored."""
    shutil.copyfile(source, copy)
    copy.chmod(0o600)
    journal = source.with_name(f"{source.name}-wal")
    if journal.exists():
        shutil.copyfile(journal, copy.with_name(f"{copy.name}-wal"))
    try:
        found = check_file(copy)
        if found.refusal is not None:
            raise NotRestored(f"{source} cannot be used: {found.refusal}.")
        if found.revision is None:
            raise NotRestored(f"{source} is no database of gpukeeper.")
        database = Database(sqlite_url(copy))
        try:
            with database.engine.begin() as connection:
                facts.record_restore(connection)
        finally:
            database.close()
        with closing(sqlite3.connect(copy)) as connection:
            # One file: its journals must not be left behind.
            connection.execute("PRAGMA journal_mode = DELETE").close()
    except (StoreError, sqlite3.Error) as error:
        said = getattr(error, "orig", error)
        raise NotRestored(f"{source} cannot be used: {said}.") from error
    _sync(copy)
    return copy


def _close_old(target: Path, *, may_replace: bool) -> None:
    """Bring the old store into one file; raise NotRestored if it is in use or holds anything."""
    count: int | None = None
    try:
        with closing(sqlite3.connect(target, timeout=0)) as connection:
            # Is refused while anybody else has the file open, also one that only reads.
            connection.execute("PRAGMA journal_mode = DELETE").close()
            count = _instances_in(connection)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            raise NotRestored(f"{target} is in use: stop what works on it.") from error
    if count == 0 or may_replace:
        return
    held = "cannot be read" if count is None else f"holds {count} instances"
    raise NotRestored(f"{target} {held}: say --replace if the backup is to take its place.")


def _instances_in(connection: sqlite3.Connection) -> int:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'instances'")
    if tables.fetchone() is None:
        return 0
    (count,) = connection.execute("SELECT count(*) FROM instances").fetchone()
    return int(count)


def _put_aside(path: Path) -> Path:
    """Give a file, and the journals of a database, a second name; return it."""
    number, aside = 1, path.with_name(path.name + _ASIDE)
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{_ASIDE}-{number}")
    # The journals of a damaged one: beside the restored database they would be taken for its own.
    for end in _JOURNALS:
        journal = path.with_name(path.name + end)
        if journal.exists():
            journal.replace(aside.with_name(aside.name + end))
    # Under its own name it stays until the restored one takes that, at once.
    if not _linked(path, aside):
        shutil.copy2(path, aside)
    return aside


def _linked(path: Path, aside: Path) -> bool:
    try:
        os.link(path, aside)
    except OSError:
        return False
    return True


def _restore_secrets(settings: Settings, folder: Path, tell: Tell) -> None:
    """Put the secrets back that lie beside the backup, and say which are not there."""
    for name in _SECRETS:
        kept, there = folder / name, settings.data_dir / name
        if not kept.exists():
            if not there.exists():
                tell(f"There is no {name} beside the backup: it has to be given, or is made anew.")
            continue
        text = kept.read_bytes()
        if there.exists() and there.read_bytes() == text:
            continue
        if there.exists():
            tell(f"The {name} that was there is kept as {_put_aside(there)}.")
        with TemporaryDirectory(prefix=".restore-", dir=settings.data_dir) as room:
            new = Path(room) / name
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            new.write_bytes(text)
            _sync(new)
            new.replace(there)
        tell(f"Restored: {there}.")


def _give_to_owner(path: Path, folder: Path) -> None:
    """Give what root has made to the owner of the folder: the service does not run as root."""
    owner = folder.stat()
    if os.geteuid() == 0 and path.is_file() and path.stat().st_uid != owner.st_uid:
        os.chown(path, owner.st_uid, owner.st_gid)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
