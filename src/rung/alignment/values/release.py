"""Gates before a release, approvals and waivers. What is allowed is a content hash, never a path; who allowed it stands
in a ledger whose rows follow from one another."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.foundations.text.yaml import load_yaml
from rung.store import Store, StoredApproval

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Gate:
    """A number that a file of measurements holds under ``value`` (a path of keys joined by dots) must be at most
    ``most`` or at least ``least``; gates read ends of intervals, not points. ``days``: how old the file may be (0: any
    age)."""

    id: str
    file: Path
    value: str
    most: float | None = None
    least: float | None = None
    days: float = 0.0


@dataclass(frozen=True, slots=True)
class Guidelines:
    """What must hold before weights or a program are served. ``approvals``: by how many people, none of them an
    ``author``."""

    path: Path
    gates: tuple[Gate, ...]
    approvals: int = 1
    authors: tuple[str, ...] = ()


def read_guidelines(path: Path) -> Guidelines:
    """Read ``gates: [{id, file, value, most | least, days}]``, ``approvals`` and ``authors``. Raises InputError naming
    what is wrong."""
    document = load_yaml(path, "name a release.yaml")
    if not isinstance(document, dict) or set(document) - {"gates", "approvals", "authors"}:
        raise InputError("expected gates, approvals and authors", file=path, remedy="see docs/alignment.md")
    gates = []
    for number, item in enumerate(document.get("gates") or (), 1):
        known = {"id", "file", "value", "most", "least", "days"}
        if not isinstance(item, dict) or set(item) - known or not {"id", "file", "value"} <= set(item):
            raise InputError(
                f"gate {number}: expected id, file, value, most or least, days", file=path, remedy="correct it"
            )
        if ("most" in item) == ("least" in item):
            raise InputError(f"gate {item['id']}: expected one of most and least", file=path, remedy="correct it")
        gates.append(Gate(**{**item, "file": path.parent / str(item["file"])}))
    approvals = document.get("approvals", 1)
    if isinstance(approvals, bool) or not isinstance(approvals, int) or approvals < 0:
        raise InputError(f"approvals is {approvals!r}, expected a whole number", file=path, remedy="approvals: 1")
    if len({gate.id for gate in gates}) < len(gates):
        raise InputError("two gates have one id", file=path, remedy="give each its own")
    return Guidelines(path, tuple(gates), approvals, tuple(map(str, document.get("authors") or ())))


def artifact_hash(path: Path) -> str:
    """Identity of what is released: a file's content, or that of all files of a folder but for those that a release
    writes itself."""
    if path.is_file():
        return file_hash(path)
    files = sorted(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
    if not files:
        raise InputError(f"{path} is neither a file nor a folder with files", remedy="name a program folder or weights")
    return digest([[str(item.relative_to(path)), file_hash(item)] for item in files])


@dataclass(frozen=True, slots=True)
class Passed:
    """One gate's verdict: passed, failed, or failed and waived by somebody until a day."""

    gate: str
    ok: bool
    why: str
    waived: str = ""


@dataclass(frozen=True, slots=True)
class Clearance:
    """Whether an artifact may be served: every gate passed or waived, and enough people have approved it."""

    artifact: str
    gates: tuple[Passed, ...]
    approved: tuple[str, ...]
    needed: int

    @property
    def allowed(self) -> bool:
        return all(one.ok or one.waived for one in self.gates) and len(self.approved) >= self.needed


def check(guidelines: Guidelines, path: Path, store: Store, now: float | None = None) -> Clearance:
    """Measure every gate, and read who approved or waived what. Raises StoreError when the ledger was changed."""
    now = time.time() if now is None else now
    artifact = artifact_hash(path)
    rows = store.approvals.all(artifact)
    gates = []
    for gate in guidelines.gates:
        why = _fails(gate, now)
        waiver = next((row for row in reversed(rows) if row.verdict == "waive" and row.gate == gate.id), None)
        waived = ""
        if why and waiver is not None and waiver.until is not None:
            if waiver.until > now:
                waived = f"waived by {waiver.person} until {_day(waiver.until)}: {waiver.reason}"
            else:
                why += f" (the waiver of {waiver.person} expired on {_day(waiver.until)})"
        gates.append(Passed(gate.id, not why, why or "passed", waived))
    return Clearance(artifact, tuple(gates), approved(rows, guidelines.authors), guidelines.approvals)


def approved(rows: Sequence[StoredApproval], authors: Sequence[str] = ()) -> tuple[str, ...]:
    """Who approves of an artifact by the ledger's rows about it: the last word of each person counts, authors' do
    not. A name is one person however it is written in capitals and spaces."""
    said = {_who(row.person): row for row in rows if row.verdict in ("approve", "revoke")}
    writers = set(map(_who, authors))
    return tuple(sorted(r.person for who, r in said.items() if r.verdict == "approve" and who not in writers))


def _who(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def approve(guidelines: Guidelines, path: Path, store: Store, person: str, reason: str) -> StoredApproval:
    """Approve an artifact as it is. Raises InputError for an author, nobody, or while a gate fails and is not
    waived."""
    if not person.strip():
        raise InputError("nobody approves", remedy="say who: --by NAME")
    if _who(person) in map(_who, guidelines.authors):
        raise InputError(
            f"{person} is an author of it, and authors do not approve their own work",
            remedy="ask somebody else",
            code="author",
        )
    verdict = check(guidelines, path, store)
    failing = [one for one in verdict.gates if not one.ok and not one.waived]
    if failing:
        raise InputError(
            f"gate {failing[0].gate} fails: {failing[0].why}",
            remedy=f"mend it, or: rung release waive {path} {failing[0].gate} --by NAME --reason WHY --until DATE",
            code="gate",
        )
    return store.approvals.add(StoredApproval(verdict.artifact, "approve", person.strip(), reason))


def waive(guidelines: Guidelines, path: Path, store: Store, gate: str, row: tuple[str, str, float]) -> StoredApproval:
    """Let a failing gate be, until a day. ``row``: person, reason, until. Raises InputError for an unknown gate, a day
    that has passed, or without a reason."""
    person, reason, until = row
    if gate not in {one.id for one in guidelines.gates}:
        raise InputError(f"there is no gate {gate!r}", remedy=f"gates: {', '.join(one.id for one in guidelines.gates)}")
    if not person.strip() or not reason.strip():
        raise InputError("a waiver needs who and why", remedy="--by NAME --reason WHY")
    if until <= time.time():
        raise InputError(f"{_day(until)} has passed", remedy="--until a day to come, such as 2027-01-31")
    return store.approvals.add(StoredApproval(artifact_hash(path), "waive", person, reason, gate, until))


def _fails(gate: Gate, now: float) -> str:
    """Why a gate fails; empty: it passes. What cannot be read fails."""
    try:
        document: Any = json.loads(gate.file.read_text(encoding="utf-8"))
        age = now - gate.file.stat().st_mtime
    except (OSError, ValueError) as error:
        return f"{gate.file.name} cannot be read ({type(error).__name__}): it was not measured"
    value = document
    for key in gate.value.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return f"{gate.file.name} has no {gate.value}: it was not measured"
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return f"{gate.value} is {value!r}, no number"
    if gate.days and not 0 <= age <= gate.days * DAY:
        return f"{gate.file.name} is {age / DAY:.1f} days old, at most {gate.days:g} are allowed"
    if gate.most is not None and value > gate.most:
        return f"{gate.value} is {value:g}, at most {gate.most:g} is allowed"
    if gate.least is not None and value < gate.least:
        return f"{gate.value} is {value:g}, at least {gate.least:g} is demanded"
    return ""


def _day(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d")
