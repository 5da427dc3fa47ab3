"""Settings of a service that stands alone: its Novita and its receiver cannot be reached."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gpukeeper.config import Settings, load

# The discard port: nothing listens there, so a connection is refused at once.
NOWHERE = "http://127.0.0.1:9"

Configure = Callable[..., Settings]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Give a function that returns the settings of a data directory; variables may differ."""

    def settings(**variables: str) -> Settings:
        environ = {
            "NOVITA_API_KEY": "test-key",
            "NOVITA_BASE_URL": NOWHERE,
            "GPUKEEPER_NOVITA_RETRIES": "0",
            "GPUKEEPER_DATA_DIR": str(tmp_path / "data"),
            "GPUKEEPER_WEBHOOK_URL": f"{NOWHERE}/hook",
            **variables,
        }
        return load(environ, env_file=None)

    return settings
