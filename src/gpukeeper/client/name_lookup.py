"""Find the one instance that a person means by a name, or by the end of its id."""

import re
from collections.abc import Callable, Iterator, Sequence

from gpukeeper.client.page import Page
from gpukeeper.client.problems import AmbiguousName
from gpukeeper.contract.instances import Instance
from gpukeeper.domain.instances import Status

LARGEST_PAGE = 1000
# Random letters at the end of an id: no two instances of a fleet have the same.
SHORT_ID_LENGTH = 8

_ID_PREFIX = "ins_"
_SHORT_ID = re.compile(f"[0-9a-hjkmnp-tv-z]{{{SHORT_ID_LENGTH}}}")

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

# Returns the page of a listing after a cursor, of instances with this in their name.
ListPage = Callable[[str | None, str | None], Page[Instance]]


def find_id(ask: ListPage, given: str) -> str:
    """Return the id of the one instance of this name that is not deleted, else what was given.

    Ids of ours are taken as they are.  Of several instances of one name the one that has a machine
    is meant, or else the one that did not fail: an order that came to nothing does not use its name
    up.  What is no name may be the end of an id, as tables show it.  Raises AmbiguousName, since
    any choice between several may delete the wrong one.
    """
    if given.startswith(_ID_PREFIX) or not given:
        return given
    named = [each for each in _every(ask, given) if each.name == given]
    meant = _meant([each for each in named if each.status != Status.DELETED])
    if not meant and _SHORT_ID.fullmatch(given):
        meant = [each for each in _every(ask, None) if each.id.endswith(given)]
    if len(meant) > 1:
        raise AmbiguousName(given, meant)
    return meant[0].id if meant else given


def _every(ask: ListPage, name: str | None) -> Iterator[Instance]:
    cursor = None
    while True:
        page = ask(name, cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _meant(found: Sequence[Instance]) -> Sequence[Instance]:
    """Return those that a name can stand for: fewer, if some of them have nothing left to name."""
    living = [each for each in found if each.is_billing or each.status in _LIVING]
    hopeful = [each for each in found if each.status not in (Status.FAILED, Status.LOST)]
    return living or hopeful or found
