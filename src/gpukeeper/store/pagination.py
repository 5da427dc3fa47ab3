"""Pages of instances: a part of them, newest first, and how many there are."""

import re
from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    bindparam,
    func,
    not_,
    or_,
    select,
)

from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store.instances import IS_NOTIFIED, IS_REFUSED, parse_row
from gpukeeper.store.tables import instances


def list_page(
    connection: Connection,
    *,
    statuses: Collection[Status] = (),
    has_refused: bool | None = None,
    has_notified: bool = False,
    name: str | None,
    before: int | None,
    limit: int,
) -> tuple[list[Instance], int, int | None]:
    """Return instances newest first, how many there are, and where the next page begins.

    ``statuses`` empty means all; orders that failed with nothing bought are among them, or left
    out, or there whatever the statuses are, as ``has_refused`` (None, False, True) says.
    ``has_notified`` adds those that Novita has said that it takes back.
    ``name`` is a part of the name, case folded; ``before`` is where
    a page before ended.
    """
    parameters: dict[str, Any] = {
        "statuses": [status.value for status in statuses],
        "name": None if name is None else _LIKE_SIGNS.sub(r"/\g<0>", name.lower()),
        "before": before,
        "limit": limit + 1,
    }
    counted, listed = _page(
        bool(statuses), has_refused, has_notified, name is not None, before is not None
    )
    total = connection.scalar(counted, parameters) or 0
    rows = connection.execute(listed, parameters).all()
    shown = rows[:limit]
    following = shown[-1].number if len(rows) > limit else None
    return [parse_row(row) for row in shown], total, following


# What means something else in a pattern of SQL's.
_LIKE_SIGNS = re.compile("[/%_]")


@cache
def _page(
    has_statuses: bool,
    has_refused: bool | None,
    has_notified: bool,
    has_name: bool,
    has_before: bool,
) -> tuple[Select[Any], Select[Any]]:
    """Return the statements for how many instances there are, and for a page of them."""
    conditions: list[ColumnElement[bool]] = []
    if has_statuses:
        is_meant = instances.c.status.in_(bindparam("statuses", expanding=True))
        also = [IS_REFUSED] if has_refused else []
        also += [IS_NOTIFIED] if has_notified else []
        conditions.append(or_(is_meant, *also))
    if has_refused is False:
        conditions.append(not_(IS_REFUSED))
    if has_name:
        part = bindparam("name", type_=String())
        conditions.append(func.lower(instances.c.name).contains(part, escape="/"))
    counted = select(func.count()).select_from(instances).where(*conditions)
    if has_before:
        conditions.append(instances.c.number < bindparam("before"))
    listed = (
        select(instances.c.body, instances.c.number)
        .where(*conditions)
        .order_by(instances.c.number.desc())
        .limit(bindparam("limit"))
    )
    return counted, listed
