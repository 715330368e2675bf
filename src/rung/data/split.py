"""Train, dev and test of rows: what is alike stays together, every label is in each, and what was drawn once stays drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.codec import digest, digest_file
from rung.core.errors import InputError
from rung.core.types import Split
from rung.data import noise
from rung.data.kinds import kind
from rung.data.lines import replacing, told, write
from rung.data.records import Record
from rung.tasks.near import clusters
from rung.tasks.split import SPLITS, Item, Lock, Place, draw, read_lock, write_lock

LOCK = "splits.json"
SHARES: Mapping[Split, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}
ORIGINS = ("thread", "document", "conversation")
"""What of a row's source keeps rows together: parts of one mail thread, document or conversation."""


@dataclass(frozen=True, slots=True)
class Parted:
    """How many rows each split has, of how many groups of like ones, how many were drawn before, and which could not be placed as they
    tie rows of several splits together."""

    counts: Mapping[str, int]
    groups: int
    frozen: int
    left: int
    hashes: Mapping[str, str]


def split(
    records: Sequence[Record],
    folder: Path,
    *,
    shares: Mapping[Split, float] = SHARES,
    seed: int = 0,
    near: float | None = 0.8,
    by: Sequence[str] = ORIGINS,
) -> Parted:
    """Write ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` into ``folder``, and ``splits.json``, which freezes who is where.

    Inputs with a Jaccard similarity (5-character shingles) of at least ``near``, and rows that share one of ``by`` in their source, go
    to one split. Labels, else kinds of instructions, have their share in each. Run again with more rows, those that were there stay.
    Raises InputError for shares that do not add up, or a frozen file of other settings.
    """
    if not records:
        raise InputError("there is no row to split", remedy="make some: rung data import SOURCES --to FILE.jsonl")
    if (
        any(share <= 0 for share in shares.values())
        or abs(sum(shares.values()) - 1) > 1e-6
        or set(shares) - set(SPLITS)
    ):
        raise InputError(
            f"shares are {dict(shares)}, expected train, dev and test that add up to 1", remedy="--shares 0.8,0.1,0.1"
        )
    path = folder / LOCK
    settings: dict[str, float | int | bool] = {"seed": seed, "near": near or 0.0, "by": int(digest(sorted(by))[:8], 16)}
    settings |= {f"share {name}": share for name, share in shares.items()}
    try:
        lock = read_lock(path)
    except ValueError as error:
        raise InputError(
            f"cannot be read: {error}", file=path, remedy="restore it, or remove it to draw anew"
        ) from None
    if lock is not None and dict(lock.settings) != settings:
        changed = [name for name in settings if lock.settings.get(name) != settings[name]]
        raise InputError(
            f"was frozen with another {', '.join(changed)}",
            file=path,
            remedy="split as before, or remove the file to draw anew",
        )
    questions = [record.question or record.text for record in records]
    groups = [_origin(record, by) for record in records]
    _, _, whole = clusters([[question] for question in questions], near, groups)
    answers = [record.answer for record in records]
    classes = noise.labels([answer for answer in answers if answer])
    seen: Counter[str] = Counter()
    items = []
    for record, cluster, question, answer in zip(records, whole.tolist(), questions, answers, strict=True):
        content = record.content
        seen[content] += 1
        id = f"{content}-{seen[content]}" if seen[content] > 1 else content
        items.append(Item(id, question, cluster, answer if classes else kind(question)))
    before: Mapping[str, Place] = lock.splits if lock is not None else {}
    places = draw(items, shares, seed, before)
    rows: dict[str, list[Record]] = {name: [] for name in shares}
    for record, item in zip(records, items, strict=True):
        if places[item.id] in rows:
            rows[places[item.id]].append(record)
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, part in rows.items():
        file = folder / f"{name}.jsonl"
        write(file, part)
        hashes[file.name] = digest_file(file)
    write_lock(path, Lock(settings, {**before, **places}), digest([item.id for item in items]))
    with replacing(folder / "hashes.json") as out:
        out.write((json.dumps({"sha256": hashes}, indent=1) + "\n").encode())
    return Parted(
        {name: len(part) for name, part in rows.items()},
        len(set(whole.tolist())),
        sum(item.id in before for item in items),
        sum(places[item.id] == "out" for item in items),
        hashes,
    )


def _origin(record: Record, by: Sequence[str]) -> str | None:
    for name in by:
        if (value := record.source.get(name)) is not None:
            return f"{name}:{record.source.get('file', '')}:{value}"
    return None
