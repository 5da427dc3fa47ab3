"""Say whether what runs in this container is well: the image's health check; 0 is yes.

It is started every few seconds, so it has what costs little: a socket, and neither the program nor
a proxy, which could not reach into the container.  What it asks depends on the command that runs.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

_TIMEOUT_SECONDS = 4.0
# What listens at every address is reached at this machine's own.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names of them only


class Question(NamedTuple):
    """What to ask: an address, and a path unless it is enough that somebody listens."""

    host: str
    port: int
    path: str | None


def main() -> int:
    """Return the status of the check."""
    with open("/proc/1/cmdline", encoding="utf-8", errors="replace") as file:
        question = question_for(file.read().split("\0"), os.environ)
    return 0 if question is None or is_well(question) else 1


def question_for(command_line: Sequence[str], environ: Mapping[str, str]) -> Question | None:
    """Return what to ask for the command of the container; None for one that answers nobody."""
    words = [word for word in command_line if word]
    start = next((at for at, word in enumerate(words) if word.endswith("/start")), None)
    command = ["serve"] if start is None else words[start + 1 :]
    match command:
        case ["serve", *_]:
            host = environ.get("GPUKEEPER_HOST") or "127.0.0.1"
            port = environ.get("GPUKEEPER_PORT", "")
            # Kubernetes may have put an address there, which the program passes over, too.
            number = int(port) if port.isdecimal() else 8080
            return Question(_reached(host), number, "/health/ready")
        case ["simulate", *options]:
            return Question(*_listening(options, port=9090), path="/_sim")
        case ["webhooks", "listen", *options]:
            return Question(*_listening(options, port=9091), path=None)
    return None


def is_well(question: Question) -> bool:
    """Ask, and say whether the answer is 200."""
    host = f"[{question.host}]" if ":" in question.host else question.host
    try:
        with socket.create_connection(question[:2], timeout=_TIMEOUT_SECONDS) as connection:
            if question.path is None:
                return True
            head = f"GET {question.path} HTTP/1.1\r\nHost: {host}:{question.port}\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
            return b" 200 " in connection.makefile("rb").readline()
    except OSError:
        return False


def _listening(options: Sequence[str], *, port: int) -> tuple[str, int]:
    # "--port 9090" and "--port=9090" are the same to the program.
    words = [part for option in options for part in option.split("=", 1)]
    given = dict(pairwise(words))
    return _reached(given.get("--host", "127.0.0.1")), int(given.get("--port", port))


def _reached(host: str) -> str:
    bare = host.strip("[]")
    return _LOCAL.get(bare, bare)


if __name__ == "__main__":
    sys.exit(main())
