"""Find instances at the service: page by page, and by the name that a person gave them."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from gpukeeper.cli.terminal.output import clean
from gpukeeper.client import AmbiguousName, Client, InstanceInfo, Page
from gpukeeper.client.name_lookup import LARGEST_PAGE
from gpukeeper.domain.instances import Status

# The argument of every command about one instance.
InstanceId = Annotated[
    str,
    typer.Argument(metavar="ID", help="Its name, its id or the end that 'ls' shows, Novita's id."),
]


def list_pages(
    client: Client,
    *,
    limit: int,
    statuses: Sequence[Status] = (),
    is_current: bool = False,
    name: str | None = None,
) -> Iterator[Page[InstanceInfo]]:
    """Yield the pages of a listing, newest instances first; a page is asked for when needed.

    A ``limit`` of 0 means the largest pages.
    """
    cursor = None
    while True:
        page = client.instances(
            status=list(statuses) or None,
            is_current=is_current,
            name=name,
            limit=limit or LARGEST_PAGE,
            cursor=cursor,
        )
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def find_instance(client: Client, given: str) -> str:
    """Return the id of the one instance that is meant (:meth:`Client.find_id`).

    A name that several have is a usage error: any choice between them may delete the wrong one.
    """
    try:
        return client.find_id(given)
    except AmbiguousName as error:
        raise typer.BadParameter(clean(error.message), param_hint="ID") from error
