"""Frozen splits: drawn from a hash of the content, stratified, clusters whole, and written down so that they stay."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rung.core.system.files import atomic_write
from rung.core.types import Split

Place = Literal["train", "dev", "test", "out"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
PLACES: tuple[Place, ...] = ("train", "dev", "test", "out")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Item:
    """What the draw knows of a row: ``key`` its content, ``cluster`` the rows it must stay with, ``stratum`` its
    label."""

    id: str
    key: str
    cluster: int
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """Splits as they were frozen. ``settings`` are those of the draw; other ones would draw anew."""

    settings: Mapping[str, float | int | bool]
    splits: Mapping[str, Place]


def rank(seed: int, key: str) -> bytes:
    """The place of a key in frozen hash order."""
    return hashlib.blake2b(f"{seed}\x1f{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def draw(
    items: Sequence[Item], shares: Mapping[Split, float], seed: int, locked: Mapping[str, Place]
) -> dict[str, Place]:
    """A split for every item's id.

    Items in ``locked`` stay where they are. A cluster with locked items goes to their split; when these lie in several
    splits, its new items are left "out", as they would tie the splits together. The other clusters are taken stratum by
    stratum in hash order, and each goes to the split that is furthest behind its share of the stratum so far: shares
    are kept to within a cluster or two, and no row added later moves an earlier one.
    """
    clusters: defaultdict[int, list[Item]] = defaultdict(list)
    for item in items:
        clusters[item.cluster].append(item)
    out: dict[str, Place] = {}
    have: defaultdict[str, Counter[Place]] = defaultdict(Counter)
    free: list[tuple[bytes, str, list[Item]]] = []
    for members in clusters.values():
        held = {locked[item.id] for item in members if item.id in locked} - {"out"}
        if not held and not any(item.id in locked for item in members):
            counts = Counter(item.stratum for item in members)
            stratum = min(counts, key=lambda name: (-counts[name], name))
            free.append((min(rank(seed, item.key) for item in members), stratum, members))
            continue
        place: Place = next(iter(held)) if len(held) == 1 else "out"
        for item in members:
            out[item.id] = locked.get(item.id, place)
            if out[item.id] != "out":
                have[item.stratum][out[item.id]] += 1
    overall: Counter[Place] = Counter()
    for counted in have.values():
        overall.update(counted)
    names = [name for name in SPLITS if name in shares]
    for _, stratum, members in sorted(free, key=lambda entry: entry[0]):
        counted, size = have[stratum], len(members)
        total, everything = sum(counted.values()) + size, sum(overall.values()) + size
        # Behind in the stratum, then (by at most half a row) behind overall: else many small strata would all round the
        # same way and starve dev. What a label has first goes to train, where it can be learnt from.
        chosen = max(
            names,
            key=lambda name: (
                ("train" in names and name == "train" and not counted["train"]),
                shares[name] * total - counted[name] + max(-0.5, min(0.5, shares[name] * everything - overall[name])),
            ),
        )
        counted[chosen] += size
        overall[chosen] += size
        for item in members:
            out[item.id] = chosen
    return out


# ---------------------------------------------------------------- the lock file


def lock_path(task: Path, name: str) -> Path:
    return task.with_name(f"{name}.splits.json")


def read_lock(path: Path) -> Lock | None:
    """The frozen splits, None when there are none yet. Raises ValueError when the file is not one of ours."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    try:
        if document["format"] != FORMAT:
            raise ValueError(f"got format {document['format']}, expected {FORMAT}")
        splits: dict[str, Place] = {}
        for place in PLACES:
            for id in document["splits"].get(place, ()):
                if not isinstance(id, str) or id in splits:
                    raise ValueError(f"{id!r} is there twice or is not text")
                splits[id] = place
        return Lock(document["settings"], splits)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a file of frozen splits: {error!r}") from None


def write_lock(path: Path, lock: Lock, data: str) -> None:
    """Replace the lock file in one step. ``data`` is the hash of the rows the splits were drawn for."""
    by_place: dict[Place, list[str]] = {place: [] for place in PLACES}
    for id, place in lock.splits.items():
        by_place[place].append(id)
    document = {
        "about": "Frozen splits: keep this file under version control; delete it to draw anew.",
        "format": FORMAT,
        "data": data,
        "settings": dict(lock.settings),
        "splits": {place: sorted(ids) for place, ids in by_place.items() if ids},
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(document, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
