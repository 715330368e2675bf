"""The catalogue: what each technique is, when it helps, what it costs, and what was measured of it.

A room that offers techniques has a ``catalog.yaml`` beside its code: a list of records of the class Entry, in our own
words. What was measured comes from runs: the user's own store, and ``measured.json``, which ``bench/results.py --data``
makes from the stores behind docs/results. docs/catalog.md is made from all this: ``rung catalog page docs/catalog.md``.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.rung import make_rung
from rung.core.types import RungChoice
from rung.ladder.history import read_runs
from rung.ladder.prepare.plan import about
from rung.ladder.records import RungRecord, RunRecord
from rung.ladder.view.numbers import count, difference, money, quality
from rung.store import Store

SECTIONS = (
    "foundations",
    "prompt engineering",
    "retrieval",
    "applications",
    "agents",
    "fine-tuning",
    "alignment",
    "deployment",
    "other packages",
)
RUNS = 200
"""Runs of a store that are looked at, newest first."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """``commands`` are typed one after the other in an empty folder with ``files``; ``model`` says that one is
    asked."""

    commands: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    model: bool = True

    def words(self) -> list[list[str]]:
        """The words of each command after ``rung``."""
        return [shlex.split(command)[1:] for command in self.commands]


@dataclass(frozen=True, slots=True)
class Technique:
    """A technique. ``place`` orders a section. ``rungs`` are the registered rungs that measure it; ``results`` names
    headings of docs/results that tell more; ``use`` are commands with capitals where the user's own names go."""

    name: str
    title: str
    section: str
    place: float
    what: str
    helps: str = ""
    cost: str = ""
    rungs: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    example: Snippet | None = None


@cache
def entries() -> tuple[Technique, ...]:
    """Every technique in the order of sections and places. A rung of another package has its docstring for a record."""
    import yaml

    found: list[Technique] = []
    for room in sorted(files("rung").iterdir(), key=lambda path: path.name):
        page = room / "catalog.yaml"
        if page.is_file():
            document: list[Any] = yaml.safe_load(page.read_text(encoding="utf-8"))
            found += [decode(Technique, item) for item in document]
    listed = {rung for entry in found for rung in entry.rungs}
    for name in registry.usable("rung"):
        if name not in listed:
            rung = make_rung(RungChoice(name))
            use = (f"rung climb TASK --rung {name}",)
            found.append(Technique(name, name, SECTIONS[-1], 0, about(rung), rungs=(name,), use=use))
    return tuple(sorted(found, key=lambda entry: (SECTIONS.index(entry.section), entry.place, entry.name)))


def find(name: str) -> Technique:
    """The entry of that name, or the one that holds the rung of that name. Raises InputError naming the nearest."""
    from rung.core.parts.problem import nearest

    wanted = "-".join(name.casefold().split())
    for entry in entries():
        if wanted in (entry.name, "-".join(entry.title.casefold().split())) or wanted in entry.rungs:
            return entry
    known = {entry.name for entry in entries()} | {rung for entry in entries() for rung in entry.rungs}
    raise InputError(f"the catalogue has no {name!r}", remedy=f"{nearest(wanted, known)}; see: rung catalog")


def summaries(entry: Technique) -> dict[str, str]:
    """What each rung of the entry does, from its own code; rungs of one class share a line."""
    lines: dict[str, list[str]] = {}
    for name in entry.rungs:
        lines.setdefault(about(make_rung(RungChoice(name))), []).append(name)
    return {", ".join(names): line for line, names in lines.items()}


# ---------------------------------------------------------------- what was measured


@dataclass(frozen=True, slots=True)
class Figure:
    """A rung's record and the run that it is of."""

    rung: RungRecord
    run: RunRecord

    def sentence(self) -> str:
        """Quality with its interval, the paired difference to the baseline, tokens and price of an answer, and where
        from."""
        rung, run = self.rung, self.run
        metric = next(iter(rung.metrics))
        parts = [f"{rung.title}: {metric} {quality(rung.metrics[metric])} on {rung.n} items of {run.task}"]
        if rung.baseline is not None:
            parts.append(f"{difference(rung.baseline)} to zero-shot")
        if rung.online is not None:
            parts.append(f"{count(rung.online.tokens)} tokens an answer, {money(1000 * rung.online.cost)} per 1,000")
        if rung.status == "stopped":
            parts.append("stopped early")
        return ", ".join(parts)


@cache
def published() -> tuple[RunRecord, ...]:
    """The runs behind docs/results, as they were measured."""
    import json

    document = json.loads((files("rung.ladder") / "measured.json").read_text(encoding="utf-8"))
    return tuple(decode(RunRecord, item) for item in document)


def measured(entry: Technique, runs: Sequence[RunRecord]) -> list[Figure]:
    """Every scored rung of the entry in ``runs``, in their order."""
    return [Figure(rung, run) for run in runs for rung in run.rungs if rung.name in entry.rungs and rung.scored]


def latest(entry: Technique, store: Store) -> list[Figure]:
    """The newest run of a store that holds each of the entry's rungs."""
    out: dict[str, Figure] = {}
    for found in measured(entry, read_runs(store, RUNS)):
        out.setdefault(found.rung.name, found)
    return list(out.values())


# ---------------------------------------------------------------- as a page


def sections() -> list[tuple[str, list[Technique]]]:
    """The sections that have something to show, with their entries."""
    return [
        (section, own) for section in SECTIONS if (own := [entry for entry in entries() if entry.section == section])
    ]


def page() -> str:
    """The whole catalogue as Markdown: docs/catalog.md."""
    lines = [
        "# Catalogue",
        "",
        "What runs today, in the order of a course on language models. The same from the shell: `rung catalog`, and",
        "`rung catalog show few-shot`, which also runs the example. This page is made by `rung catalog page docs/catalog.md`",
        "from `src/rung/*/catalog.yaml`; the figures are those of [results](results/index.md), where machine and method stand.",
    ]
    for section, own in sections():
        lines += ["", f"## {section.capitalize()}"]
        for entry in own:
            lines += ["", f"### {entry.title}", "", entry.what.strip()]
            for word, text in (("Helps", entry.helps), ("Costs", entry.cost)):
                if text:
                    lines += ["", f"**{word}.** {text.strip()}"]
            if entry.rungs:
                lines += ["", f"**Rungs.** {', '.join(f'`{name}`' for name in entry.rungs)} ([rungs.md](rungs.md))"]
            rows = measured(entry, published())
            if rows:
                lines += ["", "**Measured.**", ""]
                lines += [f"- {row.sentence()}" for row in rows]
            if entry.results:
                named = ", ".join(f"“{heading}”" for heading in entry.results)
                lines += ["", f"**More figures.** [results](results/index.md), {named}"]
            commands = [*entry.use, *(entry.example.commands if entry.example else ())]
            if commands:
                lines += ["", "```sh", *commands, "```"]
    return "\n".join(lines) + "\n"
