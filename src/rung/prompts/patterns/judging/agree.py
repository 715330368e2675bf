"""Can a judge be trusted? Its verdicts beside people's, over a file of judged answers.

Two kinds of rows are read. Pairs (as LLMBar has them; Zeng et al. 2023, arXiv:2310.07641): ``input``, ``output_1``,
``output_2`` and ``label``, 1 or 2, the better one. Grades: ``input``, ``output`` and ``grade``, 1 to 5. For pairs every
judge is asked three ways: in the order of the file, in both orders, and by a grade for each answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.types import Case, Interval
from rung.documents.tables import rows as tables
from rung.metrics.rules.judge import Judge, Rubric, prefer, read_rubric, unjudged
from rung.metrics.stats import Difference, wilson
from rung.prompts.patterns.judging.grade import Bias, bias, kappa, verbosity_bias


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one input; ``better`` is 1 or 2, as people say."""

    input: str
    one: str
    other: str
    better: int


@dataclass(frozen=True, slots=True)
class Work:
    """An answer and the grade, 1 to 5, that people gave it."""

    input: str
    output: str
    grade: float


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One way of asking: the share of ``n`` pairs on which judge and people agree, and Cohen's kappa (0: chance)."""

    way: str
    n: int
    agree: Interval
    kappa: Interval


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """A judge beside people, over ``n`` pairs; ``failed``: pairs that it could not judge.

    ``ways``: "once" in the order of the file, "swapped" the mean of both orders, "graded" the higher of two grades
    given alone (ties left out). ``longer``: share of its verdicts (both orders) for the longer answer;
    ``longer_right``: share of pairs of which the longer is the better (None: all are of one length). ``padding``: how
    much more of the scale an answer gets for words that say nothing.
    """

    n: int
    failed: int
    ways: tuple[Verdicts, ...]
    bias: Bias
    longer: Interval | None
    longer_right: Interval | None
    padding: Difference | None


def read_judged(path: Path) -> list[Pair] | list[Work]:
    """The rows of a JSON list or JSONL file. Raises InputError naming the first row that is neither pair nor grade."""
    pairs: list[Pair] = []
    works: list[Work] = []
    for found in tables.rows(path):
        row = found.values
        try:
            if "label" in row:
                better = int(row["label"])
                if better not in (1, 2):
                    raise ValueError(f"label {row['label']!r}, expected 1 or 2")
                pairs.append(Pair(_text(row, "input"), _text(row, "output_1"), _text(row, "output_2"), better))
            else:
                grade = float(row["grade"])
                if not 1 <= grade <= 5:
                    raise ValueError(f"grade {row['grade']!r}, expected 1 to 5")
                works.append(Work(_text(row, "input"), _text(row, "output"), grade))
        except (KeyError, TypeError, ValueError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(
                what,
                file=path,
                line=found.line,
                remedy="pairs have input, output_1, output_2, label; grades input, output, grade",
            ) from None
    if bool(pairs) == bool(works):
        raise InputError("expected rows of one kind, and at least one", file=path, remedy="give pairs, or grades")
    return pairs or works


def _text(row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row[name], str) or not row[name].strip():
        raise ValueError(f"{name} is {str(row[name])[:40]!r}, expected text")
    return str(row[name])


async def agreement(model: Model, rubric: Rubric | str, pairs: Sequence[Pair], *, padding: int = 50) -> JudgeAgreement:
    """Judge every pair three ways and compare with people; the test of verbosity takes the first ``padding`` pairs'
    better answers (0: no such test).

    Raises InputError for fewer than two pairs, or a judge that fails on all.
    """
    if len(pairs) < 2:
        raise InputError(f"got {len(pairs)} pairs, expected two or more", remedy="give more rows")
    rubric = read_rubric(rubric) if isinstance(rubric, str) else rubric
    ones = [Case({"text": pair.input}, pair.one, None) for pair in pairs]
    others = [Case({"text": pair.input}, pair.other, None) for pair in pairs]
    scores = await prefer(model, rubric, ones, [pair.other for pair in pairs])
    better = [pair.better for pair in pairs]
    found = bias(scores, better)  # raises where all failed
    good = [i for i, score in enumerate(scores) if score.parts]
    once = [1 if scores[i].parts[0] > 0.5 else 2 for i in good]
    swapped = [1 if sum(scores[i].parts) > 1 else 2 for i in good]
    people = [better[i] for i in good]
    ways = [_verdicts("once", once, people), _verdicts("swapped", swapped, people)]
    judge = Judge(model, rubric)
    grades = await judge.score([*ones, *others])
    mine, theirs = [], []
    for first, second, label in zip(grades[: len(pairs)], grades[len(pairs) :], better, strict=True):
        if not unjudged([first, second]) and first.value != second.value:
            mine.append(1 if first.value > second.value else 2)
            theirs.append(label)
    if len(mine) >= 2:
        ways.append(_verdicts("graded", mine, theirs))
    uneven = [i for i in good if len(pairs[i].one) != len(pairs[i].other)]
    longer = [1 if len(pairs[i].one) > len(pairs[i].other) else 2 for i in uneven]
    chosen = sum(
        (part > 0.5) == (side == 1) for i, side in zip(uneven, longer, strict=True) for part in scores[i].parts
    )
    right = sum(side == better[i] for i, side in zip(uneven, longer, strict=True))
    some = list(pairs[:padding])
    padded = None
    if some:
        answers = [pair.one if pair.better == 1 else pair.other for pair in some]
        padded = await verbosity_bias(model, rubric, [pair.input for pair in some], answers)
    return JudgeAgreement(
        len(good), len(pairs) - len(good), tuple(ways), found,
        wilson(chosen, 2 * len(uneven)) if uneven else None, wilson(right, len(uneven)) if uneven else None, padded,
    )  # fmt: skip


def _verdicts(way: str, mine: Sequence[int], theirs: Sequence[int]) -> Verdicts:
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    # With two classes the weights play no part: this is Cohen's kappa.
    return Verdicts(way, len(mine), wilson(same, len(mine)), kappa(mine, theirs))


@dataclass(frozen=True, slots=True)
class Grades:
    """A judge's grades beside people's: quadratically weighted kappa, share of equal grades (rounded), failures."""

    n: int
    failed: int
    kappa: Interval
    equal: Interval


async def grade_agreement(model: Model, rubric: Rubric | str, works: Sequence[Work]) -> Grades:
    """Grade every work and compare with people's grades. Raises InputError where fewer than two were graded."""
    judge = Judge(model, read_rubric(rubric) if isinstance(rubric, str) else rubric)
    scores = await judge.score([Case({"text": work.input}, work.output, None) for work in works])
    pairs = [
        (sum(score.parts) / len(score.parts), work.grade)
        for score, work in zip(scores, works, strict=True)
        if not unjudged([score])
    ]
    if len(pairs) < 2:
        raise InputError(
            f"{len(pairs)} works were graded, expected two or more", remedy="give more rows, or another model"
        )
    mine, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    equal = sum(round(a) == round(b) for a, b in pairs)
    return Grades(len(pairs), len(works) - len(pairs), kappa(mine, theirs), wilson(equal, len(pairs)))
