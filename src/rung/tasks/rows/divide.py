"""The rows of a task given to its splits: taken as they are given, or drawn; duplicates kept apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rung.core.codec import digest
from rung.core.types import ResponseFormat, Split
from rung.tasks import near
from rung.tasks.rows.checker import Draft, TaskChecker, short
from rung.tasks.split import SPLITS, Item, Lock, Place, draw, lock_path, rank, read_lock, write_lock


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in the data. Duplicates are rows beyond the first of their cluster; ``dropped`` are train and dev
    rows that repeat a row of a split that is kept as given; ``added`` and ``gone`` compare with the frozen splits;
    ``skipped`` are rows left out as empty."""

    rows: Mapping[str, int] = field(default_factory=dict)
    read: int = 0
    labels: int = 0
    exact: int = 0
    near: int = 0
    largest: int = 1
    straddling: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    conflicts: int = 0
    added: int = 0
    gone: int = 0
    skipped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Newly drawn splits that wait for everything else to be good before they are written down."""

    path: Path
    lock: Lock
    data: str


@dataclass(frozen=True, slots=True)
class _Allotment:
    """Rows that are being given to splits. ``whole``: by row, the first of those that must share a split; ``places``:
    its split."""

    checker: TaskChecker
    rows: Sequence[Draft]
    form: ResponseFormat
    whole: Sequence[int]
    places: list[Place]


def divide(
    checker: TaskChecker, rows: Sequence[Draft], form: ResponseFormat
) -> tuple[dict[Split, list[Draft]], Findings, Drawn | None]:
    """The rows by split, what was found in them, and newly drawn splits that are to be written down."""
    settings = checker.definition.split
    exact, alike, whole = near.clusters(
        [tuple(row.input.values()) for row in rows], settings.near, [row.group for row in rows]
    )
    sizes = Counter(alike.tolist())
    places: list[Place] = [cast(Place, row.split) if row.split else "out" for row in rows]
    allotment = _Allotment(checker, rows, form, whole.tolist(), places)
    conflicts = _conflicts(checker, rows, exact.tolist(), form)
    given = {row.split for row in rows if row.split}
    straddling, dropped = _keep_apart(allotment, given) if given else (0, Counter[str]())
    drawn = _lacking(checker, given)
    added = gone = 0
    fresh: Drawn | None = None
    if drawn and not checker.problems.failed:
        chosen = [index for index, row in enumerate(rows) if not given or (places[index] == "train")]
        if given and "train" not in given:
            chosen = [index for index, row in enumerate(rows) if not row.split]
        added, gone, fresh = _draw(allotment, chosen, drawn)
    splits: dict[Split, list[Draft]] = {}
    for name in SPLITS:
        members = [row for row, place in zip(rows, places, strict=True) if place == name]
        members.sort(key=lambda row: rank(settings.seed, row.key + row.id))
        limit = getattr(checker.definition.limit, name)
        splits[name] = members if limit is None else members[:limit]
    findings = Findings(
        rows={name: len(members) for name, members in splits.items()},
        read=len(rows),
        labels=len(form.labels),
        exact=len(rows) - len(set(exact.tolist())),
        near=len(set(exact.tolist())) - len(sizes),
        largest=max(sizes.values(), default=1),
        straddling=straddling,
        dropped=dict(dropped),
        conflicts=conflicts,
        added=added,
        gone=gone,
        skipped=sum(checker.skipped.values()),
    )
    if drawn and findings.largest > max(20, len(rows) // 3):
        checker.report(
            f"{findings.largest:,} of {len(rows):,} rows are near-duplicates of each other (made from one template?) and must share a split",
            "raise the threshold, `split: {near: 0.95}`, or switch it off, `near: off`", "split", level="warning",
        )  # fmt: skip
    return splits, findings, fresh


def _conflicts(checker: TaskChecker, rows: Sequence[Draft], exact: Sequence[int], form: ResponseFormat) -> int:
    """Inputs that have several answers; told where answers are closed."""
    answers: defaultdict[int, dict[str, Draft]] = defaultdict(dict)
    for row, first in zip(rows, exact, strict=True):
        if row.reference is not None:
            answers[first].setdefault(digest(row.reference), row)
    found = [list(several.values()) for several in answers.values() if len(several) > 1]
    if found and form.kind in ("labels", "number"):
        pair = found[0]
        checker.report_row(
            pair[1].row, f"{len(found):,} inputs have more than one answer; here {short(pair[1].reference)}, in row "
            f"{pair[0].row.line:,} of {pair[0].row.file.name} {short(pair[0].reference)} for the same input", "correct the wrong one", "", level="warning",
        )  # fmt: skip
    return len(found)


def _keep_apart(allotment: _Allotment, given: set[str]) -> tuple[int, Counter[str]]:
    """Rows of given splits that repeat one of a later split leave; how many clusters straddle, and how many rows left
    each split."""
    checker, rows = allotment.checker, allotment.rows
    if any(not row.split for row in rows) and "train" in given:
        checker.report("some sources have a split and others have none", "name the split of each under `data`", "data")
    straddling, drops = _straddle(rows, allotment.whole)
    dropped: Counter[str] = Counter()
    for index in drops if checker.definition.split.duplicates == "drop" else ():
        dropped[rows[index].split] += 1
        allotment.places[index] = "out"
    if dropped:
        told = " and ".join(f"{count:,} of {name}" for name, count in sorted(dropped.items()))
        checker.report(
            f"left out as (near-)duplicates or group members of rows in a later split: {told}",
            "nothing to do; to keep them: `split: {duplicates: keep}`", "data", level="warning",
        )  # fmt: skip
    return straddling, dropped


def _lacking(checker: TaskChecker, given: set[str]) -> set[Split]:
    """The splits to draw: all three from rows without a split, dev from train."""
    if not given:
        return {"train", "dev", "test"}
    if "dev" not in given:
        return {"train", "dev"}
    if "test" not in given:
        checker.report("no source gives the test split", "name it under `data`", "data")
    return set()


def _straddle(rows: Sequence[Draft], whole: Sequence[int]) -> tuple[int, list[int]]:
    """Clusters that lie in several given splits, and the rows that leave for it: never those of test."""
    order = {"train": 0, "": 0, "dev": 1, "test": 2}
    best: dict[int, int] = {}
    found: defaultdict[int, set[int]] = defaultdict(set)
    for row, cluster in zip(rows, whole, strict=True):
        best[cluster] = max(best.get(cluster, 0), order[row.split])
        found[cluster].add(order[row.split])
    drops = [index for index, row in enumerate(rows) if order[row.split] < best[whole[index]]]
    return sum(len(places) > 1 for places in found.values()), drops


def _draw(allotment: _Allotment, chosen: Sequence[int], drawn: set[Split]) -> tuple[int, int, Drawn | None]:
    """Draw the splits of the chosen rows, keeping to the lock file. Returns how many rows were
    added and are gone, and what is to be written down."""
    checker, rows, form = allotment.checker, allotment.rows, allotment.form
    settings = checker.definition.split
    total = sum(getattr(settings, name) for name in drawn)
    shares: dict[Split, float] = {name: getattr(settings, name) / total for name in SPLITS if name in drawn}
    agreed: dict[str, float | int | bool] = {
        **{str(name): round(share, 9) for name, share in shares.items()}, "seed": settings.seed, "stratify": settings.stratify,
    }  # fmt: skip
    path = lock_path(checker.path, checker.definition.name)
    try:
        lock = read_lock(path)
    except (ValueError, OSError) as error:
        checker.problems.add(
            f"cannot read the frozen splits: {error}",
            f"restore it, or delete it to draw anew: rm {path}",
            file=path,
        )
        return 0, 0, None
    if lock is not None and dict(lock.settings) != agreed:
        checker.report(
            f"`split` differs from what the splits were frozen with in {path.name} (got {_settings(agreed)}; frozen {_settings(lock.settings)})",
            f"set it back, or draw anew: rm {path}", "split",
        )  # fmt: skip
        return 0, 0, None
    stratified = settings.stratify and form.kind == "labels"
    items = [
        Item(
            rows[index].id,
            rows[index].group or rows[index].key,
            allotment.whole[index],
            str(rows[index].reference) if stratified else "",
        )
        for index in chosen
    ]
    locked = lock.splits if lock else {}
    result = draw(items, shares, settings.seed, locked)
    for index, item in zip(chosen, items, strict=True):
        allotment.places[index] = result[item.id]
    out = sum(place == "out" for place in result.values())
    if out:
        checker.report(
            f"{out:,} rows added since the splits were frozen are left out: they tie rows of different splits together",
            f"remove them, or draw anew: rm {path}", "data", level="warning",
        )  # fmt: skip
    present = {item.id for item in items}
    added = sum(id not in locked for id in present) if lock else 0
    gone = sum(id not in present for id in locked)
    if lock is not None and not added:
        return added, gone, None
    content = digest(sorted(rows[index].key for index in chosen))
    return added, gone, Drawn(path, Lock(agreed, {**locked, **result}), content)


def write_down(checker: TaskChecker, drawn: Drawn) -> None:
    """Write newly drawn splits beside the task file."""
    try:
        write_lock(drawn.path, drawn.lock, drawn.data)
    except OSError as error:
        # A read-only folder is no reason to fail: the draw depends on nothing but the content.
        checker.problems.add(
            f"cannot write the frozen splits: {error.strerror}",
            "make the folder writable, or keep the data as they are",
            file=drawn.path,
            level="warning",
        )


def check_balance(
    checker: TaskChecker, splits: Mapping[Split, Sequence[Draft]], form: ResponseFormat, findings: Findings
) -> None:
    """Empty splits, and labels that nothing can learn."""
    if checker.problems.failed:
        return
    _check_empty(checker, splits, findings)
    for name in SPLITS[1:]:
        for row in splits[name]:
            if row.reference is None and checker.definition.columns.reference is not None:
                checker.report_row(
                    row.row,
                    f"a row of {name} has no reference",
                    "fill it, or move the row to train",
                    "no reference",
                )
    if form.kind != "labels":
        return
    in_train = Counter(row.reference for row in splits["train"])
    for name in SPLITS[1:]:
        unseen = Counter(
            row.reference for row in splits[name] if row.reference not in in_train and row.reference is not None
        )
        if unseen:
            shown = ", ".join(repr(label) for label in sorted(unseen)[:5]) + (", ..." if len(unseen) > 5 else "")
            checker.report(
                f"{len(unseen)} label{'s' * (len(unseen) > 1)} in {name} never seen in train: {shown} ({sum(unseen.values())} rows)",
                "add training rows of it, or remove it; rungs that learn cannot get these rows right", "data", level="warning",
            )  # fmt: skip
    for name, members in splits.items():
        seen = {row.reference for row in members if row.reference is not None}
        if members and len(seen) == 1:
            checker.report(
                f"all rows of {name} have the one label {next(iter(seen))!r}",
                "add rows of other labels, or split anew",
                "data",
                level="error" if name == "train" else "warning",
            )


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _check_empty(checker: TaskChecker, splits: Mapping[Split, Sequence[Draft]], findings: Findings) -> None:
    alike, near = findings.exact + findings.near, ""
    if not checker.definition.data.train and alike * 2 > findings.read:
        near = (
            f": {alike:,} of {findings.read:,} rows repeat another one or nearly, and rows that are alike share a split"
        )
    for name, members in splits.items():
        if not members:
            checker.report(
                f"the {name} split is empty{near}",
                "add rows that differ, or let near-duplicates fall into different splits, `split: {near: off}`"
                if near
                else "add rows, give it a larger share in `split`, or name a file for it under `data`",
                "data" if checker.definition.data.train else "split",
            )
