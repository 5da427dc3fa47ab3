"""A rig for every engine test, and a way to build one that differs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.engine.rig import STORE, Rig, build_rig

Build = Callable[..., Rig]


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    """Give a function that builds rigs on directories of their own and closes them.

    ``store`` is a store that the rig goes on with.  What holds always is asserted of each in the
    end (:mod:`tests.invariants`).
    """
    rigs: list[Rig] = []
    async with AsyncExitStack() as stack:

        def make(*, store: Path | None = None, **changes: Any) -> Rig:
            directory = tmp_path / f"rig-{len(rigs)}"
            directory.mkdir()
            if store is not None:
                store.rename(directory / STORE)
            rig = build_rig(directory, **changes)
            stack.push_async_callback(rig.close)
            rigs.append(rig)
            return rig

        yield make
        assert [await rig.broken() for rig in rigs] == [[] for _ in rigs]


@pytest.fixture
async def rig(build: Build) -> Rig:
    """Give the ordinary rig: a well-behaved Novita and one webhook."""
    return build()
