"""The demo keeps away from what the checkout and the shell are set up for."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """Return the demo as a module."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts/demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_setting_of_the_checkout_or_the_shell_takes_part(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, own = tmp_path / "checkout", tmp_path / "own"
    checkout.mkdir()
    own.mkdir()
    real = checkout / "real.db"
    (checkout / ".env").write_text(f"GPUKEEPER_DATABASE_URL=sqlite:///{real}\nGPUKEEPER_ODD=1\n")
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("GPUKEEPER_DATABASE_URL", f"sqlite:///{real}")
    settings = {"NOVITA_API_KEY": "simulated", "GPUKEEPER_DATA_DIR": str(own / "data")}

    revision = demo.command(["migrate"], demo.foreign(os.environ) | settings, own, is_read=True)

    assert revision.strip()
    assert (own / "data/gpukeeper.db").exists()
    assert not real.exists()


def test_what_is_not_ours_is_left_in_the_environment(demo: ModuleType) -> None:
    environ = {"PATH": "/bin", "NOVITA_API_KEY": "real", "GPUKEEPER_API_KEYS": "real"}

    assert demo.foreign(environ) == {"PATH": "/bin"}
    assert Path(sys.executable).is_absolute(), "the demo runs its children in another folder"
