"""Long lists of values, in as many portions as statements take them."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

# SQLite takes at most 32,766 parameters in one statement; a fleet may have more machines.
CHUNK_SIZE = 1_000


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Give the values in order, as many at a time as one statement is to take."""
    for start in range(0, len(values), CHUNK_SIZE):
        yield values[start : start + CHUNK_SIZE]
