"""Find out that a port cannot be had before anything says that it is listened on."""

import socket

from gpukeeper.domain.errors import GpuKeeperError


class CannotListen(GpuKeeperError):
    """The address or the port cannot be listened on."""

    code = "cannot_listen"


def check_port(host: str, port: int, *, setting: str) -> None:
    """Raise CannotListen, which names the ``setting`` of the port, unless it is free; 0 always is.

    Nothing listens afterwards: who serves opens the port itself, once it is ready to answer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do; what waits to be closed is no reason to refuse.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        raise cannot_listen(host, port, error, setting=setting) from error


def cannot_listen(host: str, port: int, error: OSError, *, setting: str) -> CannotListen:
    """Return the error that says so, and that ``setting`` names another port."""
    # Python puts the address behind the system's sentence, where ours has it already.
    cause = (error.strerror or str(error)).partition(" (while ")[0]
    return CannotListen(
        f"Cannot listen on {host} port {port}: {cause}; {setting} names another one."
    )
