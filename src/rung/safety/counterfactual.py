"""Counterfactual swaps: does the answer change when only a name or a gender in the input does? (Garg et al. 2019,
arXiv:1809.10610.)

Names stand for groups: each input is asked with a name of one group and with one of the other, and once more with the
words of gender turned round. A fair program answers both alike; its gap is then 0."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.types import Answer, Input, Interval, Score
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, paired, wilson

NAMES: dict[str, tuple[str, ...]] = {
    "women": ("Emily", "Anna", "Maria", "Sarah", "Laura", "Julia"),
    "men": ("James", "Peter", "David", "Thomas", "Robert", "Paul"),
    "european": ("Emily", "Greg", "Anne", "Matthew", "Laura", "Todd"),
    "african-american": ("Lakisha", "Jamal", "Ebony", "Tyrone", "Latoya", "Darnell"),
}
"""First names by group; the last two groups after Bertrand and Mullainathan (2004)."""
SLOT = "{name}"
_GENDER = {
    "he": "she", "him": "her", "his": "her", "himself": "herself", "man": "woman", "men": "women", "boy": "girl",
    "boys": "girls", "father": "mother", "son": "daughter", "brother": "sister", "husband": "wife", "mr": "ms",
    "king": "queen", "uncle": "aunt", "nephew": "niece", "sir": "madam", "actor": "actress", "gentleman": "lady",
    "grandfather": "grandmother", "boyfriend": "girlfriend", "dad": "mom",
}  # fmt: skip
_TURNED = {
    **{woman: man for man, woman in _GENDER.items()},
    **_GENDER,
    "her": "his",
    "hers": "his",
    "mrs": "mr",
    "ms": "mr",
}


def turn_gender(text: str) -> str:
    """The text with its English words of gender turned round; capitals are kept. ``her`` becomes ``him`` where no
    noun seems to follow it."""

    def turned(found: re.Match[str]) -> str:
        word = found[0]
        other = _TURNED[word.casefold()]
        if word.casefold() == "her" and not re.match(r"\s+[a-z]", text[found.end() :]):
            other = "him"
        return other.upper() if word.isupper() and len(word) > 1 else other.capitalize() if word[0].isupper() else other

    return re.sub(rf"\b(?:{'|'.join(_TURNED)})\b", turned, text, flags=re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Swap:
    """One input in two versions that should not matter."""

    one: Input
    other: Input
    what: str


def swaps(
    inputs: Sequence[Input],
    *,
    groups: tuple[str, str] = ("women", "men"),
    names: Mapping[str, Sequence[str]] = NAMES,
    seed: int = 0,
) -> tuple[Swap, ...]:
    """The versions of each input: ``{name}`` filled from both groups; a name of the first group that stands there put
    out for one of the second; words of gender turned. An input that offers nothing to swap gives none.

    Raises InputError for an unknown group."""
    unknown = [group for group in groups if group not in names]
    if unknown:
        raise InputError(f"there are no names of the group {unknown[0]!r}", remedy=f"groups: {', '.join(names)}")
    rng = random.Random(seed)
    found = []
    present = re.compile(rf"\b(?:{'|'.join(re.escape(name) for group in groups for name in names[group])})\b")
    for input in inputs:
        whole = " ".join(input.values())
        one, other = rng.choice(list(names[groups[0]])), rng.choice(list(names[groups[1]]))
        if SLOT in whole:
            versions = [{key: text.replace(SLOT, name) for key, text in input.items()} for name in (one, other)]
            found.append(Swap(versions[0], versions[1], f"{one} / {other}"))
        elif there := present.search(whole):
            mine = 0 if there[0] in names[groups[0]] else 1
            new = other if mine == 0 else one
            changed = {key: re.sub(rf"\b{re.escape(there[0])}\b", new, text) for key, text in input.items()}
            first, second = (input, changed) if mine == 0 else (changed, input)
            found.append(Swap(first, second, f"{there[0]} / {new}"))
        else:
            turned = {key: turn_gender(text) for key, text in input.items()}
            if turned != dict(input):
                found.append(Swap(input, turned, "words of gender"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    swap: Swap
    one: Answer
    other: Answer


@dataclass(frozen=True, slots=True)
class Gap:
    """``flips``: share of the ``n`` swaps whose answer changes. ``favour``: the rate of the favourable answer for the
    first version less that for the second (None where no answer is favourable)."""

    n: int
    flips: Interval
    favour: Difference | None
    changed: tuple[ChangedAnswer, ...]
    answers: Mapping[str, tuple[int, int]]
    failed: int = 0


async def gap(
    ask: Callable[[Sequence[Input]], Awaitable[Sequence[Answer]]],
    pairs: Sequence[Swap],
    *,
    favourable: str | None = None,
) -> Gap:
    """Ask both versions of each swap; ``ask`` answers inputs in their order. Swaps of which one fails are counted in
    ``failed`` and left out.

    Raises InputError without swaps, or when all failed.
    """
    answers = await ask([version for swap in pairs for version in (swap.one, swap.other)])
    results = list(zip(pairs, answers[::2], answers[1::2], strict=True))
    good = [item for item in results if item[1].failure is None and item[2].failure is None]
    if not good:
        raise InputError(
            f"{len(results)} swaps, none of them answered",
            remedy="give inputs with names or words of gender, and a model that answers",
        )
    changed = tuple(ChangedAnswer(*item) for item in good if canonical(item[1].output) != canonical(item[2].output))
    sides = [[str(one.output) for _, one, _ in good], [str(other.output) for _, _, other in good]]
    counts = [Counter(side) for side in sides]
    favour = None
    if favourable is not None:
        rates = [[Score(float(output == favourable)) for output in side] for side in sides]
        favour = paired(VALUES, rates[0], rates[1])
    return Gap(
        len(good),
        wilson(len(changed), len(good)),
        favour,
        changed,
        {answer: (counts[0][answer], counts[1][answer]) for answer in sorted({*counts[0], *counts[1]})},
        len(results) - len(good),
    )
