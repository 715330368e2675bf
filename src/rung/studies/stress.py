"""Edge cases: the same questions with typos, in capitals, cut, padded, or empty, answered by the same program, pair by pair."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rung.core.columns import align
from rung.core.errors import InputError
from rung.core.protocols import Metric, Program
from rung.core.types import Example, Input, Interval, Progress, Result
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.numbers import pvalue
from rung.ladder.records import verdict
from rung.metrics.stats import Difference, holm, interval, paired

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
"""Changes of one text. The right answer stays the same but for the half and the empty one, where falling is no fault."""
LOSSY = ("first half", "empty")


@dataclass(frozen=True, slots=True)
class StressRow:
    """One kind of change: quality, the paired difference to the questions as they were, and the share that got no answer."""

    kind: str
    quality: Interval
    difference: Difference | None
    unanswered: float


def perturb(examples: Sequence[Example], field: str, kind: str, seed: int = 0) -> list[Example]:
    """The examples with one text field changed; the same example is always changed alike. Raises InputError for a kind or field
    that there is not."""
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


async def stress(
    program: Program,
    examples: Sequence[Example],
    field: str,
    evaluator: Evaluator,
    metric: Metric,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[StressRow]:
    """Answer the examples as they are and under each change, through the journal; p-values are corrected (Holm)."""
    plain = await evaluator(program, examples)
    scores = [result.scores[metric.name] for result in plain]
    rows = [StressRow("as they are", interval(metric, scores), None, _unanswered(plain))]
    for done, kind in enumerate(kinds):
        changed = await evaluator(program, perturb(examples, field, kind, seed))
        mine = [result.scores[metric.name] for result in changed]
        rows.append(StressRow(kind, interval(metric, mine), paired(metric, mine, scores), _unanswered(changed)))
        progress(Progress("stress", done + 1, len(kinds), f"{kind}: {metric.name} {rows[-1].quality.value:.3f}"))
    corrected = iter(holm([row.difference.p for row in rows if row.difference is not None]))
    return [
        replace(row, difference=replace(row.difference, p=next(corrected))) if row.difference is not None else row
        for row in rows
    ]


def _unanswered(results: Sequence[Result]) -> float:
    return sum(result.answer.failure is not None for result in results) / max(1, len(results))


def table(rows: Sequence[StressRow], metric: str) -> str:
    """The robustness table as plain text."""
    lines = [["change", metric, "to as they are", "", "no answer"]]
    for row in rows:
        q, d = row.quality, row.difference
        said = ""
        if d is not None:
            said = "no difference" if verdict(d) == "no difference" else f"{verdict(d)}, p {pvalue(d.p)}"
            if row.kind in LOSSY:
                said += " (words are missing)"
        lines.append(
            [
                row.kind,
                f"{q.value:.3f} [{q.low:.3f}, {q.high:.3f}]",
                f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" if d is not None else "",
                said,
                f"{row.unanswered:.0%}",
            ]
        )
    return align(lines)
