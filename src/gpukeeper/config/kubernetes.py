"""Tell the variables that Kubernetes injects for Services from those that somebody has set.

For a Service called ``gpukeeper``, each container of its namespace is given
``GPUKEEPER_SERVICE_HOST``, ``GPUKEEPER_SERVICE_PORT``, ``GPUKEEPER_PORT=tcp://10.0.0.1:8080``,
``GPUKEEPER_PORT_8080_TCP`` and others (Kubernetes' documentation, "Accessing the Service",
"Environment variables").  Nobody has written them, so they are neither settings nor faults.
"""

import re
from collections.abc import Mapping

_INJECTED = re.compile(
    r"[A-Z0-9_]+_("
    r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|"
    r"PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_ADDRESS = re.compile("(tcp|udp|sctp)://.*")


def drop_service_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what Kubernetes has injected for Services."""
    return {name: text for name, text in environ.items() if not _is_injected(name, text, environ)}


def _is_injected(name: str, text: str, environ: Mapping[str, str]) -> bool:
    if _INJECTED.fullmatch(name):
        return True
    # The one name that is like a setting's: it is known by its value, and by its neighbour.
    service = name.removesuffix("_PORT")
    return bool(
        service != name and _ADDRESS.fullmatch(text) and f"{service}_SERVICE_HOST" in environ
    )
