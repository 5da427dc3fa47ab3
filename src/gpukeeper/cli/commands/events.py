"""The command that shows what happened, and what happens."""

import json
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from gpukeeper.cli.service_access import find_instance, get_access, open_client
from gpukeeper.cli.terminal.instance_tables import reason_text
from gpukeeper.cli.terminal.output import Format, Output, format_event, format_time, note, show
from gpukeeper.cli.terminal.text_tables import Column, format_table
from gpukeeper.client import Client, EventInfo
from gpukeeper.domain.events import EventType

_COLUMNS: tuple[Column[EventInfo], ...] = (
    Column("TIME", lambda each: format_time(each.at), rank=1),
    Column("EVENT", lambda each: each.type),
    Column("FROM", lambda each: each.previous_status, rank=3),
    Column("STATUS", lambda each: each.status, rank=2),
    Column("REASON", lambda each: reason_text(each.error), rank=4, narrowest=20),
)


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
            is_json = output is Format.JSON
            for event in _follow(client, found, types, sleep=get_access(ctx).sleep):
                print(json.dumps(event.raw) if is_json else _format_line(event), flush=True)
            return
        assert found is not None
        page = client.events(found)
    items = [each for each in page.items if not types or each.type in types]
    shown = page.raw | {"events": [each.raw for each in items]}
    show(output, shown, lambda: format_table(_COLUMNS, items))


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
    # Read only now, when nothing can happen unheard; an event that comes twice is left out.
    history = client.events(instance_id).items if instance_id else ()
    yield from (event for event in history if not types or event.type in types)
    seen = {event.id for event in history}
    yield from (event for event in coming if event.id not in seen)


def _format_line(event: EventInfo) -> str:
    about = event.instance
    return format_event(
        format_time(event.at),
        event.type,
        f"{about.name} ({about.id})" if about else None,
        event.status,
        reason_text(event.error),
    )
