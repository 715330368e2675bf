"""Train, dev and test of rows: what is alike stays together, every label is in each, and what was drawn once stays drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung.core.codec import digest, digest_file
from rung.core.errors import InputError
from rung.core.types import Split
from rung.data.clean import noise
from rung.data.rows.lines import replacing, told, write
from rung.data.rows.records import Record
from rung.data.split.balance import cap, choose, sort, thin
from rung.data.split.kinds import kind
from rung.data.split.profile import evenness
from rung.tasks.near import clusters
from rung.tasks.split import SPLITS, Item, Lock, Place, draw, read_lock, write_lock

LOCK = "splits.json"
KINDS = "kinds.json"
SHARES: Mapping[Split, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}
ORIGINS = ("thread", "document", "conversation")
"""What of a row's source keeps rows together: parts of one mail thread, document or conversation."""


@dataclass(frozen=True, slots=True)
class Parted:
    """How many rows each split has, of how many groups of like ones, how many were drawn before, and which could not be placed as they
    tie rows of several splits together. ``held`` names the kinds held out; ``most`` is how many rows of a kind train may have (0: any),
    ``spare`` how many it left out for that, ``even`` its evenness before and after."""

    counts: Mapping[str, int]
    groups: int
    frozen: int
    left: int
    hashes: Mapping[str, str]
    held: tuple[str, ...] = ()
    most: int = 0
    spare: int = 0
    even: tuple[float | None, float | None] = (None, None)


def split(
    records: Sequence[Record],
    folder: Path,
    *,
    shares: Mapping[Split, float] = SHARES,
    seed: int = 0,
    near: float | None = 0.8,
    by: Sequence[str] = ORIGINS,
    hold: float | Sequence[str] = 0.0,
    kinds: str = "kind",
    balance: str = "",
    most: int = 0,
) -> Parted:
    """Write ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` into ``folder``, and ``splits.json``, which freezes who is where.

    Inputs with a Jaccard similarity (5-character shingles) of at least ``near``, and rows that share one of ``by`` in their source, go
    to one split. Labels, else kinds of instructions, have their share in each. Run again with more rows, those that were there stay.

    ``hold``: whole kinds (named, or drawn until they hold about that share of the rows) go to ``held.jsonl`` and nowhere else; ``kinds``
    tells what a kind is (``balance.sort``). ``balance``: at most ``most`` rows of each of these groups in train; without ``most`` as many
    as leave an evenness of 0.9, or half of the rows. Raises InputError for shares that do not add up, or a frozen file of other settings.
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
    if hold:
        settings["held kinds"] = int(digest([kinds, hold])[:8], 16)
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
    rows: dict[str, list[Record]] = {name: [] for name in shares}
    held: tuple[str, ...] = ()
    kept: set[str] = set()
    tied: dict[str, Place] = {}
    if hold:
        sorts = sort(records, kinds)
        held = _held(folder / KINDS, hold, Counter(sorts), seed)
        kept, tied = _keep(items, [name in held for name in sorts], before)
        rows["held"] = [
            replace(record, source={**record.source, "kind": name})
            for record, item, name in zip(records, items, sorts, strict=True)
            if item.id in kept
        ]
        if not rows["held"]:
            raise InputError(
                f"no row is of the kinds {', '.join(held)}", remedy=f"there are: {', '.join(sorted(set(sorts)))}"
            )
    free = [item for item in items if item.id not in kept and item.id not in tied]
    places = draw(free, shares, seed, before) | tied
    for record, item in zip(records, items, strict=True):
        if places.get(item.id) in rows:
            rows[places[item.id]].append(record)
    even: tuple[float | None, float | None] = (None, None)
    spare = 0
    if balance and (train := rows.get("train")):
        groups_of = sort(train, balance)
        sizes = Counter(groups_of)
        most = most or cap(sizes)
        stay = thin(train, groups_of, most, seed)
        rows["train"] = [record for record, one in zip(train, stay, strict=True) if one]
        even = evenness(list(sizes.values())), evenness([min(size, most) for size in sizes.values()])
        spare = len(train) - len(rows["train"])
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if hold:
        with replacing(folder / KINDS) as out:
            out.write((json.dumps({"by": kinds, "held": list(held)}, indent=1, ensure_ascii=False) + "\n").encode())
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
        sum(place == "out" for place in (places.get(item.id) for item in items)),
        hashes,
        held,
        most if balance else 0,
        spare,
        even,
    )


def _held(path: Path, hold: float | Sequence[str], counts: Mapping[str, int], seed: int) -> tuple[str, ...]:
    """The kinds to hold out: those that were, the named ones, or drawn ones."""
    if path.exists():
        try:
            return tuple(str(name) for name in json.loads(path.read_text(encoding="utf-8"))["held"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"cannot be read: {error}", file=path, remedy="restore it, or remove the folder to draw anew"
            ) from None
    if isinstance(hold, float | int):
        return choose(counts, hold, seed)
    if unknown := [name for name in hold if name not in counts]:
        raise InputError(f"no row is of the kind {unknown[0]!r}", remedy=f"there are: {', '.join(sorted(counts))}")
    return tuple(sorted(hold))


def _keep(
    items: Sequence[Item], marked: Sequence[bool], before: Mapping[str, Place]
) -> tuple[set[str], dict[str, Place]]:
    """Ids that are held out, and those that are in no split: they are alike to held ones, or of a held kind and alike to rows that were
    drawn before."""
    drawn = {item.cluster for item in items if before.get(item.id, "out") != "out"}
    with_held = {item.cluster for item, one in zip(items, marked, strict=True) if one}
    kept: set[str] = set()
    tied: dict[str, Place] = {}
    for item, one in zip(items, marked, strict=True):
        if item.id in before and before[item.id] != "out":
            continue
        if one and item.cluster not in drawn:
            kept.add(item.id)
        elif item.cluster in with_held and (one or item.cluster not in drawn):
            tied[item.id] = "out"
    return kept, tied


def _origin(record: Record, by: Sequence[str]) -> str | None:
    for name in by:
        if (value := record.source.get(name)) is not None:
            return f"{name}:{record.source.get('file', '')}:{value}"
    return None
