"""Everything in a collection checked: the database's pages, its documents, and what is derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import StoreError
from rung.retrieval.collection.derived.derived import StaleError
from rung.retrieval.collection.ingest.write import content_hash

if TYPE_CHECKING:
    from rung.retrieval.collection.database.snapshot import Snapshot
    from rung.retrieval.collection.derived.parts import Parts


@dataclass(frozen=True, slots=True)
class CollectionCheck:
    """``damage`` in the truth (build again or restore), and derived parts that were ``repaired``."""

    damage: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()


def check_all(parts: Parts, snapshot: Snapshot, dimensions: int) -> CollectionCheck:
    """The truth checked, and where it is whole what is derived from it."""
    damage = check_documents(snapshot, dimensions)
    return CollectionCheck(tuple(damage), () if damage else tuple(check_parts(parts, snapshot)))


def check_documents(snapshot: Snapshot, dimensions: int) -> list[str]:
    """What is wrong with the truth: its pages, each document against its hash, each passage's place and vector."""
    out = snapshot.check()
    rows: list[int] = []
    for document, hashed, passages in snapshot.each():
        if content_hash(document) != hashed:
            out.append(f"document {document.id!r} is not what was written")
        out += [
            f"row {row} of document {document.id!r}: characters {start} to {stop} of {len(document.text)}"
            for row, start, stop in passages
            if not 0 <= start < stop <= len(document.text)
        ]
        rows += [row for row, _, _ in passages]
    if dimensions:
        try:
            held = [numbers for numbers, _ in snapshot.vectors(0, dimensions)]
        except StoreError as error:
            return [*out, error.message]
        lacking = np.setdiff1d(np.array(rows, np.int64), np.concatenate(held) if held else np.empty(0, np.int64))
        if len(lacking):
            out.append(f"{len(lacking)} passages have no vector, the first is row {int(lacking[0])}")
    return out


def check_parts(parts: Parts, snapshot: Snapshot) -> list[str]:
    """What is wrong with the derived parts, brought to the snapshot's generation."""
    try:
        parts.follow(snapshot)
    except StaleError:
        return ["the derived parts are ahead of the database"]
    return [said for part in parts.used() if (said := part.check(snapshot))]
