"""Edge cases: the same questions with typos, in capitals, cut, padded, or empty, answered by the same program, pair by
pair."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Example, Input, Interval, Progress, Result
from rung.ladder.export import choose
from rung.ladder.history import read_examples
from rung.ladder.records import RunRecord
from rung.ladder.view.numbers import change, exact, said
from rung.metrics import load_metric
from rung.metrics.stats import Difference, interval, paired
from rung.studies.study import Lab, Study, corrected

KEYS = {
    "a": "qs", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk", "k": "jl",
    "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb",
    "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
"""Neighbours on a keyboard."""
PADDING = (
    "Hello, I hope this finds you well. Thank you very much in advance for your time. ",
    " Best regards, and sorry for the long message. Sent from my phone.",
)
GREETINGS = ("Bonjour. ", " Merci beaucoup d'avance, et bonne journée à toute l'équipe.")


def typos(text: str, draw: np.random.Generator) -> str:
    """One letter in twelve swapped with the next, doubled, dropped, or hit beside."""
    out: list[str] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter.isalpha() and draw.random() < 1 / 12:
            kind = int(draw.integers(4))
            if kind == 0 and place + 1 < len(text):
                out += [text[place + 1], letter]
                place += 2
                continue
            if kind == 1:
                out.append(letter)
            if kind == 3:
                near = KEYS.get(letter.lower(), letter)
                letter = near[int(draw.integers(len(near)))]
            if kind != 2:
                out.append(letter)
        else:
            out.append(letter)
        place += 1
    return "".join(out)


KINDS: Mapping[str, Callable[[str, np.random.Generator], str]] = {
    "typos": typos,
    "capitals": lambda text, _: text.upper(),
    "no punctuation": lambda text, _: " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split()),
    "padded": lambda text, _: f"{PADDING[0]}{text}{PADDING[1]}",
    "other language around": lambda text, _: f"{GREETINGS[0]}{text}{GREETINGS[1]}",
    "first half": lambda text, _: " ".join(text.split()[: max(1, len(text.split()) // 2)]),
    "very long": lambda text, _: f"{text}\n\n" + "(The rest of this message was a forwarded newsletter.) " * 40,
    "empty": lambda text, _: "",
}
"""Changes of one text. The right answer stays the same but for the half and the empty one, where falling is no
fault."""
LOSSY = ("first half", "empty")


@dataclass(frozen=True, slots=True)
class StressRow:
    """One kind of change: quality, the paired difference to the questions as they were, and the share that got no
    answer."""

    kind: str
    quality: Interval
    difference: Difference | None
    unanswered: float


@dataclass(frozen=True, slots=True)
class StressTable:
    """A rung under every change, as they are first."""

    rung: str
    metric: str
    n: int
    rows: tuple[StressRow, ...]


def perturb(examples: Sequence[Example], field: str, kind: str, seed: int = 0) -> list[Example]:
    """The examples with one text field changed; the same example is always changed alike. Raises InputError for a kind
    or field that there is not."""
    if kind not in KINDS:
        raise InputError(f"unknown change {kind!r}", remedy=f"known: {', '.join(KINDS)}")
    out = []
    for example in examples:
        if field not in example.input:
            raise InputError(f"there is no field {field!r}", remedy=f"fields: {', '.join(example.input)}")
        draw = np.random.default_rng([seed, zlib.crc32(example.id.encode())])
        changed: Input = {**example.input, field: KINDS[kind](example.input[field], draw)}
        out.append(replace(example, id=f"{example.id}+{kind}", input=changed))
    return out


@dataclass(frozen=True)
class Stress(Study[RunRecord, StressTable]):
    """Answer a run's examples again with typos, in capitals, cut, padded and empty, and print a robustness table."""

    name = "stress"
    subject = "run"
    records = StressTable

    rung: str = argument("A rung of the run (default: the recommended one).", "RUNG", "")
    kind: tuple[str, ...] = option((), "Only these changes; again for more.", flags=("--kind",))
    field: str = option("", "The text field that is changed (default: the first).")
    limit: int = option(100, "At most this many examples.", low=1)
    seed: int = option(0, "Seed of the typos.")

    async def measure(self, subject: RunRecord, lab: Lab) -> StressTable:
        """Answer the examples as they are and under each change; p-values are corrected (Holm). Raises InputError for a
        rung without a program, and a change or field that there is not."""
        chosen = choose(subject, self.rung)
        examples = read_examples(lab.store, subject.task_hash)[: chosen.n][: self.limit]
        if not examples or not (Path(chosen.folder) / "program.json").exists():
            raise InputError(f"{chosen.title} has no program in run {subject.id}", remedy="climb the task again")
        program = programs.load(Path(chosen.folder), lab.resources)
        metric = load_metric(subject.metrics[0], lab.resources)
        evaluator = lab.evaluator([metric], run=subject.id)
        field, kinds = self.field or next(iter(examples[0].input)), self.kind or tuple(KINDS)
        plain = await evaluator(program, examples)
        scores = [result.scores[metric.name] for result in plain]
        rows = [StressRow("as they are", interval(metric, scores), None, _unanswered(plain))]
        for done, kind in enumerate(kinds, 1):
            changed = await evaluator(program, perturb(examples, field, kind, self.seed))
            mine = [result.scores[metric.name] for result in changed]
            rows.append(StressRow(kind, interval(metric, mine), paired(metric, mine, scores), _unanswered(changed)))
            note = f"{kind}: {metric.name} {rows[-1].quality.value:.3f}"
            lab.progress(Progress("stress", done, len(kinds), note))
        return StressTable(chosen.title, metric.name, len(examples), tuple(corrected(rows)))

    def table(self, found: StressTable) -> str:
        lines = [["change", found.metric, "to as they are", "", "no answer"]]
        for row in found.rows:
            d = row.difference
            word = said(d) + (" (words are missing)" if row.kind in LOSSY else "") if d else ""
            lines.append([row.kind, exact(row.quality), change(d) if d else "", word, f"{row.unanswered:.0%}"])
        return f"{found.rung}, {found.n} examples\n{align(lines)}"


def _unanswered(results: Sequence[Result]) -> float:
    return sum(result.answer.failure is not None for result in results) / max(1, len(results))
