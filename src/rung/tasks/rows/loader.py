"""From a task file to a Task: everything checked, splits drawn or taken, duplicates kept apart."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from rung.core import registry
from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.problem import Problem, Problems
from rung.core.types import Budget, Example, Guard, ResponseFormat, Split, Task
from rung.tasks import near
from rung.tasks.file.check import check
from rung.tasks.file.definition import STDLIB_CORPUS
from rung.tasks.file.yaml import parse
from rung.tasks.rows.answers import check_leaks, check_references, read_form, read_schema
from rung.tasks.rows.desk import Desk, Draft, short
from rung.tasks.rows.names import check_names
from rung.tasks.rows.rows import identify, read_rows, read_tables
from rung.tasks.split import SPLITS, Item, Lock, Place, draw, lock_path, rank, read_lock, write_lock


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in the data. Duplicates are rows beyond the first of their cluster; ``dropped`` are train and dev rows
    that repeat a row of a split that is kept as given; ``added`` and ``gone`` compare with the frozen splits;
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
class Examination:
    """A task file read and checked: the problems, the task (None when there are errors) and what was found."""

    problems: tuple[Problem, ...]
    task: Task | None
    findings: Findings


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Newly drawn splits that wait for everything else to be good before they are written down."""

    path: Path
    lock: Lock
    data: str


def examine(path: Path, *, freeze: bool = False) -> Examination:
    """Read the task file at ``path`` and everything it names. With ``freeze`` newly drawn splits are written down."""
    began = time.perf_counter()
    problems = Problems()
    parsed = parse(path, problems)
    definition = check(parsed[0], parsed[1], path, problems) if parsed else None
    if parsed is None or definition is None:
        return Examination(problems.close(), None, Findings())
    try:
        task, findings = _examine(Desk(path, definition, parsed[1], problems), freeze)
    except InputError as error:  # what ends the examination, such as a pattern that takes too long
        problems.add(error.message, error.remedy, file=path if error.file is None else "", code=error.code)
        task, findings = None, Findings()
    findings = replace(findings, seconds=time.perf_counter() - began)
    return Examination(problems.close(), None if problems.failed else task, findings)


def _examine(desk: Desk, freeze: bool) -> tuple[Task | None, Findings]:
    check_names(desk)
    schema = read_schema(desk)
    if desk.definition.private is not None:
        check = desk.place(desk.definition.private.check, "private", "check")
        if check is not None and not check.is_file():
            desk.tell(
                f"there is no {check}", "name the file with marked texts: see docs/recipes.md", "private", "check"
            )
    passages = _passages(desk)
    rows = read_rows(desk, read_tables(desk))
    form = read_form(desk, rows, schema)
    check_references(desk, rows, form)
    check_leaks(desk, rows, form)
    identify(desk, rows)
    if not rows:
        if not desk.problems.failed:
            desk.tell("the data hold no rows", "add rows", "data")
        return None, Findings()
    splits, findings, drawn = _split(desk, rows, form)
    _balance(desk, splits, form)
    if desk.problems.failed:
        return None, findings
    if freeze and drawn is not None:
        _freeze(desk, drawn)
    return _task(desk, splits, form, passages), findings


def _passages(desk: Desk) -> dict[str, str]:
    source = desk.definition.passages
    if source is None:
        return {}
    from rung.tasks.rows.passages import corpus

    place = Path(STDLIB_CORPUS) if source.file == STDLIB_CORPUS else desk.place(source.file, "passages")
    if place is None:
        return {}
    return corpus(source, place, desk.problems, task=desk.path, line=desk.line("passages"))


