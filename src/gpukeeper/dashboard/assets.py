"""The dashboard's own files, each under an address that names its content."""

import hashlib
import mimetypes
from importlib.resources import files

from starlette.responses import Response

from gpukeeper.domain.errors import NotFound

STATIC_PREFIX = "/static/"

# The address changes with the content, so whoever has it never needs to ask again.
_FOR_EVER = "public, max-age=31536000, immutable"

_FOLDER = files("gpukeeper.dashboard") / "static"
_CONTENTS = {item.name: item.read_bytes() for item in _FOLDER.iterdir() if item.is_file()}
_MARKS = {name: hashlib.sha256(text).hexdigest()[:12] for name, text in _CONTENTS.items()}


def asset_url(name: str) -> str:
    """Return where a file of ``static/`` is found."""
    return f"{STATIC_PREFIX}{name}?{_MARKS[name]}"


def serve_asset(name: str) -> Response:
    """Return a file of ``static/``.  Raises NotFound."""
    content = _CONTENTS.get(name)
    if content is None:
        raise NotFound("There is no such file.")
    media_type, _ = mimetypes.guess_type(name)
    return Response(content, media_type=media_type, headers={"Cache-Control": _FOR_EVER})
