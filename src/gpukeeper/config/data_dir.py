"""Prepare the data directory and the secrets that are generated once and kept in it."""

import os
import secrets
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from gpukeeper import text_encoding
from gpukeeper.config import file_owner, parsers
from gpukeeper.config.settings import Settings
from gpukeeper.domain import ids
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.webhooks.signing import new_secret, parse_secret

WEBHOOK_SECRET_FILE = "webhook_secret"  # noqa: S105 - the name of a file
SECRET_KEY_FILE = "secret_key"  # noqa: S105 - the name of a file
# The mark by which our machines are known, for a store that is lost without its secrets.
DEPLOYMENT_FILE = "deployment"

# As many bytes as the hash has that it keys.
_WEBHOOK_SECRET_BYTES = 32

# Only the service's own user may look inside.
_DIRECTORY_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Secrets:
    """What webhooks are signed with (all of them), and what is encrypted and signed with here."""

    webhook: tuple[SecretStr, ...]
    secret_key: SecretStr


def prepare_data_dir(
    settings: Settings, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> Secrets:
    """Create the data directory (0700) and return the secrets, generated (0600) where not given.

    Idempotent: what exists is kept as it is, and processes that start at the same time all get
    the same secrets.  Raises :class:`InvalidConfiguration` when the directory cannot be used or a
    kept secret is not one.
    """
    create_data_dir(settings)
    secret_key = settings.secret_key or _kept(
        settings.data_dir / SECRET_KEY_FILE,
        variable="GPUKEEPER_SECRET_KEY",
        parse=parsers.secret_key,
        generate=lambda: urlsafe_b64encode(random_bytes(parsers.SECRET_KEY_BYTES)).decode(),
    )
    if settings.webhook_secrets:
        return Secrets(settings.webhook_secrets, secret_key)
    webhook_secret = _kept(
        settings.data_dir / WEBHOOK_SECRET_FILE,
        variable="GPUKEEPER_WEBHOOK_SECRET",
        parse=parse_secret,
        generate=lambda: new_secret(random_bytes(_WEBHOOK_SECRET_BYTES)),
    )
    return Secrets((webhook_secret,), secret_key)


def kept_deployment(settings: Settings, kept: Secrets) -> str:
    """Return the mark of our machines for a new store: the one beside the secret key, or its own.

    A store that has a mark keeps it.
    """
    try:
        mark = (settings.data_dir / DEPLOYMENT_FILE).read_text("utf-8").strip()
    except (OSError, ValueError):
        mark = ""
    key = kept.secret_key.get_secret_value()
    return mark if ids.is_deployment(mark) else ids.derived_deployment(key)


def keep_deployment(settings: Settings, mark: str) -> bool:
    """Write the store's mark beside the secret key, and return whether it is there; idempotent."""
    path = settings.data_dir / DEPLOYMENT_FILE
    try:
        if path.exists() and path.read_text("utf-8").strip() == mark:
            return True
        path.unlink(missing_ok=True)
        _create(path, mark)
    except (OSError, ValueError):
        return False
    return True


def examine_data_dir(settings: Settings) -> None:
    """Check what :func:`prepare_data_dir` would raise, and create nothing.

    Raises :class:`InvalidConfiguration`.
    """
    directory = _nearest_directory(settings.data_dir)
    _check_writable(directory)
    if directory != settings.data_dir:
        return
    for name, variable, parse in (
        (SECRET_KEY_FILE, "GPUKEEPER_SECRET_KEY", parsers.secret_key),
        (WEBHOOK_SECRET_FILE, "GPUKEEPER_WEBHOOK_SECRET", parse_secret),
    ):
        if (directory / name).exists():
            _read(directory / name, variable=variable, parse=parse)


def _nearest_directory(path: Path) -> Path:
    """Return the directory, or the one that it would be made in."""
    try:
        path.absolute()
    except FileNotFoundError as error:
        problem = f"{path} cannot be made: the directory that the program was started in is gone"
        raise _invalid("GPUKEEPER_DATA_DIR", problem) from error
    try:
        nearest = next(each for each in (path, *path.parents) if each.exists())
    except OSError as error:
        whose = file_owner.explain_owner(path)
        raise _invalid("GPUKEEPER_DATA_DIR", f"cannot be reached{whose}") from error
    if not nearest.is_dir():
        raise _invalid("GPUKEEPER_DATA_DIR", f"{nearest} is a file, not a directory")
    return nearest


def _check_writable(directory: Path) -> None:
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        message = f"{directory} cannot be written to{file_owner.explain_owner(directory)}"
        raise _invalid("GPUKEEPER_DATA_DIR", message)


def create_data_dir(settings: Settings) -> None:
    """Create the data directory and that of the logs (0700); idempotent.

    Raises :class:`InvalidConfiguration` when that cannot be.
    """
    _nearest_directory(settings.data_dir)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=_DIRECTORY_MODE)
        settings.log_dir.mkdir(exist_ok=True, mode=_DIRECTORY_MODE)
    except OSError as error:
        raise _invalid("GPUKEEPER_DATA_DIR", f"cannot be created: {error}") from error
    _check_writable(settings.data_dir)


def _kept(
    path: Path, *, variable: str, parse: Callable[[str], SecretStr], generate: Callable[[], str]
) -> SecretStr:
    try:
        if not path.exists():
            _create(path, generate())
    except OSError as error:
        raise _unkept(path, error) from error
    return _read(path, variable=variable, parse=parse)


def _read(path: Path, *, variable: str, parse: Callable[[str], SecretStr]) -> SecretStr:
    try:
        return parse(text_encoding.decode(path.read_bytes()).strip())
    except OSError as error:
        raise _unkept(path, error) from error
    except ValueError as error:
        # Without the cause: a decoding error would carry the secret into a traceback.
        problem = f"was kept in {path}, which is damaged ({type(error).__name__}): restore the file"
        raise _invalid(variable, problem) from None


def _create(path: Path, text: str) -> None:
    """Create a file (0600) with its whole content at once, unless another process was faster."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        os.unlink(temporary)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Make the new name in the directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unkept(path: Path, error: OSError) -> InvalidConfiguration:
    whose = file_owner.explain_owner(path) if isinstance(error, PermissionError) else f": {error}"
    return _invalid("GPUKEEPER_DATA_DIR", f"{path.name} cannot be read or kept{whose}")


def _invalid(variable: str, message: str) -> InvalidConfiguration:
    return InvalidConfiguration([Fault(variable, message)])
