"""The commands that show and change instances."""

from datetime import timedelta
from typing import Annotated

import typer

from gpukeeper.cli import exits, waiting
from gpukeeper.cli.access import open_client
from gpukeeper.cli.instance_tables import as_record, as_table
from gpukeeper.cli.lookup import LARGEST_PAGE, InstanceId, find, pages
from gpukeeper.cli.output import Format, Output, confirm, note, show
from gpukeeper.client import InstanceInfo
from gpukeeper.client.client import DEFAULT_WAIT
from gpukeeper.domain.instance import Status


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
    status: Annotated[Status | None, typer.Option(help="Only those in this status.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those with this in their name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LARGEST_PAGE, help="How many at most.")] = 100,
    every: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List instances, newest first."""
    with open_client(ctx) as client:
        listing = pages(client, limit=LARGEST_PAGE if every else limit, status=status, name=name)
        found = list(listing) if every else [next(listing)]
    items = [each for page in found for each in page.items]
    rows = [each for page in found for each in page.raw["instances"]]
    last = found[-1]
    show(output, last.raw | {"instances": rows}, lambda: as_table(items))
    if last.next_cursor:
        note(f"{len(items)} of {last.total}; --all lists every one.")
    if any(item.is_stale for item in items):
        note("'stale' marks what is shown from the store: Novita could not be asked lately.")


def show_instance(
    ctx: typer.Context,
    instance_id: InstanceId,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask Novita first.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show one instance."""
    with open_client(ctx) as client:
        instance = client.instance(find(client, instance_id), refresh=refresh)
    show(output, instance.raw, lambda: as_record(instance))


def start(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Start a stopped instance."""
    with open_client(ctx) as client:
        instance = client.start(find(client, instance_id))
    show(output, instance.raw, lambda: as_table([instance]))


def stop(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Stop a running instance; its disk is kept."""
    with open_client(ctx) as client:
        instance = client.stop(find(client, instance_id))
    show(output, instance.raw, lambda: as_table([instance]))


def restart(ctx: typer.Context, instance_id: InstanceId, output: Output = Format.TABLE) -> None:
    """Restart a running instance."""
    with open_client(ctx) as client:
        instance = client.restart(find(client, instance_id))
    show(output, instance.raw, lambda: as_table([instance]))


def delete(
    ctx: typer.Context,
    instance_id: InstanceId,
    yes: waiting.Yes = False,
    wait: waiting.WaitForDeletion = False,
    timeout: waiting.DeletionTimeout = waiting.DELETION_SECONDS,
    output: Output = Format.TABLE,
) -> None:
    """Delete an instance and its disk."""
    with open_client(ctx) as client:
        found = find(client, instance_id)
        confirm(lambda: _deletion_question(client.instance(found)), is_sure=yes)
        deleted = client.delete(found)
        if not wait:
            show(output, deleted.raw, lambda: as_table([deleted]))
            return
        waiting.wait_and_show(
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
        waiting.wait_and_show(
            ctx,
            client,
            find(client, instance_id),
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
        connection = client.connection(find(client, instance_id))
    if not connection.ssh_command:
        note(f"Error: {instance_id} has no SSH: its template opens no port for it.")
        raise typer.Exit(exits.FAILED)
    password = connection.ssh_password if show_password else None
    lines = [connection.ssh_command, *([password] if password else [])]
    raw = connection.raw if show_password else connection.raw | {"sshPassword": None}
    show(output, raw, lambda: "\n".join(lines))
    if connection.ssh_password and not show_password:
        note("Its password is shown with --show-password.")


def _deletion_question(instance: InstanceInfo) -> str:
    return f"Delete '{instance.name}' ({instance.id}, {instance.status}) and its disk?"
