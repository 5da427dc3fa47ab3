"""The commands that show and change instances."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.commands.deliveries import describe_missed_webhooks
from gpukeeper.cli.service_access import InstanceId, find_instance, get_access, open_client
from gpukeeper.cli.terminal.instance_tables import (
    describe_attention,
    format_instance,
    format_instances,
    show_row,
)
from gpukeeper.cli.terminal.output import Format, Output, note, show
from gpukeeper.cli.terminal.prompts import check_consent, confirm
from gpukeeper.cli.terminal.wait_progress import (
    DELETION_SECONDS,
    DeletionTimeout,
    WaitForDeletion,
    Yes,
    wait_and_show,
)
from gpukeeper.client import Client, GpuKeeperError, InstanceInfo
from gpukeeper.client.api_client import DEFAULT_WAIT
from gpukeeper.client.name_lookup import LARGEST_PAGE
from gpukeeper.domain.instances import Status


def list_instances(
    ctx: typer.Context,
    status: Annotated[
        list[Status] | None, typer.Option(help="Only those in this status; repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only those with this in their name.")] = None,
    limit: Annotated[
        int, typer.Option(min=0, max=LARGEST_PAGE, help="How many at most; 0 for every one.")
    ] = 100,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that have ended, and however many.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """List instances that have not ended, newest first.

    On a terminal the columns are those that fit; elsewhere all of them stand there, whole.
    """
    now = get_access(ctx).now()
    is_whole = every or limit == 0
    items: list[InstanceInfo] = []
    rows: list[Any] = []
    cursor = None
    with open_client(ctx) as client:
        while True:
            page = client.instances(
                status=status,
                is_current=not (every or status),
                name=name,
                limit=LARGEST_PAGE if is_whole else limit,
                cursor=cursor,
            )
            items += page.items
            rows += page.raw["instances"]
            cursor = page.next_cursor
            if cursor is None or not is_whole:
                break
        show(output, page.raw | {"instances": rows}, lambda: format_instances(items, now=now))
        if cursor:
            note(f"{len(items)} of {page.total}; --limit 0 lists every one.")
        if output is Format.TABLE:
            _warn(items)
            _warn_of_webhooks(client, now=now)


def _warn(items: Sequence[InstanceInfo]) -> None:
    """Say what a person should look at, after the table and beside it."""
    if any(item.is_stale for item in items):
        note("'stale' marks what is shown from the store: Novita could not be asked lately.")
    if sentence := describe_attention(items):
        note(sentence)


def _warn_of_webhooks(client: Client, *, now: datetime) -> None:
    try:
        missed = describe_missed_webhooks(client, now=now)
    except GpuKeeperError as error:
        # The list was shown and is right: a script that reads it must not fail for this.
        missed = f"Whether webhooks were delivered is not known: {error.message}"
    if missed:
        note(missed)


def show_instance(
    ctx: typer.Context,
    instance_id: InstanceId,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask Novita first.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show one instance."""
    with open_client(ctx) as client:
        instance = client.instance(find_instance(client, instance_id), refresh=refresh)
    show(output, instance.raw, lambda: format_instance(instance, now=get_access(ctx).now()))


def start(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Start a stopped instance."""
    with open_client(ctx) as client:
        instance = client.start(find_instance(client, instance_id))
    show_row(ctx, instance, output)


def stop(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Stop a running instance; its disk is kept."""
    with open_client(ctx) as client:
        instance = client.stop(find_instance(client, instance_id))
    show_row(ctx, instance, output)


def restart(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Restart a running instance."""
    with open_client(ctx) as client:
        instance = client.restart(find_instance(client, instance_id))
    show_row(ctx, instance, output)


def delete(
    ctx: typer.Context,
    instance_id: InstanceId,
    yes: Yes = False,
    wait: WaitForDeletion = False,
    timeout: DeletionTimeout = DELETION_SECONDS,
    output: Output = Format.TABLE,
) -> None:
    """Delete an instance and its disk.

    Without a terminal to ask at, --yes is needed.
    """
    check_consent(is_sure=yes)
    with open_client(ctx) as client:
        found = find_instance(client, instance_id)
        if not yes:
            named = client.instance(found)
            confirm(f"Delete '{named.name}' ({named.id}, {named.status}) and its disk?")
        deleted = client.delete(found)
        if wait:
            wait_and_show(
                ctx, client, deleted.id, until=Status.DELETED, seconds=timeout, output=output
            )
            return
    show_row(ctx, deleted, output)


def wait(
    ctx: typer.Context,
    instance_id: InstanceId,
    until: Annotated[Status, typer.Option(help="The status to wait for.")] = Status.RUNNING,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Longest wait.")] = int(
        DEFAULT_WAIT.total_seconds()
    ),
    output: Output = Format.TABLE,
) -> None:
    """Wait until an instance is running, or has failed."""
    with open_client(ctx) as client:
        found = find_instance(client, instance_id)
        wait_and_show(ctx, client, found, until=until, seconds=timeout, output=output)


def ssh(
    ctx: typer.Context,
    instance_id: InstanceId,
    show_password: Annotated[
        bool, typer.Option("--show-password", help="Show the password as well.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Print the SSH command of a running instance."""
    with open_client(ctx) as client:
        connection = client.connection(find_instance(client, instance_id))
    if not connection.ssh_command:
        note(f"Error: {instance_id} has no SSH: its template opens no port for it.")
        raise typer.Exit(exit_status.FAILED)
    password = connection.ssh_password if show_password else None
    lines = [connection.ssh_command, *([password] if password else [])]
    raw = connection.raw if show_password else connection.raw | {"sshPassword": None}
    show(output, raw, lambda: "\n".join(lines))
    if connection.ssh_password and not show_password:
        note("Its password is shown with --show-password.")
