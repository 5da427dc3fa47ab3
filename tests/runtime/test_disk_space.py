"""Which disks have to have room, and how much they have."""

import shutil
from pathlib import Path

import pytest

from gpukeeper.runtime import build
from gpukeeper.runtime.disk_space import list_directories, measure_disks
from gpukeeper.service.health import MIN_FREE_BYTES, Disk
from tests.runtime.conftest import Configure


def test_directories_on_one_disk_are_measured_once(tmp_path: Path) -> None:
    (disk,) = measure_disks({"data directory": tmp_path, "logs": tmp_path})
    assert disk.name == "data directory"
    assert disk.free_bytes is not None
    assert disk.free_bytes > 0


def test_a_directory_that_has_gone_is_told(tmp_path: Path) -> None:
    assert measure_disks({"logs": tmp_path / "gone"}) == (Disk("logs", None),)


def test_data_logs_and_database_have_to_have_room(configure: Configure, tmp_path: Path) -> None:
    settings = configure(GPUKEEPER_DATABASE_URL=f"sqlite:///{tmp_path}/x.db")
    assert list_directories(settings) == {"database": tmp_path}
    settings.log_dir.mkdir(parents=True)
    assert list_directories(settings) == {
        "data directory": settings.data_dir,
        "logs": settings.log_dir,
        "database": tmp_path,
    }


def test_a_database_on_a_server_has_no_disk_here(configure: Configure) -> None:
    settings = configure(GPUKEEPER_DATABASE_URL="postgresql://user@host/db")
    settings.data_dir.mkdir()
    assert list(list_directories(settings)) == ["data directory"]


async def test_a_service_whose_disk_is_nearly_full_is_not_ready(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = build(configure())

    def nearly_full(path: Path) -> object:
        return shutil._ntuple_diskusage(MIN_FREE_BYTES, 0, MIN_FREE_BYTES // 2)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    async with runtime.running():
        health = await runtime.service.health(is_brief=True)
    sentence = "the disk of the data directory has 16 MiB left of the 32 that are needed"
    assert sentence in health.problems
