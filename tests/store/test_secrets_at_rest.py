"""No environment value can be read from the database's files, whatever became of its order."""

import base64
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store import instances, migrations, orphans
from gpukeeper.store.db import postgres
from gpukeeper.store.db.database import Database, sqlite_url
from tests.instances import edit
from tests.store.rows import HOOK, NOW, SEAL, an_instance, an_outbox, became, changed, stored

CANARY = "canary-4f1d9b"
NAME = "SINGING_BIRD"


async def _lived(database: Database) -> None:
    """Let an order with environment values go through everything that is stored of it."""
    outbox = an_outbox(HOOK)
    envs = {NAME: CANARY}
    row = an_instance(1, order={"envs": envs, "webhook_url": "https://own.example/"})
    await stored(database, row, outbox=outbox)
    await became(database, row.id, *Status, outbox=outbox)

    def order_again(now: Instance) -> Instance:
        return edit(now, order=replace(now.order, envs=envs), failures=1)

    await changed(database, row.id, order_again, outbox=outbox)
    await database.write(lambda c: orphans.record_listing(c, [], NOW))
    assert await database.read(lambda c: instances.read_envs(c, row.id, SEAL)) == envs


def _bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("is_closed", [False, True])
async def test_the_files_of_the_database_hold_no_environment_value(
    tmp_path: Path, is_closed: bool
) -> None:
    database = Database(sqlite_url(tmp_path / "test.db"))
    migrations.upgrade(database.engine)
    await _lived(database)
    if is_closed:
        database.close()
    everything = _bytes_in(tmp_path)
    assert b"trainer-1" in everything
    for secret in (CANARY, NAME):
        assert secret.encode() not in everything
        assert secret.encode("utf-16-le") not in everything
        assert base64.b64encode(secret.encode())[:-4] not in everything
    database.close()


async def test_the_key_is_needed_to_read_them(database: Database) -> None:
    await _lived(database)
    row = await database.read(lambda c: instances.find(c, "ins_000001"))
    assert row is not None
    assert CANARY not in repr(row)
    assert row.order.envs == {}


def test_no_word_about_a_lost_connection_shows_the_password() -> None:
    # Nothing listens on the discard port.
    engine = postgres.open_engine(f"postgresql://me:{CANARY}@127.0.0.1:9/db", connections=1)
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    said = "".join(traceback.format_exception(caught.value))
    assert "127.0.0.1" in said
    assert CANARY not in said + repr(engine)
