"""A rig for every engine test, and a way to build one that differs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gpukeeper.store.db.database import sqlite_url
from tests.engine.rig import STORE, Rig, build_rig
from tests.postgres import Databases

Build = Callable[..., Rig]


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return a kind of database that the store knows; every test of the engine runs on each."""
    name: str = request.param
    return name


@pytest.fixture
async def build(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Build]:
    """Give a function that builds rigs on databases of their own and closes them.

    ``store`` is a SQLite file that the rig goes on with, ``beside`` a rig whose clock and Novita
    it shares, and whose database if it has none of its own.  What holds always is asserted of
    each in the end (:mod:`tests.invariants`).
    """
    rigs: list[Rig] = []
    urls: list[str] = []
    async with AsyncExitStack() as stack:

        def database_url(directory: Path, *, is_file: bool) -> str:
            if is_file or kind == "sqlite":
                return sqlite_url(directory / STORE)
            databases: Databases = request.getfixturevalue("postgres")
            template: str = request.getfixturevalue("migrated")
            return stack.enter_context(databases.new(template=template))

        def make(*, store: Path | None = None, beside: Rig | None = None, **changes: Any) -> Rig:
            directory = tmp_path / f"rig-{len(rigs)}"
            directory.mkdir()
            if store is not None:
                store.rename(directory / STORE)
            shared = [u for r, u in zip(rigs, urls, strict=True) if r is beside and store is None]
            url = shared[0] if shared else database_url(directory, is_file=store is not None)
            rig = build_rig(directory, url, beside=beside, **changes)
            stack.push_async_callback(rig.close)
            rigs.append(rig)
            urls.append(url)
            return rig

        yield make
        assert [await rig.broken() for rig in rigs] == [[] for _ in rigs]


@pytest.fixture
async def rig(build: Build) -> Rig:
    """Give the ordinary rig: a well-behaved Novita and one webhook."""
    return build()
