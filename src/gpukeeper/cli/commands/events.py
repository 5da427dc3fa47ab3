"""The command that shows what happened, and what happens."""

import json
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from gpukeeper.cli.lookup import find_instance
from gpukeeper.cli.service_access import get_access, open_client
from gpukeeper.cli.terminal.instance_tables import reason_text
from gpukeeper.cli.terminal.output import Format, Output, clean, note, show, when
from gpukeeper.cli.terminal.text_tables import Column, table
from gpukeeper.client import Client, EventInfo
from gpukeeper.domain.events import EventType

_COLUMNS = (
    Column("TIME", rank=1),
    Column("EVENT"),
    Column("FROM", rank=3),
    Column("STATUS", rank=2),
    Column("REASON", rank=4, narrowest=20),
)

# Lines that come one by one stand in columns as well; the longest type is
# "instance.connection_changed".
_TYPE_WIDTH = 27


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(events)


def events(
    ctx: typer.Context,
    instance_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Its id, Novita's id, or its name; all with --follow."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    kind: Annotated[
        list[EventType] | None,
        typer.Option("--type", metavar="TYPE", help="Only such events; repeatable."),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what happened to an instance, oldest first.

    With --follow what happens comes line by line, as JSON one event to a line, and a connection
    that breaks is made again without a gap.
    """
    if instance_id is None and not follow:
        raise typer.BadParameter("Name an instance, or follow all with -f.", param_hint="ID")
    types = frozenset(each.value for each in kind or ())
    with open_client(ctx) as client:
        found = find_instance(client, instance_id) if instance_id else None
        if follow:
            write = _as_json if output is Format.JSON else _as_line
            for event in _follow(client, found, types, sleep=get_access(ctx).sleep):
                print(write(event), flush=True)
            return
        assert found is not None
        page = client.events(found)
    items = [each for each in page.items if not types or each.type in types]
    rows = (
        (when(each.at), each.type, each.previous_status, each.status, reason_text(each.error))
        for each in items
    )
    shown = page.raw | {"events": [each.raw for each in items]}
    show(output, shown, lambda: table(_COLUMNS, rows))


def _follow(
    client: Client,
    instance_id: str | None,
    types: frozenset[str],
    *,
    sleep: Callable[[float], None],
) -> Iterator[EventInfo]:
    """Yield an instance's history, then what happens; of all instances only what happens."""
    coming = client.follow(
        instance_ids=[instance_id] if instance_id else [],
        types=types,
        on_trouble=lambda error: note(f"{error.message} Connecting again."),
        sleep=sleep,
    )
    # Asked for only now, when nothing can happen unheard any more; what comes twice is left out.
    history = client.events(instance_id).items if instance_id else ()
    yield from (event for event in history if not types or event.type in types)
    told = {event.id for event in history}
    yield from (event for event in coming if event.id not in told)


def _as_line(event: EventInfo) -> str:
    about = event.instance
    columns = (
        when(event.at),
        event.type.ljust(_TYPE_WIDTH),
        f"{about.name} ({about.id})" if about else None,
        event.status,
        reason_text(event.error),
    )
    return clean("  ".join(filter(None, columns)).rstrip())


def _as_json(event: EventInfo) -> str:
    return json.dumps(event.raw)
