"""A newer version of the program, run as a process: ``python -m tests.e2e.newer additive serve``.

It is this version, and what is named first adds its revisions of the schema to this one's.
"""

import sys

from gpukeeper.cli.main import main
from gpukeeper.store import migrations
from tests.store.newer import programs

if __name__ == "__main__":
    newer = getattr(programs, sys.argv.pop(1))()
    migrations.ours = lambda: newer  # type: ignore[assignment]  # the one place that says it
    main()
