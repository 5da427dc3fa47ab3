"""What needs attention is counted in the store: machines that are taken back, webhooks given up."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.machines import SpotSignal
from gpukeeper.store import deliveries, instances, migrations, pagination, tables
from gpukeeper.store.db.database import Database
from gpukeeper.store.deliveries import Undelivered
from tests.instances import edit
from tests.store.rows import HOOK, NOW, SECOND, an_instance, an_outbox, became, changed, stored

_MACHINE: dict[str, Any] = {"status": Status.RUNNING, "novita_id": "m1"}


@pytest.mark.parametrize(
    ("facts", "is_notified"),
    [
        ({}, False),
        ({"spot_signal": SpotSignal.NOTIFIED}, True),
        ({"spot_signal": SpotSignal.RECLAIMING}, True),
        ({"reclaim_at": NOW}, True),
        ({"spot_signal": SpotSignal.TERMINATED, "reclaim_at": NOW}, False),
        ({"spot_signal": SpotSignal.NOTIFIED, "status": Status.STARTING}, True),
        ({"spot_signal": SpotSignal.NOTIFIED, "status": Status.STOPPED}, False),
        ({"spot_signal": SpotSignal.NOTIFIED, "gone_at": NOW}, False),
    ],
)
async def test_a_machine_is_counted_for_as_long_as_novita_may_take_it_back(
    database: Database, facts: dict[str, Any], is_notified: bool
) -> None:
    row = an_instance(1, **(_MACHINE | facts))
    assert row.has_reclaim_notice is is_notified
    await stored(database, row, an_instance(2))

    assert await database.read(instances.count_notified) == int(is_notified)
    listed, total, _ = await database.read(
        lambda c: pagination.list_page(
            c, statuses=[Status.LOST], has_notified=True, name=None, before=None, limit=10
        )
    )
    assert [each.id for each in listed] == (["ins_000001"] if is_notified else [])
    assert total == len(listed)


async def test_a_notice_that_a_program_before_left_behind_is_not_counted_when_its_machine_ended(
    database: Database,
) -> None:
    await stored(database, an_instance(1, **_MACHINE, spot_signal=SpotSignal.NOTIFIED))
    await database.write(
        lambda c: c.execute(tables.instances.update().values(status=Status.DELETED.value))
    )
    assert await database.read(instances.count_notified) == 0


async def test_a_withdrawn_notice_is_counted_no_more(database: Database) -> None:
    await stored(database, an_instance(1, **_MACHINE, spot_signal=SpotSignal.NOTIFIED))
    await changed(database, "ins_000001", _without_notice)
    assert await database.read(instances.count_notified) == 0


def _without_notice(row: Instance) -> Instance:
    return edit(row, spot_signal=SpotSignal.NONE)


async def test_webhooks_that_were_given_up_are_counted_since_a_time_and_by_receiver(
    database: Database,
) -> None:
    assert await database.read(lambda c: deliveries.count_undelivered(c, NOW)) == Undelivered()
    outbox = an_outbox(HOOK, "https://other.example/")
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, Status.RUNNING, outbox=outbox)
    exhausted = {"status": DeliveryStatus.EXHAUSTED.value, "finished_at": NOW}
    await database.write(lambda c: c.execute(tables.deliveries.update().values(**exhausted)))

    found = await database.read(lambda c: deliveries.count_undelivered(c, NOW - SECOND))
    assert (found.count, found.receivers) == (4, 2)
    later = NOW + timedelta(hours=1)
    assert (await database.read(lambda c: deliveries.count_undelivered(c, later))).count == 0


def test_notices_of_an_older_version_are_found(empty_database: Database) -> None:
    bodies = {
        "told": '{"spot_signal":"notified","reclaim_at":null}',
        "timed": '{"spot_signal":"none","reclaim_at":"2026-01-01T00:00:00Z"}',
        "over": '{"spot_signal":"terminated","reclaim_at":null}',
        "none": '{"name":"\\"reclaim_at\\":\\"x\\"","spot_signal":"none","reclaim_at":null}',
    }
    with empty_database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(
            text(
                "INSERT INTO instances (id, name, novita_name, status, body)"
                " VALUES (:id, :id, :id, 'running', :body)"
            ),
            [{"id": name, "body": body} for name, body in bodies.items()],
        )
    migrations.upgrade(empty_database.engine)
    with empty_database.engine.connect() as connection:
        rows = connection.execute(text("SELECT id, spot_notice FROM instances ORDER BY id")).all()
    assert [row.id for row in rows if row.spot_notice] == ["timed", "told"]
