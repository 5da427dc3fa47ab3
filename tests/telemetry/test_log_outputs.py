"""Outputs of messages that fail, go or move while the service goes on."""

import errno
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukeeper.telemetry import configure_logging, get_logger, shut_down_logging
from gpukeeper.telemetry.log_outputs import describe_file_fault, find_file_fault

log = get_logger("tests")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    shut_down_logging()
    root.setLevel(level)


def events(path: Path) -> list[str]:
    """Return the words of the messages in a file."""
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    configure_logging(format="json", log_dir=tmp_path, stream=io.StringIO())
    log.warning("first")
    (tmp_path / "gpukeeper.log").rename(tmp_path / "old.log")
    log.warning("second")

    assert events(tmp_path / "old.log") == ["first"]
    assert events(tmp_path / "gpukeeper.log") == ["second"]


def test_a_file_that_was_deleted_is_made_anew_and_its_folder_too(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    configure_logging(format="json", log_dir=folder, stream=io.StringIO())
    (folder / "gpukeeper.log").unlink()
    log.warning("first")
    assert events(folder / "gpukeeper.log") == ["first"]

    (folder / "gpukeeper.log").unlink()
    folder.rmdir()
    log.warning("second")
    assert events(folder / "gpukeeper.log") == ["second"]


def test_what_another_made_in_its_place_is_written_to(tmp_path: Path) -> None:
    configure_logging(format="json", log_dir=tmp_path, stream=io.StringIO())
    log.warning("first")
    (tmp_path / "gpukeeper.log").rename(tmp_path / "old.log")
    (tmp_path / "gpukeeper.log").touch()
    log.warning("second")
    log.warning("third")

    assert events(tmp_path / "gpukeeper.log") == ["second", "third"]


def test_a_place_that_cannot_be_written_to_is_told_of_once_until_it_can(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logging(format="json", log_dir=tmp_path, stream=stream)
    (tmp_path / "gpukeeper.log").unlink()
    (tmp_path / "gpukeeper.log").mkdir()
    log.warning("first")
    log.warning("second")
    (tmp_path / "gpukeeper.log").rmdir()
    log.warning("third")

    said = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert said == ["first", "log_file_unavailable", "second", "third"]
    assert events(tmp_path / "gpukeeper.log") == ["third"]


def test_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    configure_logging(format="json", log_dir=tmp_path, stream=io.StringIO())

    assert (tmp_path / "gpukeeper.log").stat().st_mode & 0o777 == 0o600


def test_a_reader_of_stdout_that_has_gone_is_told_of_once_and_ends_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gpukeeper.telemetry import configure_logging, get_logger\n"
        "configure_logging(format='json', log_dir=Path(sys.argv[1]), stream=sys.stdout)\n"
        "for word in ('first', 'second', 'third'):\n"
        "    get_logger('tests').warning(word)\n"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)

    assert (ended.returncode, ended.stderr) == (0, "")
    told = events(tmp_path / "gpukeeper.log")
    assert sorted(told) == ["first", "log_stream_unavailable", "second", "third"]


class FullStream(io.StringIO):
    """A stream into a file on a full disk."""

    def write(self, text: str) -> int:
        """Fail."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_stream_on_a_full_disk_is_told_of_once(tmp_path: Path) -> None:
    configure_logging(format="json", log_dir=tmp_path, stream=FullStream())
    log.warning("first")
    log.warning("second")

    told = events(tmp_path / "gpukeeper.log")
    assert sorted(told) == ["first", "log_stream_unavailable", "second"]


def test_a_file_is_looked_at_beforehand_and_left_as_it_is(tmp_path: Path) -> None:
    assert find_file_fault(tmp_path / "gpukeeper.log") is None
    assert find_file_fault(tmp_path / "none" / "gpukeeper.log") is None
    assert list(tmp_path.iterdir()) == []

    (tmp_path / "file").touch()
    assert find_file_fault(tmp_path / "file") is None
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file" / "x", "Not a directory")):
        fault = find_file_fault(path)
        assert fault is not None
        assert fault.startswith(f"{path} cannot be written to ({why})")


def test_a_folder_in_which_no_file_can_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)

    fault = find_file_fault(tmp_path / "gpukeeper.log")

    assert fault is not None
    assert fault.startswith(f"{tmp_path} cannot be written to (no file can be made in it)")


def test_who_owns_a_file_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gpukeeper.log"
    path.touch()
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 10_001)

    said = describe_file_fault(path, PermissionError(13, "Permission denied"))

    assert said == (
        f"{path} cannot be written to (Permission denied): it belongs to user {owner}, "
        f"give it to user {owner + 10_001} or move it away"
    )


def test_without_any_stream_the_file_has_the_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a process that was started with `>&- 2>&-`.
    monkeypatch.setattr(sys, "stderr", None)
    configure_logging(format="json", log_dir=tmp_path)

    log.warning("first")

    assert events(tmp_path / "gpukeeper.log") == ["first"]
