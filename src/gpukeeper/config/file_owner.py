"""Say whose a file is that cannot be used, who wants to use it, and what to do about it."""

import os
from pathlib import Path

_PERMISSIONS = 0o777


def is_unusable(path: Path) -> bool:
    """Whether a file or folder is there and is not ours to read and write."""
    needed = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
    return path.exists() and not os.access(path, needed)


def explain_owner(path: Path) -> str:
    """Return whose a path is and what to do, as the end of a sentence; empty if nobody can tell.

    What cannot be reached is told of the folder that is in the way.
    """
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        ours, mode = os.geteuid(), found.st_mode & _PERMISSIONS
        whose = f"{place} belongs to user {found.st_uid} with mode {mode:03o}"
        if found.st_uid == ours:
            return f": {whose}; as that user, run 'chmod u+rwX {place}'"
        return f": {whose}, and this runs as user {ours}; as root, run 'chown {ours} {place}'"
    return ""
