"""What a person has done to a store while no service may be asked: bind it anew, restore it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from gpukeeper.config import Settings, prepare_data_dir
from gpukeeper.runtime import store_account
from gpukeeper.runtime.database_setup import explain_store_errors, open_database, upgrade
from gpukeeper.store import facts
from gpukeeper.store.db.database import Database
from gpukeeper.telemetry import configure_logging, shut_down_logging


def rebind(settings: Settings, confirm: Callable[[str], None]) -> str:
    """Migrate, and have the database belong to the account of the settings from now on.

    ``confirm`` is told what that means, and raises unless it is meant.  Returns the revision.
    """
    with open_for_command(settings) as database:
        with explain_store_errors(settings):
            revision = upgrade(database, settings)
        with database.engine.begin() as connection:
            sentences = store_account.describe_rebind(connection, settings)
        confirm(sentences)
        with database.engine.begin() as connection:
            store_account.rebind(connection, settings)
        return revision


def note_restored(settings: Settings) -> None:
    """Have a database that another tool has restored take no orders until Novita was looked at."""
    with open_for_command(settings) as database:
        with explain_store_errors(settings):
            upgrade(database, settings)
        with database.engine.begin() as connection:
            facts.record_restore(connection)


def lift_restored(settings: Settings) -> None:
    """Have a restored database take orders at once."""
    with open_for_command(settings) as database:
        with explain_store_errors(settings):
            upgrade(database, settings)
        with database.engine.begin() as connection:
            facts.accept_orders(connection)


@contextmanager
def open_for_command(settings: Settings) -> Iterator[Database]:
    """Give the database to a command that changes it, and close it."""
    prepare_data_dir(settings)
    # What it waits for is told on stderr: stdout has the result.
    configure_logging(settings.log_level, format=settings.log_format)
    with ExitStack() as at_the_end:
        at_the_end.callback(shut_down_logging)
        database = open_database(settings)
        at_the_end.callback(database.close)
        yield database