def _split(
    desk: Desk, rows: Sequence[Draft], form: ResponseFormat
) -> tuple[dict[Split, list[Draft]], Findings, _Drawn | None]:
    settings = desk.definition.split
    exact, alike, whole = near.clusters(
        [tuple(row.input.values()) for row in rows], settings.near, [row.group for row in rows]
    )
    sizes = Counter(alike.tolist())
    given = {row.split for row in rows if row.split}
    answers: defaultdict[int, dict[str, Draft]] = defaultdict(dict)
    for row, first in zip(rows, exact.tolist(), strict=True):
        if row.reference is not None:
            answers[first].setdefault(digest(row.reference), row)
    conflicts = [list(found.values()) for found in answers.values() if len(found) > 1]
    if conflicts and form.kind in ("labels", "number"):
        pair = conflicts[0]
        desk.complain(
            pair[1].row, f"{len(conflicts):,} inputs have more than one answer; here {short(pair[1].reference)}, in row "
            f"{pair[0].row.line:,} of {pair[0].row.file.name} {short(pair[0].reference)} for the same input", "correct the wrong one", "", level="warning",
        )  # fmt: skip
    dropped: Counter[str] = Counter()
    straddling = 0
    places: list[Place] = [cast(Place, row.split) if row.split else "out" for row in rows]
    added = gone = 0
    fresh: _Drawn | None = None
    if given:
        if any(not row.split for row in rows) and "train" in given:
            desk.tell("some sources have a split and others have none", "name the split of each under `data`", "data")
        straddling, drops = _straddle(rows, whole.tolist())
        for index in drops if settings.duplicates == "drop" else ():
            dropped[rows[index].split] += 1
            places[index] = "out"
        if dropped:
            told = " and ".join(f"{count:,} of {name}" for name, count in sorted(dropped.items()))
            desk.tell(
                f"left out as (near-)duplicates or group members of rows in a later split: {told}",
                "nothing to do; to keep them: `split: {duplicates: keep}`", "data", level="warning",
            )  # fmt: skip
    # A split that is not given is drawn: all three from rows without a split, dev from train.
    drawn: set[Split] = set()
    if not given:
        drawn = {"train", "dev", "test"}
    elif "dev" not in given:
        drawn = {"train", "dev"}
    elif "test" not in given:
        desk.tell("no source gives the test split", "name it under `data`", "data")
    if drawn and not desk.problems.failed:
        chosen = [index for index, row in enumerate(rows) if not given or (places[index] == "train")]
        if given and "train" not in given:
            chosen = [index for index, row in enumerate(rows) if not row.split]
        added, gone, fresh = _draw(desk, rows, chosen, whole.tolist(), drawn, form, places)
    splits: dict[Split, list[Draft]] = {}
    for name in SPLITS:
        members = [row for row, place in zip(rows, places, strict=True) if place == name]
        members.sort(key=lambda row: rank(settings.seed, row.key + row.id))
        limit = getattr(desk.definition.limit, name)
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
        conflicts=len(conflicts),
        added=added,
        gone=gone,
        skipped=sum(desk.skipped.values()),
    )
    if drawn and findings.largest > max(20, len(rows) // 3):
        desk.tell(
            f"{findings.largest:,} of {len(rows):,} rows are near-duplicates of each other (made from one template?) and must share a split",
            "raise the threshold, `split: {near: 0.95}`, or switch it off, `near: off`", "split", level="warning",
        )  # fmt: skip
    return splits, findings, fresh


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


def _draw(desk: Desk, rows: Sequence[Draft], chosen: Sequence[int], whole: Sequence[int], drawn: set[Split], form: ResponseFormat,
    places: list[Place],
) -> tuple[int, int, _Drawn | None]:  # fmt: skip
    """Draw the splits of the chosen rows, keeping to the lock file. Returns how many rows were
    added and are gone, and what is to be written down."""
    settings = desk.definition.split
    total = sum(getattr(settings, name) for name in drawn)
    shares: dict[Split, float] = {name: getattr(settings, name) / total for name in SPLITS if name in drawn}
    agreed: dict[str, float | int | bool] = {
        **{str(name): round(share, 9) for name, share in shares.items()}, "seed": settings.seed, "stratify": settings.stratify,
    }  # fmt: skip
    path = lock_path(desk.path, desk.definition.name)
    try:
        lock = read_lock(path)
    except (ValueError, OSError) as error:
        desk.problems.add(
            f"cannot read the frozen splits: {error}",
            f"restore it, or delete it to draw anew: rm {path}",
            file=path,
        )
        return 0, 0, None
    if lock is not None and dict(lock.settings) != agreed:
        desk.tell(
            f"`split` differs from what the splits were frozen with in {path.name} (got {_settings(agreed)}; frozen {_settings(lock.settings)})",
            f"set it back, or draw anew: rm {path}", "split",
        )  # fmt: skip
        return 0, 0, None
    stratified = settings.stratify and form.kind == "labels"
    items = [
        Item(
            rows[index].id,
            rows[index].group or rows[index].key,
            whole[index],
            str(rows[index].reference) if stratified else "",
        )
        for index in chosen
    ]
    locked = lock.splits if lock else {}
    result = draw(items, shares, settings.seed, locked)
    for index, item in zip(chosen, items, strict=True):
        places[index] = result[item.id]
    out = sum(place == "out" for place in result.values())
    if out:
        desk.tell(
            f"{out:,} rows added since the splits were frozen are left out: they tie rows of different splits together",
            f"remove them, or draw anew: rm {path}", "data", level="warning",
        )  # fmt: skip
    present = {item.id for item in items}
    added = sum(id not in locked for id in present) if lock else 0
    gone = sum(id not in present for id in locked)
    if lock is not None and not added:
        return added, gone, None
    content = digest(sorted(rows[index].key for index in chosen))
    return added, gone, _Drawn(path, Lock(agreed, {**locked, **result}), content)


def _freeze(desk: Desk, drawn: _Drawn) -> None:
    try:
        write_lock(drawn.path, drawn.lock, drawn.data)
    except OSError as error:
        # A read-only folder is no reason to fail: the draw depends on nothing but the content.
        desk.problems.add(
            f"cannot write the frozen splits: {error.strerror}",
            "make the folder writable, or keep the data as they are",
            file=drawn.path,
            level="warning",
        )


def _balance(desk: Desk, splits: Mapping[Split, Sequence[Draft]], form: ResponseFormat) -> None:
    """Empty splits, and labels that nothing can learn."""
    if desk.problems.failed:
        return
    for name, members in splits.items():
        if not members:
            desk.tell(
                f"the {name} split is empty", "add rows, give it a larger share in `split`, or name a file for it under `data`", "split" if not desk.definition.data.train else "data"
            )  # fmt: skip
    for name in SPLITS[1:]:
        for row in splits[name]:
            if row.reference is None and desk.definition.columns.reference is not None:
                desk.complain(
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
            desk.tell(
                f"{len(unseen)} label{'s' * (len(unseen) > 1)} in {name} never seen in train: {shown} ({sum(unseen.values())} rows)",
                "add training rows of it, or remove it; rungs that learn cannot get these rows right", "data", level="warning",
            )  # fmt: skip
    for name, members in splits.items():
        seen = {row.reference for row in members if row.reference is not None}
        if members and len(seen) == 1:
            desk.tell(
                f"all rows of {name} have the one label {next(iter(seen))!r}",
                "add rows of other labels, or split anew",
                "data",
                level="error" if name == "train" else "warning",
            )


def _task(
    desk: Desk, splits: Mapping[Split, Sequence[Draft]], form: ResponseFormat, passages: Mapping[str, str]
) -> Task:
    definition = desk.definition
    notes = definition.answer.notes
    guard = None
    if (
        definition.private is not None
        and (check := desk.place(definition.private.check, "private", "check")) is not None
    ):
        guard = Guard(str(check.resolve()), definition.private.recall)
    meaning = {
        "name": definition.name,
        "instruction": definition.instruction.strip(),
        "constraints": definition.constraints,
        "persona": definition.persona.strip(),
        "form": form,
        "fields": tuple(definition.columns.input),
        "label_notes": notes,
        "rules": definition.rules,
        "metrics": definition.metrics,
        "max_tokens": definition.max_tokens,
        "overflow": definition.overflow,
    }
    meaning |= definition.acting
    examples = {
        name: tuple(Example(row.id, row.input, row.reference, row.metadata) for row in members)
        for name, members in splits.items()
    }
    return Task(
        name=definition.name,
        instruction=definition.instruction.strip(),
        form=form,
        fields=tuple(definition.columns.input),
        train=examples["train"],
        dev=examples["dev"],
        test=examples["test"],
        metrics=tuple(_metric(desk.path, spec) for spec in definition.metrics),
        # Not in it: what only decides how far and how to climb (models, rungs, budget, target, tolerance).
        hash=digest([meaning, {name: [(row.id, row.key) for row in members] for name, members in splits.items()}, digest(passages)]),
        constraints=definition.constraints,
        persona=definition.persona.strip(),
        label_notes=notes,
        rules=definition.rules,
        passages=passages,
        models=definition.models,
        rungs=tuple(choice.choice for choice in definition.rungs),
        budget=Budget(**definition.budget.model_dump()),
        target=definition.target,
        tolerance=definition.tolerance,
        max_tokens=definition.max_tokens,
        overflow=definition.overflow,
        description=definition.description.strip(),
        licence=definition.licence,
        path=str(desk.path),
        private=guard,
        **definition.acting,
    )  # fmt: skip


def _metric(task: Path, spec: str) -> str:
    """A metric whose argument is a file beside the task file: as PACK/FILE or a whole path, which are found from anywhere."""
    name, colon, argument = spec.partition(":")
    file = task.parent / argument.strip()
    if not colon or len(argument) > 200 or not argument.strip() or not file.is_file():
        return spec
    pack = task.parent.name
    if pack in registry.table("pack") and Path(registry.load("pack", pack)).parent == task.parent:
        return f"{name}:{pack}/{argument.strip()}"
    return f"{name}:{file.resolve()}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
