"""The parity queue: an exported or served program is asked the run's test examples again and must score as the run did.

Refused when the paired interval of the difference leaves out 0, or when fewer items than ``agreement`` get the same
answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rung.core.codec import canonical, encode, spell
from rung.core.errors import InputError, ParityError
from rung.core.protocols import Metric
from rung.core.system.files import atomic_write
from rung.core.types import Answer, Case, Example, Input, Result, Score
from rung.metrics.stats import Difference, paired
from rung.serving.endpoints.local import run_program

AGREEMENT = 0.95
FILE = "parity.json"
SHOWN = 20
"""How many differing items an error message lists; parity.json has them all."""


class Askable(Protocol):
    """A program, or one behind a URL."""

    async def __call__(self, input: Input) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Changed:
    """An item that was answered otherwise: the texts (or failures) before and after, and their scores."""

    id: str
    before: str
    after: str
    score_before: float
    score_after: float


@dataclass(frozen=True, slots=True)
class ParityTerms:
    """What is compared (``where``), which share must be answered alike, and what is to be said beside the verdict."""

    where: str = "the program"
    agreement: float = AGREEMENT
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParityVerdict:
    """``difference`` is the metric now minus the metric of the run, over ``n`` items; ``agreement`` the share answered
    alike.

    ``identical``: every item is answered as in the run. ``equivalent``: some are not, and the interval holds 0.
    """

    verdict: Literal["identical", "equivalent", "different"]
    where: str
    metric: str
    n: int
    difference: Difference
    agreement: float
    wanted: float
    changed: tuple[Changed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.verdict != "different"

    def __str__(self) -> str:
        if self.verdict == "identical":
            return f"{self.where}: all {self.n} test items are answered exactly as in the run"
        span = self.difference
        return (
            f"{self.where}: {len(self.changed)} of {self.n} test items are answered differently than in the run; "
            f"{self.metric} changes by {span.value:+.4f} (interval {span.low:+.4f} to {span.high:+.4f})"
        )

    def save(self, folder: Path) -> None:
        """Write ``parity.json`` beside ``program.json`` (no part of the program: its hash stays what it was)."""
        path = folder / FILE
        text = json.dumps(encode(self), indent=2, ensure_ascii=False) + "\n"
        with atomic_write(path) as staging:
            staging.write_text(text, encoding="utf-8", errors="backslashreplace")


async def check(
    original: Sequence[Result],
    program: Askable,
    metric: Metric,
    terms: ParityTerms = ParityTerms(),
    *,
    concurrency: int = 64,
) -> ParityVerdict:
    """Ask ``program`` the examples of ``original`` and compare answers and scores in ``metric``.

    An item agrees when output and failure kind are the same. Items that agree keep their score; the others are scored
    again, so a judge is asked only about what changed. Raises InputError when there is nothing to compare.
    """
    if not original:
        raise InputError("the run holds no answers to compare with", remedy="climb the task again")

    inputs = [result.example.input for result in original]
    answers = [one async for one in run_program(program, inputs, concurrency=concurrency)]
    other = [
        i for i, (one, result) in enumerate(zip(answers, original, strict=True)) if _key(one) != _key(result.answer)
    ]
    again = await metric.score([_case(original[i].example, answers[i]) for i in other]) if other else []
    before = [result.scores[metric.name] for result in original]
    after: list[Score] = list(before)
    for i, score in zip(other, again, strict=True):
        after[i] = score
    difference = paired(metric, after, before)
    share = 1 - len(other) / len(original)
    alike = difference.none and share >= terms.agreement
    return ParityVerdict(
        "identical" if not other else "equivalent" if alike else "different",
        terms.where,
        metric.name,
        len(original),
        difference,
        share,
        terms.agreement,
        tuple(
            Changed(
                original[i].example.id,
                _said(original[i].answer),
                _said(answers[i]),
                before[i].value,
                after[i].value,
            )
            for i in other
        ),
        terms.notes,
    )


def refuse(parity: ParityVerdict, *, remedy: str = "") -> None:
    """Raise ParityError, naming the items, unless ``parity`` passed."""
    if parity.passed:
        return
    why = (
        "the interval of the difference leaves out 0"
        if not parity.difference.none
        else f"{parity.agreement:.1%} of the answers agree, {parity.wanted:.1%} are wanted"
    )
    listed = "\n".join(
        f"    {one.id}: {_short(one.before)} became {_short(one.after)} (score {one.score_before:g}, now {one.score_after:g})"
        for one in parity.changed[:SHOWN]
    )
    more = f"\n    ... and {len(parity.changed) - SHOWN} more" if len(parity.changed) > SHOWN else ""
    noted = "".join(f"\n    {note}" for note in parity.notes)
    raise ParityError(
        f"{parity}: {why}{noted}\n{listed}{more}",
        remedy=remedy
        or "climb the task again with this model and version, then export; --no-parity exports it unverified",
    )


def _key(answer: Answer) -> str:
    # The words of a failure may change (a time, a count); that it failed, and where, may not.
    return canonical([answer.output, answer.failure.where if answer.failure is not None else ""])


def _case(example: Example, answer: Answer) -> Case:
    return Case(example.input, answer.output, example.reference, answer.raw, answer.failure)


def _said(answer: Answer) -> str:
    if answer.failure is not None:
        return f"[{answer.failure.where} failure] {answer.failure.message}"
    return spell(answer.output)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 60 else flat[:57] + "...")
