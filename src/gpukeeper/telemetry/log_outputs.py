"""Where messages are written to: outputs that may fail while the service goes on.

Each complains once when it begins to fail, through the other, and is silent until it works again.
"""

import logging
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog

# Only the service's own user may read what it does.
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class _Output(logging.StreamHandler[Any]):
    """An output whose failure is told once, as ``complaint``."""

    complaint: str
    _is_failing = False
    _has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, if that is possible."""
        self._has_failed = False
        super().emit(record)
        self._is_failing = self._has_failed

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell of an output that fails when it begins to; of our own faults as the library does."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        was_failing, self._is_failing = self._is_failing, True
        self.give_up(error)
        if not was_failing:
            structlog.stdlib.get_logger(__name__).error(self.complaint, error=error.strerror)
        self._has_failed = True

    def give_up(self, error: OSError) -> None:
        """Do what is to be done when writing has failed."""


class LogStream(_Output):
    """The stream of the process; its reader may go while the process goes on."""

    complaint = "log_stream_unavailable"

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)

    def give_up(self, error: OSError) -> None:
        """Write to nobody once the reader of a pipe has gone: none ever comes back to it.

        What is still in the stream would otherwise fail again at the end of the process.
        """
        if not isinstance(error, BrokenPipeError):
            return
        with suppress(OSError, ValueError):
            nobody = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nobody, self.stream.fileno())
            os.close(nobody)


class LogFile(_Output, RotatingFileHandler):
    """A log file that may fail, as on a full disk, or be moved away; half a line may be left then.

    What was moved or deleted is made anew before the next message.
    """

    complaint = "log_file_unavailable"
    _may_rotate = False
    _identity: tuple[int, int] | None = None

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether the file has no room for a message.

        The library asks the file system twice before each message; here it is asked once.
        """
        stream = self.stream
        if stream is None or self._identity != _identity_of(self.baseFilename):
            stream = self._reopen()
        size = len(self.format(record)) + len(self.terminator)
        return self._may_rotate and stream.tell() + size >= self.maxBytes

    def close(self) -> None:
        """Close the file; what it could not take by now is on the stream."""
        with suppress(OSError):
            super().close()

    def _reopen(self) -> TextIOWrapper:
        opened = self._open()
        before, self.stream = self.stream, opened
        if before is not None:
            with suppress(OSError):
                before.close()
        return opened

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        try:
            stream = self._open_file()
        except FileNotFoundError:
            path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            stream = self._open_file()
        # A device, for one, must not be renamed.
        self._may_rotate = path.is_file()
        about = os.fstat(stream.fileno())
        self._identity = (about.st_dev, about.st_ino)
        return stream

    def _open_file(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return os.fdopen(os.open(self.baseFilename, flags, _FILE_MODE), "a", encoding="utf-8")


def find_file_fault(path: Path) -> str | None:
    """Return why messages could not be written into a file, or None; creates nothing."""
    try:
        # A pipe that nobody reads yet must not hold us up.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    except FileNotFoundError:
        folder = path.parent
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            return describe_file_fault(folder, PermissionError(0, "no file can be made in it"))
    except OSError as error:
        return describe_file_fault(path, error)
    return None


def describe_file_fault(path: Path, error: OSError) -> str:
    """Say that messages cannot be written into a file, and what to do about it."""
    said = f"{path} cannot be written to ({error.strerror})"
    with suppress(OSError):
        owner, ours = path.lstat().st_uid, os.geteuid()
        if isinstance(error, PermissionError) and owner != ours:
            return f"{said}: it belongs to user {owner}, give it to user {ours} or move it away"
    return f"{said}: move it away, or mend its rights"


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return (about.st_dev, about.st_ino)
