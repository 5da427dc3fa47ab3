"""Take an address and a port for a server before anything says that it is listened on."""

import errno
import socket
from contextlib import ExitStack

from gpukeeper.domain.errors import GpuKeeperError

# Names such as localhost have an address that some machines lack: no IPv6 in a container.
_NOT_OF_THIS_MACHINE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

# Below it, a port belongs to the system's administrator.
_FIRST_FREE_PORT = 1024


class CannotListen(GpuKeeperError):
    """The address or the port cannot be listened on.

    ``is_taken`` says that somebody else listens there at present; else the address or the port is
    none that this process could ever have.
    """

    code = "cannot_listen"

    def __init__(self, message: str, *, is_taken: bool, is_port: bool) -> None:
        super().__init__(message)
        self.is_taken = is_taken
        self.is_port = is_port


def open_ports(host: str, port: int, *, setting: str) -> tuple[socket.socket, ...]:
    """Return a socket for each address of the host, with the port taken; port 0 takes any.

    Nothing listens yet: who serves begins to once it is ready to answer.  Raises CannotListen,
    which names the ``setting`` of the port.
    """
    with ExitStack() as on_failure:
        opened: list[socket.socket] = []
        missing: list[OSError] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, protocol, _, address in found:
                # All of them on one port, whichever that is.
                taken = opened[0].getsockname()[1] if opened else port
                try:
                    bound = _bind(family, protocol, (address[0], taken, *address[2:]))
                except OSError as error:
                    if error.errno not in _NOT_OF_THIS_MACHINE:
                        raise
                    missing.append(error)
                else:
                    on_failure.callback(bound.close)
                    opened.append(bound)
        except (OSError, UnicodeError) as error:
            raise build_listen_error(host, port, error, setting=setting) from error
        if not opened:
            raise build_listen_error(host, port, missing[0], setting=setting) from missing[0]
        on_failure.pop_all()
    return tuple(opened)


def check_port(host: str, port: int, *, setting: str) -> None:
    """Raise CannotListen, which names the ``setting`` of the port, unless it can be had now."""
    for each in open_ports(host, port, setting=setting):
        each.close()


def format_url(taken: socket.socket) -> str:
    """Return the http URL of a socket that has its address."""
    host, port = taken.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def build_listen_error(
    host: str, port: int, error: OSError | UnicodeError, *, setting: str
) -> CannotListen:
    """Return the error that says so, and that ``setting``, or the host's, names another one."""
    number = error.errno if isinstance(error, OSError) else None
    # Python puts the address behind the system's sentence, where ours has it already.
    words = error.strerror if isinstance(error, OSError) else "no such host"
    cause = (words or str(error)).partition(" (while ")[0]
    if number == errno.EACCES and 0 < port < _FIRST_FREE_PORT:
        cause = f"{cause} (ports below {_FIRST_FREE_PORT} need privileges)"
    is_port = number in (errno.EADDRINUSE, errno.EACCES, errno.EPERM)
    named = setting if is_port else setting.replace("PORT", "HOST").replace("port", "host")
    return CannotListen(
        f"Cannot listen on {host} port {port}: {cause}; {named} names another one.",
        is_taken=number == errno.EADDRINUSE,
        is_port=is_port,
    )


def _bind(family: int, protocol: int, address: tuple[str | int, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM, protocol)
    with ExitStack() as on_failure:
        on_failure.callback(bound.close)
        # As servers do; what waits to be closed is no reason to refuse.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        on_failure.pop_all()
    return bound
