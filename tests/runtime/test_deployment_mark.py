"""The mark by which machines are known outlives the store, beside the secret key or from it."""

from pathlib import Path

import pytest
from sqlalchemy import text

from gpukeeper.domain import ids
from gpukeeper.runtime import build
from tests.runtime.conftest import Configure

KEY = "Y2FuYXJ5LXNlY3JldC1rZXktMDAwMDAwMDAwMDAwMDA="


def mark_of(configure: Configure, **variables: str) -> str:
    """Build the service, and return the mark of its machines."""
    runtime = build(configure(**variables))
    runtime.database.close()
    return runtime.service.deployment


def lose_store(tmp_path: Path) -> None:
    """Remove the database, and leave what lies beside it."""
    for path in (tmp_path / "data").glob("gpukeeper.db*"):
        path.unlink()


def test_a_store_that_is_lost_leaves_its_mark_to_the_next(
    configure: Configure, tmp_path: Path
) -> None:
    mark = mark_of(configure)
    lose_store(tmp_path)
    assert mark_of(configure) == mark


@pytest.mark.parametrize("generated", [True, False])
def test_the_secret_key_alone_leads_to_the_mark(
    configure: Configure, tmp_path: Path, generated: bool
) -> None:
    given = {} if generated else {"GPUKEEPER_SECRET_KEY": KEY}
    mark = mark_of(configure, **given)
    key = (tmp_path / "data" / "secret_key").read_text() if generated else KEY
    elsewhere = {"GPUKEEPER_DATA_DIR": str(tmp_path / "new"), "GPUKEEPER_SECRET_KEY": key.strip()}
    assert mark_of(configure, **elsewhere) == mark
    another = elsewhere | {"GPUKEEPER_DATA_DIR": str(tmp_path / "other")}
    another["GPUKEEPER_SECRET_KEY"] = "T3RoZXIga2V5LCBvdGhlciBtYXJrLCBub3QgdGhhdC4="
    assert mark_of(configure, **another) != mark


def test_an_older_store_keeps_its_mark_which_is_written_beside_the_key(
    configure: Configure, tmp_path: Path
) -> None:
    runtime = build(configure())
    with runtime.database.engine.begin() as connection:
        connection.execute(text("UPDATE facts SET body = '\"0dds\"' WHERE key = 'deployment'"))
    runtime.database.close()
    assert mark_of(configure) == "0dds"
    assert (tmp_path / "data" / "deployment").read_text().strip() == "0dds"
    lose_store(tmp_path)
    assert mark_of(configure) == "0dds"


def test_a_file_that_holds_no_mark_is_passed_over(configure: Configure, tmp_path: Path) -> None:
    mark = mark_of(configure)
    lose_store(tmp_path)
    (tmp_path / "data" / "deployment").write_text("not a mark")
    assert mark_of(configure) == mark


def test_a_mark_that_cannot_be_kept_stops_nothing(configure: Configure, tmp_path: Path) -> None:
    mark = mark_of(configure)
    (tmp_path / "data" / "deployment").unlink()
    (tmp_path / "data" / "deployment").mkdir()
    assert mark_of(configure) == mark


def test_a_derived_mark_is_a_mark() -> None:
    mark = ids.derived_deployment(KEY)
    assert ids.is_deployment(mark)
    assert ids.is_ours(ids.novita_name("worker", mark, bytes(5)), mark)
