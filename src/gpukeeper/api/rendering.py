"""Write instances as the JSON of answers, each only once for as long as it does not change.

The store gives the same object for a row that has not changed, however often it is read, and the
service the same page while nothing at all has changed.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from gpukeeper.contract.instances import InstanceList, describe_instance
from gpukeeper.contract.serialization import to_json
from gpukeeper.service import Page, View

# As many as a page may have, and as the store keeps parsed; some kB each.
_CAPACITY = 1_000


@dataclass(frozen=True, slots=True)
class _Written:
    # It also keeps the instance alive, so that no other takes its place in memory.
    view: View
    json: bytes


# By the instance's place in memory: comparing two that are equal takes longer than writing one.
_written: dict[int, _Written] = {}


_pages: WeakKeyDictionary[Page, bytes] = WeakKeyDictionary()


def instance_json(view: View) -> bytes:
    """Return an instance as answers show it."""
    found = _written.get(id(view.instance))
    if found is None or not _is_same(found.view, view):
        found = _Written(view, _write(view))
        _written[id(view.instance)] = found
        if len(_written) > _CAPACITY:
            del _written[next(iter(_written))]
    return found.json


def page_json(page: Page) -> bytes:
    """Return a page of instances as answers show it."""
    found = _pages.get(page)
    if found is None:
        rest = to_json(InstanceList((), page.total, page.next_cursor), exclude={"instances"})
        instances = b",".join(map(instance_json, page.views))
        found = _pages[page] = b'{"instances":[%b],%b' % (instances, rest[1:])
    return found


def _is_same(one: View, other: View) -> bool:
    """Whether two views of one instance look the same."""
    return one.is_stale is other.is_stale and one.observed_at == other.observed_at


def _write(view: View) -> bytes:
    shown = describe_instance(view.instance, observed_at=view.observed_at, is_stale=view.is_stale)
    return to_json(shown)
