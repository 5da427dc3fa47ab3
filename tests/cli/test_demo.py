"""The demo keeps away from what the checkout and the shell are set up for."""

import importlib.util
import os
import socket
import sys
from contextlib import ExitStack
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
    environ = {
        "PATH": "/bin",
        "NOVITA_API_KEY": "real",
        "GPUKEEPER_API_KEYS": "real",
        "https_proxy": "socks5://proxy.example",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example",
        "SSL_CERT_FILE": "/none.pem",
    }

    assert demo.foreign(environ) == {"PATH": "/bin"}
    assert Path(sys.executable).is_absolute(), "the demo runs its children in another folder"


def test_two_demos_side_by_side_have_a_service_each(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        usual = free.getsockname()[1]
    monkeypatch.setattr(demo, "USUAL_PORT", usual)
    addresses = []
    with ExitStack() as stack:
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            child, address = demo.start_service(stack, own_settings(demo, folder), folder)
            child.wait_until_up(f"{address}/health/live")
            addresses.append(address)

    assert addresses[0] == f"http://127.0.0.1:{usual}"
    assert addresses[1] != addresses[0]


def test_a_child_that_ends_fails_the_demo_at_once_with_its_last_words(
    demo: ModuleType, tmp_path: Path
) -> None:
    env = own_settings(demo, tmp_path) | {"GPUKEEPER_PORT": "many"}
    with ExitStack() as stack:
        child = demo.Child(stack, "service", ["serve"], env, tmp_path)
        with pytest.raises(demo.DemoFailed, match=r"the service did not come up\nGPUKEEPER_PORT: "):
            child.address(r"Uvicorn running on (http://\S+)")
        # Whoever else answers there is not taken for it.
        with pytest.raises(demo.DemoFailed, match="the service did not come up"):
            child.wait_until_up("http://127.0.0.1:8080/health/ready")


def test_a_service_that_is_refused_for_another_reason_is_not_started_again(
    demo: ModuleType, tmp_path: Path
) -> None:
    env = own_settings(demo, tmp_path) | {"GPUKEEPER_DATA_DIR": "/dev/null"}
    with ExitStack() as stack, pytest.raises(demo.DemoFailed, match="GPUKEEPER_DATA_DIR"):
        demo.start_service(stack, env, tmp_path)


def own_settings(demo: ModuleType, folder: Path) -> dict[str, str]:
    """Return the environment of a service of its own, whose Novita cannot be reached."""
    return {
        **demo.foreign(os.environ),
        "NOVITA_API_KEY": "simulated",
        "NOVITA_BASE_URL": "http://127.0.0.1:9",
        "GPUKEEPER_DATA_DIR": str(folder / "data"),
        "GPUKEEPER_LOG_FORMAT": "json",
    }
