"""Nothing is learnt from records about people before it was measured that what tells who they are is found, and is not
in the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rung.core.errors import FitError, InputError
from rung.core.system.files import under
from rung.core.types import Example, Guard, Message
from rung.prompts.template.prompt import show
from rung.safety.check import Share, measure, read_check
from rung.safety.private import find

Texts = Iterable[tuple[str, Sequence[str]]]
"""Rows: an id, and the texts of it that are learnt from."""

SHOWN = 3
"""Rows that are named in the refusal."""


def refuse(rows: Texts, guard: Guard) -> str:
    """Why these rows may not be learnt from; empty when they may.

    First the search is measured on the guard's check file: below ``guard.recall`` nothing may be learnt, as rows in
    which nothing is found would prove nothing. Then no row may hold anything that is found. Looked for are the kinds
    that the check file marks. Raises InputError for a check file that cannot be read.
    """
    texts = read_check(Path(guard.check))
    kinds = frozenset(item.kind for _, marked in texts for item in marked)
    whole: Share = measure(texts, kinds).whole
    if whole.recall < guard.recall:
        return (
            f"of {whole.wanted} private pieces in {Path(guard.check).name} only {whole.found} are found (recall {whole.recall:.3f}, wanted "
            f"{guard.recall:g}), so that rows cannot be trusted to be free of them"
        )
    bad: list[str] = []
    count = 0
    for id, parts in rows:
        found = [item.kind for part in parts for item in find(part, kinds)]
        if found:
            count += 1
            bad.append(f"{id} ({', '.join(sorted(set(found)))})")
    if count:
        named = ", ".join(bad[:SHOWN]) + (f" and {count - SHOWN} more" if count > SHOWN else "")
        return f"{count} row{'s hold' if count > 1 else ' holds'} what is private: {named}"
    return ""


REMEDY = "mask the rows, rung data clean ROWS --records --to CLEAN, and see what is missed: rung data private CHECK"


def demand(rows: Texts, guard: Guard | None) -> None:
    """Raises FitError when the rows may not be learnt from. Without a guard everything may."""
    if guard is not None and (why := refuse(rows, guard)):
        raise FitError(f"not trained: {why}", remedy=REMEDY)


def examples(rows: Iterable[Example]) -> Texts:
    """What of a task's examples is learnt: the fields of the input, one by one, and the answer."""
    return ((row.id, (*row.input.values(), show(row.reference))) for row in rows)


def conversations(rows: Iterable[tuple[str, Sequence[Message]]]) -> Texts:
    """What is said in conversations, by whom ever but the system."""
    return ((id, [message.content for message in messages if message.role != "system"]) for id, messages in rows)


def read_guard(value: object, folder: Path) -> Guard | None:
    """``{check: FILE, recall: 0.95}`` of a configuration; relative to ``folder``. Raises InputError for anything
    else."""
    if value is None:
        return None
    if (
        not isinstance(value, dict)
        or set(value) - {"check", "recall"}
        or not isinstance(value.get("check"), str)
        or isinstance(value.get("recall", 0.95), bool)
        or not isinstance(value.get("recall", 0.95), int | float)
        or not 0 < value.get("recall", 0.95) <= 1
    ):
        raise InputError(f"private is {value!r}", remedy="private: {check: CHECK.jsonl, recall: 0.95}")
    return Guard(str(under(folder, value["check"])), float(value.get("recall", 0.95)))
