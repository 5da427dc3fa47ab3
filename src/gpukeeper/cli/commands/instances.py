"""The commands that show and change instances."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.commands.deliveries import describe_missed_webhooks
from gpukeeper.cli.lookup import InstanceId, find_instance, list_pages
from gpukeeper.cli.service_access import get_access, open_client
from gpukeeper.cli.terminal import wait_progress
from gpukeeper.cli.terminal.instance_tables import (
    describe_attention,
    format_instance,
    format_instances,
)
from gpukeeper.cli.terminal.output import Format, Output, check_consent, confirm, note, show
from gpukeeper.client import Client, GpuKeeperError, InstanceInfo
from gpukeeper.client.api_client import DEFAULT_WAIT
from gpukeeper.client.name_lookup import LARGEST_PAGE
from gpukeeper.domain.instances import Status


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("ls")(list_instances)
    app.command("show")(show_instance)
    app.command()(start)
    app.command()(stop)
    app.command()(restart)
    app.command("rm")(delete)
    app.command()(wait)
    app.command()(ssh)


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
    with open_client(ctx) as client:
        is_whole = every or limit == 0
        listing = list_pages(
            client,
            limit=0 if is_whole else limit,
            statuses=status or (),
            is_current=not (every or status),
            name=name,
        )
        found = list(listing) if is_whole else [next(listing)]
        items = [each for page in found for each in page.items]
        rows = [each for page in found for each in page.raw["instances"]]
        last = found[-1]
        show(
            output,
            last.raw | {"instances": rows},
            lambda: format_instances(items, now=get_access(ctx).now()),
        )
        if last.next_cursor:
            note(f"{len(items)} of {last.total}; --limit 0 lists every one.")
        if output is Format.TABLE:
            _warn(items)
            _warn_of_webhooks(client, now=get_access(ctx).now())


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
    show(output, instance.raw, lambda: format_instances([instance], now=get_access(ctx).now()))


def stop(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Stop a running instance; its disk is kept."""
    with open_client(ctx) as client:
        instance = client.stop(find_instance(client, instance_id))
    show(output, instance.raw, lambda: format_instances([instance], now=get_access(ctx).now()))


def restart(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Restart a running instance."""
    with open_client(ctx) as client:
        instance = client.restart(find_instance(client, instance_id))
    show(output, instance.raw, lambda: format_instances([instance], now=get_access(ctx).now()))


def delete(
    ctx: typer.Context,
    instance_id: InstanceId,
    yes: wait_progress.Yes = False,
    wait: wait_progress.WaitForDeletion = False,
    timeout: wait_progress.DeletionTimeout = wait_progress.DELETION_SECONDS,
    output: Output = Format.TABLE,
) -> None:
    """Delete an instance and its disk.

    Without a terminal to ask at, --yes is needed.
    """
    check_consent(is_sure=yes)
    with open_client(ctx) as client:
        found = find_instance(client, instance_id)
        confirm(lambda: _deletion_question(client.instance(found)), is_sure=yes)
        deleted = client.delete(found)
        if not wait:
            show(
                output, deleted.raw, lambda: format_instances([deleted], now=get_access(ctx).now())
            )
            return
        wait_progress.wait_and_show(
            ctx,
            client,
            deleted.id,
            until=Status.DELETED,
            timeout=timedelta(seconds=timeout),
            output=output,
        )


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
        wait_progress.wait_and_show(
            ctx,
            client,
            find_instance(client, instance_id),
            until=until,
            timeout=timedelta(seconds=timeout),
            output=output,
        )


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


def _deletion_question(instance: InstanceInfo) -> str:
    return f"Delete '{instance.name}' ({instance.id}, {instance.status}) and its disk?"
