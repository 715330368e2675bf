"""What every backend checks of its callers before it does anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_queries(vectors: NDArray[np.float32], dimensions: int, k: int) -> NDArray[np.float32]:
    """Query vectors as C-ordered float32 of shape (n, dimensions). Raises InputError for another shape, for values
    that are not finite, and for k < 1."""
    import numpy as np

    if k < 1:
        raise InputError(f"k is {k}, expected at least 1")
    queries = np.ascontiguousarray(vectors, np.float32)
    if queries.ndim != 2 or queries.shape[1] != dimensions:
        raise InputError(
            f"the queries have shape {np.shape(vectors)}, expected (n, {dimensions})",
            remedy="use the embedder that the index was built with; one query is an array of shape (1, dimensions)",
        )
    # One pass without a temporary: a sum of squares is finite only when every number is (and none is beyond 1e19).
    flat = queries.reshape(-1)
    if not math.isfinite(flat.dot(flat)):
        raise InputError("the queries hold numbers that are not finite (NaN or infinity)")
    return queries


def check_rows(
    ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None, dimensions: int
) -> NDArray[np.float32]:
    """Rows to be written, their vectors as C-ordered float32. Raises InputError before anything is changed: lengths
    that differ, ids that are no texts, empty or twice there, another dimension, numbers that are not finite."""
    import numpy as np

    rows = np.ascontiguousarray(vectors, np.float32)
    if not len(ids):
        rows = rows.reshape(0, dimensions) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != dimensions:
        raise InputError(
            f"the vectors have shape {np.shape(vectors)}, expected (n, {dimensions})",
            remedy="use the embedder that the index was built with",
        )
    if len(rows) != len(ids) or (metadata is not None and len(metadata) != len(ids)):
        extra = "" if metadata is None else f" and {len(metadata)} metadata"
        raise InputError(f"got {len(ids)} ids, {len(rows)} vectors{extra}: expected as many of each")
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(f"the id {twice!r} is twice in one call", remedy="give each id once")
    wrong = next((name for name in ids if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise InputError(f"an id is {wrong!r}, expected a text that is not empty")
    if rows.size and not np.isfinite(np.dot(rows.reshape(-1), rows.reshape(-1))):
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise InputError(
                f"the vector of {ids[int(bad[0])]!r} holds numbers that are not finite ({len(bad)} such vectors)",
                remedy="embed that text again, or leave it out",
            )
    return rows


def check_new(ids: Sequence[str], known: Mapping[str, Any]) -> None:
    """Raises InputError when an id is there already."""
    there = next((name for name in ids if name in known), None)
    if there is not None:
        raise InputError(f"the id {there!r} is there already", remedy="use upsert to replace it")


def lots(count: int, size: int) -> Iterator[slice]:
    """0..count in pieces of ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))
