"""Find instances at the service: page by page, and by the name that a person gave them."""

from collections.abc import Iterator
from typing import Annotated

import typer

from gpukeeper.client import Client, InstanceInfo, Page
from gpukeeper.domain.instance import Status

# The argument of every command about one instance.
InstanceId = Annotated[str, typer.Argument(metavar="ID", help="Its id, Novita's id, or its name.")]

LARGEST_PAGE = 1000

_ID_PREFIX = "ins_"


def pages(
    client: Client, *, limit: int, status: Status | None = None, name: str | None = None
) -> Iterator[Page[InstanceInfo]]:
    """Yield the pages of a listing, newest instances first; a page is asked for when needed."""
    cursor = None
    while True:
        page = client.instances(status=status, name=name, limit=limit, cursor=cursor)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def find(client: Client, given: str) -> str:
    """Return the id of the one instance of this name that is not deleted, else what was given.

    Ids of ours are taken as they are.  Several instances of one name are a usage error, since
    any choice between them may delete the wrong one.
    """
    if given.startswith(_ID_PREFIX) or not given:
        return given
    found = [
        each.id
        for page in pages(client, limit=LARGEST_PAGE, name=given)
        for each in page.items
        if each.name == given and each.status != Status.DELETED
    ]
    if len(found) > 1:
        raise typer.BadParameter(
            f"Several instances are called '{given}': {', '.join(found)}.", param_hint="ID"
        )
    return found[0] if found else given
