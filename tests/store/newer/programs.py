"""Programs that are newer than this one: they know what it knows, and more revisions."""

from pathlib import Path

from gpukeeper.store import migrations
from gpukeeper.store.migrations import Program

_HERE = Path(__file__).parent
# As it is, whatever this process is made to know later.
THIS = migrations.ours()


def additive() -> Program:
    """Return the next program: it adds to the schema, and this one goes on working."""
    return migrations.program_of("9.1.0", *THIS.folders, _HERE / "additive")


def breaking() -> Program:
    """Return the one after it: this one cannot work on its schema."""
    return migrations.program_of("9.2.0", *THIS.folders, _HERE / "additive", _HERE / "breaking")
