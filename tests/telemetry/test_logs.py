"""What the log says, and what it never says."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gpukeeper.telemetry import configure_logging, get_logger, log_context, logs, shut_down_logging

log = get_logger("gpukeeper.test")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    shut_down_logging()
    logging.captureWarnings(False)


@pytest.fixture
def stream() -> io.StringIO:
    """Return what stands in for stderr."""
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the JSON lines that were logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_message_is_one_json_object_with_its_context(stream: io.StringIO) -> None:
    configure_logging("info", format="json", stream=stream)

    with log_context(request_id="req_1", instance_id="ins_1"):
        log.info("looked", calls=3)
    log.info("looked")

    first, second = lines(stream)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "looked",
        "calls": 3,
        "request_id": "req_1",
        "instance_id": "ins_1",
        "logger": "gpukeeper.test",
        "level": "info",
    }
    assert "request_id" not in second


def test_libraries_log_in_the_same_form(stream: io.StringIO) -> None:
    configure_logging("info", format="json", stream=stream)

    with log_context(request_id="req_1"):
        logging.getLogger("a.library").info("Started %s", "it")

    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("Started it", "a.library", "info")
    assert line["request_id"] == "req_1"


def test_warnings_of_python_are_logged(stream: io.StringIO) -> None:
    configure_logging("info", format="json", stream=stream)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)

    assert "this is old" in lines(stream)[0]["event"]


def test_less_important_messages_are_left_out(stream: io.StringIO) -> None:
    configure_logging("warning", format="json", stream=stream)

    log.info("left_out")
    log.warning("told")

    assert [line["event"] for line in lines(stream)] == ["told"]


@pytest.mark.parametrize("name", ["httpx2", "httpcore2.http11", "uvicorn.access", "alembic"])
def test_libraries_that_tell_of_every_call_are_heard_only_when_they_warn(
    stream: io.StringIO, name: str
) -> None:
    configure_logging("debug", format="json", stream=stream)

    logging.getLogger(name).info("GET /secret")
    logging.getLogger(name).warning("trouble")

    assert [line["event"] for line in lines(stream)] == ["trouble"]


def test_no_secret_is_logged_whatever_it_is_called(stream: io.StringIO) -> None:
    configure_logging("info", format="json", stream=stream)

    log.info(
        "asked",
        api_key="hunter22",
        sshPassword="hunter22",
        Authorization="Bearer hunter22",
        webhook_secret="hunter22",
        envs={"A": "hunter22"},
        anything=SecretStr("hunter22"),
        nested={"cookie": "hunter22", "list": [{"token": "hunter22"}, SecretStr("hunter22")]},
        pair=(SecretStr("hunter22"),),
        idempotency_key="once",
        name="trainer",
    )

    assert "hunter22" not in stream.getvalue()
    (line,) = lines(stream)
    assert (line["api_key"], line["envs"], line["anything"]) == ("***", "***", "***")
    assert (line["idempotency_key"], line["name"]) == ("once", "trainer")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_shows_no_variables(stream: io.StringIO, format: str) -> None:
    configure_logging("info", format=format, stream=stream)
    password = "hunter22"

    try:
        int(len(password) / 0)
    except ZeroDivisionError:
        log.exception("failed")

    text = stream.getvalue()
    assert "Traceback" in text
    assert "ZeroDivisionError" in text
    assert "hunter22" not in text


def test_a_console_line_is_one_line(stream: io.StringIO) -> None:
    configure_logging("info", format="console", stream=stream)

    log.info("asked", path="/a\n2026-01-01 [info] forged\x1b[2J")

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert "asked" in stream.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_text_ends_a_line_for_any_reader(stream: io.StringIO, tmp_path: Path, end: str) -> None:
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)

    log.info("asked", path=f"/a{end}{{}}", **{f"odd{end}name": "é"})

    for text in (stream.getvalue(), (tmp_path / "gpukeeper.log").read_bytes().decode()):
        (line,) = text.splitlines()
        shown = json.loads(line)
        assert (shown["path"], shown[f"odd{end}name"]) == (f"/a{end}{{}}", "é")


def test_half_of_a_surrogate_pair_is_logged(stream: io.StringIO, tmp_path: Path) -> None:
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)

    log.info("asked", path="/\ud800")

    assert json.loads((tmp_path / "gpukeeper.log").read_text())["path"] == "/\ud800"


def test_a_terminal_gets_lines_for_people_and_a_file_json() -> None:
    terminal, file = Terminal(), io.StringIO()

    configure_logging("info", stream=terminal)
    log.info("looked")
    configure_logging("info", stream=file)
    log.info("looked")

    assert not terminal.getvalue().startswith("{")
    assert lines(file)[0]["event"] == "looked"


def test_the_file_has_json_whatever_the_terminal_shows(stream: io.StringIO, tmp_path: Path) -> None:
    configure_logging("info", format="console", log_dir=tmp_path, stream=stream)

    log.info("looked", token="hunter22")

    (line,) = (tmp_path / "gpukeeper.log").read_text().splitlines()
    assert json.loads(line)["event"] == "looked"
    assert "hunter22" not in line


def test_the_file_is_rotated_before_it_fills_the_disk(stream: io.StringIO, tmp_path: Path) -> None:
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)

    (handler,) = [
        each for each in logging.getLogger().handlers if isinstance(each, RotatingFileHandler)
    ]
    assert (handler.maxBytes, handler.backupCount) == (10 * 1024 * 1024, 5)


def test_a_full_file_makes_room_for_the_next(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_FILE_BYTES", 1000)
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)

    for number in range(20):
        log.info("looked", number=number)

    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    assert all(file.stat().st_size < 1000 for file in files)
    # The newest is the one without a number.
    kept = "".join(file.read_text() for file in (*reversed(files[1:]), files[0]))
    assert kept == stream.getvalue()


def test_what_is_no_file_is_never_renamed(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_FILE_BYTES", 10)
    (tmp_path / "gpukeeper.log").symlink_to("/dev/null")
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)

    log.info("looked")

    assert [file.name for file in tmp_path.iterdir()] == ["gpukeeper.log"]


def test_a_file_that_could_not_be_renamed_is_written_to_again(
    stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_FILE_BYTES", 10)
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)
    (tmp_path / "gpukeeper.log.4").touch()
    blocked = tmp_path / "gpukeeper.log.5"
    blocked.mkdir()

    log.info("first")
    blocked.rmdir()
    log.info("second")

    assert "second" in (tmp_path / "gpukeeper.log").read_text()
    assert [line["event"] for line in lines(stream)] == ["first", "log_file_unavailable", "second"]


def test_setting_up_twice_does_not_log_twice(stream: io.StringIO, tmp_path: Path) -> None:
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)
    configure_logging("info", format="json", log_dir=tmp_path, stream=stream)

    log.info("looked")

    assert len(lines(stream)) == 1
    assert len((tmp_path / "gpukeeper.log").read_text().splitlines()) == 1


def test_nothing_is_written_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("before_the_set_up")
    configure_logging("info", format="json")
    log.error("after_the_set_up")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "after_the_set_up" in captured.err


def test_a_log_file_on_a_full_disk_is_told_of_once_and_the_messages_go_on(
    stream: io.StringIO, tmp_path: Path
) -> None:
    # Whatever is written there finds the disk full.
    (tmp_path / "gpukeeper.log").symlink_to("/dev/full")
    configure_logging("info", format="json", stream=stream, log_dir=tmp_path)

    log.info("first")
    log.info("second")

    assert [line["event"] for line in lines(stream)] == ["first", "log_file_unavailable", "second"]


def test_a_message_that_cannot_be_rendered_is_still_a_fault_of_ours(
    stream: io.StringIO, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", format="json", stream=stream, log_dir=tmp_path)

    (file,) = (h for h in logging.getLogger().handlers if isinstance(h, RotatingFileHandler))
    file.handle(logging.LogRecord("somebody", 20, "", 1, "%d", ("no number",), None))

    assert "Logging error" in capsys.readouterr().err
