"""How much of what is private in annotated texts is found: recall and precision, by kind.

A check file is JSON Lines, ``{"marked": "Seen by [[NAME|Dr Marsh]] on [[DATE|3 May]]."}``: what must be found stands
in double brackets with its kind before it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError
from rung.safety.private import RECORDS, Found, find

_MARK = re.compile(r"\[\[([A-Z-]+)\|([^\[\]]+)\]\]")


@dataclass(frozen=True, slots=True)
class Share:
    """Of ``wanted`` marked pieces ``found`` were covered whole; of ``told`` pieces that the rules told, ``right``
    touch a marked one."""

    wanted: int
    found: int
    told: int
    right: int

    @property
    def recall(self) -> float:
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.told if self.told else 1.0


@dataclass(frozen=True, slots=True)
class Checked:
    """``whole`` over all kinds, ``kinds`` by kind; ``missed`` and ``wrong`` are (number of the text, kind, text)."""

    texts: int
    whole: Share
    kinds: Mapping[str, Share]
    missed: Sequence[tuple[int, str, str]]
    wrong: Sequence[tuple[int, str, str]]


def unmark(marked: str) -> tuple[str, list[Found]]:
    """The text without its marks, and where the marked pieces stand in it."""
    pieces: list[str] = []
    found: list[Found] = []
    at = length = 0
    for match in _MARK.finditer(marked):
        pieces += [marked[at : match.start()], match[2]]
        length += match.start() - at
        found.append(Found(match[1], length, length + len(match[2])))
        length += len(match[2])
        at = match.end()
    return "".join([*pieces, marked[at:]]), found


def read_check(path: Path) -> list[tuple[str, list[Found]]]:
    """The texts of a check file and what is marked in them. Raises InputError for other rows and unknown kinds, or
    when nothing is marked."""
    out = []
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path, remedy="name a check file (JSON Lines)") from None
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            marked = json.loads(line)["marked"]
        except (ValueError, KeyError, TypeError):
            marked = None
        if not isinstance(marked, str):
            raise InputError('expected {"marked": "..."}', file=path, line=number, remedy="see docs/recipes.md")
        text, found = unmark(marked)
        unknown = {item.kind for item in found} - set(RECORDS)
        if unknown or "[[" in text:
            what = f"unknown kind {min(unknown)}" if unknown else "a mark that is not [[KIND|text]]"
            raise InputError(what, file=path, line=number, remedy=f"kinds: {', '.join(RECORDS)}")
        out.append((text, found))
    if not any(found for _, found in out):
        raise InputError(
            "nothing is marked in it", file=path, remedy='mark what is private: {"marked": "Dr [[NAME|Marsh]] rang"}'
        )
    return out


def measure(texts: Iterable[tuple[str, Sequence[Found]]], kinds: frozenset[str] = frozenset(RECORDS)) -> Checked:
    """Look for ``kinds`` in each text and compare with what is marked.

    A marked piece counts as found when every letter and digit of it lies in told pieces, whatever their kind: masked
    is masked."""
    wanted, hit, told, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    missed, wrong = [], []
    count = 0
    for number, (text, marked) in enumerate(texts, 1):
        count += 1
        said = find(text, kinds)
        covered = {at for item in said for at in range(item.start, item.end)}
        for item in marked:
            wanted[item.kind] += 1
            if all(at in covered or not text[at].isalnum() for at in range(item.start, item.end)):
                hit[item.kind] += 1
            else:
                missed.append((number, item.kind, text[item.start : item.end]))
        for item in said:
            told[item.kind] += 1
            if any(item.start < other.end and other.start < item.end for other in marked):
                right[item.kind] += 1
            else:
                wrong.append((number, item.kind, text[item.start : item.end]))
    shares = {
        kind: Share(wanted[kind], hit[kind], told[kind], right[kind]) for kind in RECORDS if wanted[kind] or told[kind]
    }
    whole = Share(wanted.total(), hit.total(), told.total(), right.total())
    return Checked(count, whole, shares, missed, wrong)
