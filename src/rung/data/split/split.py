"""Train, dev and test of rows: what is alike stays together, every label is in each, and what was drawn once stays
drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung.core.codec import digest, digest_file
from rung.core.errors import InputError
from rung.data.clean.filters import noise
from rung.data.rows.lines import disk_errors, replacing, write
from rung.data.rows.records import Record
from rung.data.split.balance import cap, choose, sort, thin
from rung.data.split.kinds import kind
from rung.data.split.options import SplitPlan
from rung.data.split.profile import evenness
from rung.tasks.near import clusters
from rung.tasks.split import Item, Lock, Place, draw, read_lock, write_lock

LOCK = "splits.json"
KINDS = "kinds.json"


@dataclass(frozen=True, slots=True)
class SplitResult:
    """How many rows each split has, of how many groups of like ones, how many were drawn before, and which could not
    be placed as they tie rows of several splits together. ``held`` names the kinds held out; ``most`` is how many
    rows of a kind train may have (0: any), ``spare`` how many it left out for that, ``even`` its evenness before and
    after."""

    counts: Mapping[str, int]
    groups: int
    frozen: int
    left: int
    hashes: Mapping[str, str]
    held: tuple[str, ...] = ()
    most: int = 0
    spare: int = 0
    even: tuple[float | None, float | None] = (None, None)


def split(records: Sequence[Record], folder: Path, plan: SplitPlan | None = None) -> SplitResult:
    """Write ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` into ``folder``, and ``splits.json``, which freezes who
    is where.

    Labels, else kinds of instructions, have their share in each. Run again with more rows, those that were there
    stay. Raises InputError when there is no row, or for a frozen file of another plan."""
    plan = plan or SplitPlan()
    if not records:
        raise InputError(
            "there is no row to split", remedy="make some: rung data import SOURCES --to FILE.jsonl", code="no-rows"
        )
    lock = _lock(folder / LOCK, plan)
    before: Mapping[str, Place] = lock.splits if lock is not None else {}
    items = _items(records, plan)
    rows: dict[str, list[Record]] = {name: [] for name in plan.shares}
    held: tuple[str, ...] = ()
    kept: set[str] = set()
    tied: dict[str, Place] = {}
    if plan.hold:
        sorts = sort(records, plan.kinds)
        held = _held(folder / KINDS, plan.hold, Counter(sorts), plan.seed)
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
    places = draw(free, plan.shares, plan.seed, before) | tied
    for record, item in zip(records, items, strict=True):
        if places.get(item.id) in rows:
            rows[places[item.id]].append(record)
    most, spare, even = _balance(rows, plan)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if plan.hold:
        _write_json(folder / KINDS, {"by": plan.kinds, "held": list(held)})
    hashes = {}
    for name, part in rows.items():
        file = folder / f"{name}.jsonl"
        write(file, part)
        hashes[file.name] = digest_file(file)
    write_lock(folder / LOCK, Lock(plan.settings, {**before, **places}), digest([item.id for item in items]))
    _write_json(folder / "hashes.json", {"sha256": hashes})
    return SplitResult(
        {name: len(part) for name, part in rows.items()},
        len({item.cluster for item in items}),
        sum(item.id in before for item in items),
        sum(places.get(item.id) == "out" for item in items),
        hashes,
        held,
        most,
        spare,
        even,
    )


def _lock(path: Path, plan: SplitPlan) -> Lock | None:
    """What was frozen before. Raises InputError for a damaged file, and one of another plan."""
    try:
        lock = read_lock(path)
    except ValueError as error:
        raise InputError(
            f"cannot be read: {error}", file=path, remedy="restore it, or remove it to draw again", code="unreadable"
        ) from None
    if lock is not None and dict(lock.settings) != plan.settings:
        changed = [name for name in plan.settings if lock.settings.get(name) != plan.settings[name]]
        raise InputError(
            f"was frozen with another {', '.join(changed)}", file=path,
            remedy="split as before, or remove the file to draw again", code="frozen",
        )  # fmt: skip
    return lock


def _items(records: Sequence[Record], plan: SplitPlan) -> list[Item]:
    """What is drawn for each record: its content's hash, its cluster of like ones and its stratum."""
    questions = [record.question or record.text for record in records]
    groups = [_origin(record, plan.by) for record in records]
    _, _, whole = clusters([[question] for question in questions], plan.near, groups)
    answers = [record.answer for record in records]
    classes = noise.labels([answer for answer in answers if answer])
    seen: Counter[str] = Counter()
    items = []
    for record, cluster, question, answer in zip(records, whole.tolist(), questions, answers, strict=True):
        content = record.content
        seen[content] += 1
        id = f"{content}-{seen[content]}" if seen[content] > 1 else content
        items.append(Item(id, question, cluster, answer if classes else kind(question)))
    return items


def _balance(rows: dict[str, list[Record]], plan: SplitPlan) -> tuple[int, int, tuple[float | None, float | None]]:
    """Thin out train, in place: the rows of a group at most, how many were left out, and the evenness before and
    after."""
    train = rows.get("train")
    if not plan.balance or not train:
        return 0, 0, (None, None)
    groups = sort(train, plan.balance)
    sizes = Counter(groups)
    most = plan.most or cap(sizes)
    stay = thin(train, groups, most, plan.seed)
    rows["train"] = [record for record, one in zip(train, stay, strict=True) if one]
    even = evenness(list(sizes.values())), evenness([min(size, most) for size in sizes.values()])
    return most, len(train) - len(rows["train"]), even


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    with replacing(path) as out:
        out.write((json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def _held(path: Path, hold: float | Sequence[str], counts: Mapping[str, int], seed: int) -> tuple[str, ...]:
    """The kinds to hold out: those that were, the named ones, or drawn ones."""
    if path.exists():
        try:
            return tuple(str(name) for name in json.loads(path.read_text(encoding="utf-8"))["held"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"cannot be read: {error}", file=path, remedy="restore it, or remove the folder to draw again"
            ) from None
    if isinstance(hold, float | int):
        return choose(counts, hold, seed)
    if unknown := [name for name in hold if name not in counts]:
        raise InputError(f"no row is of the kind {unknown[0]!r}", remedy=f"there are: {', '.join(sorted(counts))}")
    return tuple(sorted(hold))


def _keep(
    items: Sequence[Item], marked: Sequence[bool], before: Mapping[str, Place]
) -> tuple[set[str], dict[str, Place]]:
    """Ids that are held out, and those that are in no split: they are alike to held ones, or of a held kind and alike
    to rows that were drawn before."""
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
