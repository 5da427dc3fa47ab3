"""Wait for an instance, show how it comes along, and end with the status that says how it went."""

import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Annotated, NoReturn

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.service_access import get_access
from gpukeeper.cli.terminal.instance_tables import cost_text, costs_money, format_instance, is_gone
from gpukeeper.cli.terminal.output import Format, clean, note, show
from gpukeeper.cli.terminal.text_tables import cut
from gpukeeper.client import Client, InstanceInfo, WaitTimedOut
from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instances import Status

# Novita confirms a deletion within seconds; more than this is worth a look by a person.
DELETION_SECONDS = 300

# The options of every command that deletes.
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WaitForDeletion = Annotated[bool, typer.Option("--wait", help="Wait until Novita confirms.")]
DeletionTimeout = Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Longest wait.")]

_BACK_TO_LINE_START = "\r\x1b[2K"


def wait_and_show(
    ctx: typer.Context,
    client: Client,
    instance_id: str,
    *,
    until: Status,
    seconds: int,
    output: Format,
) -> None:
    """Wait so many seconds at most until the instance has this status, and show it.

    Exits with 1, 3, 4 or 6 if that fails.

    The instance is on stdout in any case, so that a script can clean up.
    """
    access = get_access(ctx)
    progress = Progress(clock=access.clock, sleep=access.sleep)
    try:
        # The live line has ended before anything else is written.
        with closing(progress):
            instance = client.wait(
                instance_id,
                until={until},
                timeout=timedelta(seconds=seconds),
                on_change=progress.change,
                on_trouble=progress.trouble,
                clock=access.clock,
                sleep=progress.sleep_on,
            )
    except WaitTimedOut as error:
        latest = error.instance
        show(output, latest.raw, lambda: format_instance(latest, now=access.now()))
        raise
    except KeyboardInterrupt:
        note(f"Stopped waiting; {instance_id} goes on.")
        raise
    show(output, instance.raw, lambda: format_instance(instance, now=access.now()))
    if instance.status != until:
        _exit_with_reason(instance)


class Progress:
    """How waiting comes along: one live line on a terminal, a line for each change elsewhere."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._began = clock()
        self._is_live = sys.stderr.isatty()
        self._text = ""

    def change(self, instance: InstanceInfo) -> None:
        """Show where the instance is now, and what Novita says."""
        has_word = instance.novita_status and not is_gone(instance)
        said = f" (Novita: {instance.novita_status})" if has_word else ""
        stale = ", not seen at Novita lately" if instance.is_stale else ""
        self._show(f"{instance.status}{said}{stale}")

    def trouble(self, error: GpuKeeperError) -> None:
        """Show that a look failed and is repeated."""
        self._show(f"looking again: {error.message}")

    def sleep_on(self, seconds: float) -> None:
        """Sleep, and keep the live line's seconds going."""
        left = seconds
        while self._is_live and left > 1:
            self._sleep(1)
            left -= 1
            self._draw()
        self._sleep(left)

    def close(self) -> None:
        """End the live line: it stays, and what follows has a line of its own."""
        if self._is_live and self._text:
            print(file=sys.stderr, flush=True)

    def _show(self, text: str) -> None:
        if text == self._text:
            return
        self._text = clean(text)
        self._draw()

    def _draw(self) -> None:
        line = f"{self._clock() - self._began:4.0f} s  {self._text}"
        if self._is_live:
            # A line that wraps could not be taken back.
            fitted = cut(line, shutil.get_terminal_size().columns - 1)
            print(f"{_BACK_TO_LINE_START}{fitted}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _exit_with_reason(instance: InstanceInfo) -> NoReturn:
    """Say why the instance is not where it was waited for, and exit."""
    reason = instance.reason
    why = f": {reason.message} [{reason.code}]" if reason else "."
    came = "has failed" if instance.status == Status.FAILED else f"is {instance.status}"
    note(f"Error: '{instance.name}' ({instance.id}) {came}{why}")
    if instance.is_billing and not instance.novita_id:
        note("A machine may have been bought and may be billed: it is being looked up.")
    elif costs_money(instance):
        cost = cost_text(instance.gpu_usd_per_hour, instance.disk_usd_per_hour)
        billed = f"billed ({cost})" if cost else "billed"
        note(f"Its machine is still {billed}; 'gpukeeper rm {instance.id}' deletes it.")
    elif instance.is_billing:
        note(f"Its machine exists and costs nothing now; 'gpukeeper rm {instance.id}' deletes it.")
    if reason:
        exit_status.print_advice(reason.code)
    raise typer.Exit(exit_status.find_exit_status(reason.code) if reason else exit_status.FAILED)
