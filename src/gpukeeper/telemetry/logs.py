"""Set up logging: one form for our messages and those of libraries, and no secret in any.

Every message carries what :func:`log_context` has bound around it: ``request_id``,
``instance_id``, ``delivery_id``, ``event_id``, ``webhook_id``; and ``trace_id`` within a span.
"""

import logging
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import structlog
from pydantic import SecretBytes, SecretStr
from structlog.dev import plain_traceback
from structlog.stdlib import BoundLogger as Logger
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from gpukeeper.telemetry.log_outputs import LogFile, LogStream

__all__ = ["Logger", "configure_logging", "get_logger", "log_context", "shut_down_logging"]

LOG_FILE = "gpukeeper.log"

# Some weeks of an ordinary service, and little enough for any disk.
MAX_LOG_FILE_BYTES = 10 * 1024 * 1024
KEPT_LOG_FILES = 5

REDACTED = "***"

_SECRET_NAME = re.compile(
    r"passw|secret|token|authorization|api_?key|cookie|credential|signature|^envs?$",
    re.IGNORECASE,
)

# Libraries that tell of every single call, some of them with its headers and so with its key.
_TALKATIVE = ("alembic", "httpcore2", "httpx2", "urllib3", "uvicorn.access")

_WRAPPED_SECRET = (SecretStr, SecretBytes)
_PLAIN_TYPES = frozenset({str, int, float})

_HANDLER_PREFIX = "gpukeeper."

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# Done on import, so that a logger that is used before configure_logging, or without it as by
# commands, goes the way of every other Python logger and never to stdout, where data goes.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_SHARED,
        ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=Logger,
    cache_logger_on_first_use=True,
)


# No message says which line of the code it comes from, and none which thread or process: finding
# out takes as long as everything else about a message (Python's HOWTO, "Optimization").
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def configure_logging(
    level: str = "info",
    *,
    format: str | None = None,
    log_dir: Path | None = None,
    stream: TextIO | None = None,
) -> None:
    """Log messages from ``level`` up to ``stream``, and as JSON to a rotated file in ``log_dir``.

    ``format`` is ``console`` or ``json``; by default it is ``console`` when the stream is a
    terminal.  Without a stream it is stderr.  Idempotent: a later call replaces the set-up of
    an earlier.  Raises :class:`OSError` when the file cannot be opened.
    """
    shut_down_logging()
    # Python has no stream where the process was started with a closed one.
    output: TextIO | None = sys.stderr if stream is None else stream
    is_terminal = output is not None and output.isatty()
    is_console = is_terminal if format is None else format == "console"
    root = logging.getLogger()
    root.setLevel(level.upper())
    as_json = _Formatter(_JSON_RENDERER)
    shown = _Formatter(_console_renderer(has_colors=is_terminal)) if is_console else as_json
    if output is not None:
        root.addHandler(_named("stream", LogStream(output), shown))
    if log_dir is not None:
        file_handler = LogFile(
            log_dir / LOG_FILE,
            maxBytes=MAX_LOG_FILE_BYTES,
            backupCount=KEPT_LOG_FILES,
            encoding="utf-8",
        )
        root.addHandler(_named("file", file_handler, as_json))
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


def shut_down_logging() -> None:
    """Close what :func:`configure_logging` has opened; idempotent."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.name and handler.name.startswith(_HANDLER_PREFIX):
            root.removeHandler(handler)
            handler.close()


def get_logger(name: str) -> Logger:
    """Return the logger of a module: ``get_logger(__name__)``.

    A message is a word that never varies (``lease_lost``); what varies is given as keywords.
    """
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


class log_context:
    """Have every message from within carry these values; what was bound before is bound again."""

    def __init__(self, **values: str) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._tokens = structlog.contextvars.bind_contextvars(**self._values)

    def __exit__(self, *_: object) -> None:
        structlog.contextvars.reset_contextvars(**self._tokens)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace every value whose name says that it is secret, and every wrapped secret."""
    return {
        name: value
        if type(value) in _PLAIN_TYPES and not _is_secret(name)
        else _redacted(name, value)
        for name, value in event.items()
    }


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, _WRAPPED_SECRET) or (_is_secret(name) and value):
        return REDACTED
    if isinstance(value, dict):
        return {key: _redacted(str(key), item) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted("", item) for item in value]
    return value


@lru_cache(1_000)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _on_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape text with control characters, which could look like messages of our own."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable() and name != "stack":
            event[name] = repr(value)
    return event


def _console_renderer(*, has_colors: bool) -> list[Processor]:
    # The default rendering of tracebacks shows local variables, which hold secrets.
    return [
        _on_one_line,
        structlog.dev.ConsoleRenderer(colors=has_colors, exception_formatter=plain_traceback),
    ]


_JSON_RENDERER: list[Processor] = [
    structlog.processors.format_exc_info,
    # In ASCII: some readers of logs end a line at U+2028, U+2029 and U+0085 as well, and half of
    # a surrogate pair could not be written at all.
    structlog.processors.JSONRenderer(ensure_ascii=True),
]


class _Formatter(ProcessorFormatter):
    """Renders a message once, whichever handlers write it one after the other."""

    def __init__(self, renderer: list[Processor]) -> None:
        super().__init__(
            foreign_pre_chain=_SHARED,
            processors=[ProcessorFormatter.remove_processors_meta, redact, *renderer],
        )
        self._renderer = renderer
        self._last: tuple[logging.LogRecord, str] | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Return the message as it is written."""
        last = self._last
        if last is None or last[0] is not record:
            self._last = last = (record, self._render(record))
        return last[1]

    def _render(self, record: logging.LogRecord) -> str:
        if not isinstance(record.msg, dict):
            return super().format(record)
        # A message of ours.  The library would copy the record and have it formatted once more.
        event = redact(None, record.levelname, record.msg)
        for each in self._renderer:
            event = each(None, record.levelname, event)  # type: ignore[assignment] # a str at last
        return str(event)


def _named(
    name: str, handler: logging.StreamHandler[Any], formatter: logging.Formatter
) -> logging.Handler:
    handler.set_name(_HANDLER_PREFIX + name)
    handler.setFormatter(formatter)
    return handler
