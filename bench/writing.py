"""Change one instance after the other in a SQLite store, so many commits a second, until killed.

Run as a program of its own: `python -m bench.writing FILE COMMITS_PER_SECOND`.
"""

import asyncio
import itertools
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gpukeeper.domain.instances import Instance
from gpukeeper.store import instances
from gpukeeper.store.db.database import Connection, Database, sqlite_url
from gpukeeper.store.outbox import Outbox

# Said once the first change is stored.
BEGUN = "begun"


def main() -> None:
    """Write until killed."""
    file, per_second = sys.argv[1:]
    asyncio.run(write(Path(file), 1 / float(per_second)))


async def write(file: Path, pause_seconds: float) -> None:
    """Store that Novita was seen to agree, with one row after the other."""
    database = Database(sqlite_url(file))
    ids = await database.read(instances.list_unsettled_ids)
    for number in itertools.count():
        await database.write(partial(_seen, instance_id=ids[number % len(ids)]))
        if number == 0:
            print(BEGUN, flush=True)
        await asyncio.sleep(pause_seconds)


def _seen(connection: Connection, *, instance_id: str) -> None:
    now = datetime.now(UTC)

    def fold(row: Instance) -> Instance:
        return replace(row, watch=replace(row.watch, observed_at=now))

    instances.change(connection, instance_id, fold, now, Outbox((), 0, lambda prefix, at: prefix))


if __name__ == "__main__":
    main()
