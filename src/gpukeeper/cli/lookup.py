"""Find instances at the service: page by page, and by the name that a person gave them."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from gpukeeper.cli.output import clean, when
from gpukeeper.client import Client, InstanceInfo, Page
from gpukeeper.domain.instance import Status

# The argument of every command about one instance.
InstanceId = Annotated[str, typer.Argument(metavar="ID", help="Its id, Novita's id, or its name.")]

LARGEST_PAGE = 1000

_ID_PREFIX = "ins_"

# Where an instance has a machine, or is on its way to one.
_LIVING = frozenset(
    {
        Status.REQUESTED,
        Status.CREATING,
        Status.STARTING,
        Status.RUNNING,
        Status.STOPPING,
        Status.STOPPED,
        Status.DELETING,
    }
)


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

    Ids of ours are taken as they are.  Of several instances of one name the one that has a machine
    is meant, or else the one that did not fail: an order that came to nothing does not use its name
    up.  Several of these are a usage error, since any choice between them may delete the wrong one.
    """
    if given.startswith(_ID_PREFIX) or not given:
        return given
    found = [
        each
        for page in pages(client, limit=LARGEST_PAGE, name=given)
        for each in page.items
        if each.name == given and each.status != Status.DELETED
    ]
    meant = _meant(found)
    if len(meant) > 1:
        known = "; ".join(
            f"{each.id}, {each.status}, ordered {when(each.created_at)}" for each in meant
        )
        raise typer.BadParameter(
            clean(f"Several instances are called '{given}'. Give the id of one: {known}."),
            param_hint="ID",
        )
    return meant[0].id if meant else given


def _meant(found: Sequence[InstanceInfo]) -> Sequence[InstanceInfo]:
    """Return those that a name can stand for: fewer, if some of them have nothing left to name."""
    living = [each for each in found if each.is_billing or each.status in _LIVING]
    hopeful = [each for each in found if each.status not in (Status.FAILED, Status.LOST)]
    return living or hopeful or found
