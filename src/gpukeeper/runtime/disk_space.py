"""How much room the disks have on which this process keeps something."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from gpukeeper.config import Settings
from gpukeeper.service.health import Disk


def list_directories(settings: Settings) -> dict[str, Path]:
    """Return the directories that have to have room, by the names that people are told.

    What is not there yet is left out.
    """
    directories = {"data directory": settings.data_dir, "logs": settings.log_dir}
    if settings.postgres_url is None:
        directories["database"] = settings.database_path.parent
    return {name: path for name, path in directories.items() if path.is_dir()}


def measure_disks(directories: Mapping[str, Path]) -> tuple[Disk, ...]:
    """Return how much room there is for each; those that share a disk are one of the first's name.

    Asks the system, which a dead network disk may keep waiting: not for the event loop.
    """
    disks: dict[int | str, Disk] = {}
    for name, directory in directories.items():
        try:
            device, free = directory.stat().st_dev, shutil.disk_usage(directory).free
        except OSError:
            disks[name] = Disk(name, None)
        else:
            disks.setdefault(device, Disk(name, free))
    return tuple(disks.values())
