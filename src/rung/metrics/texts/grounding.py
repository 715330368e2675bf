"""Is what an answer says in its sources? Faithfulness, citations and context, without a model and never NaN.

A claim is a sentence of the answer. It is supported by a text that has (nearly) all its meaningful words, every number
and every name of it, and is not its negation: a lexical check, strict about what small models make up, and blind to
paraphrase. ``faithfulness:judge`` asks the model about claims that the words leave open. Citation precision and recall
are those of ALCE (Gao et al. 2023, arXiv:2305.14627) with that check in place of its entailment model; context
precision and recall judge what was retrieved by whether it holds a right answer.

What was retrieved and cited is read from the steps ``retrieve`` and ``cite`` of an answer (see
rung.retrieval.answer.rag).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from rung.core import __version__
from rung.core.codec import digest, spell
from rung.core.errors import InputError
from rung.core.protocols import Model, Resources
from rung.core.types import Case, Message, Score, ScoreRequest
from rung.foundations.text.sentences import lines
from rung.foundations.text.stem import stem
from rung.foundations.text.words import visible
from rung.foundations.text.words import words as each_word
from rung.metrics.mean import Mean, failed, references
from rung.metrics.texts.overlap import squad_form

SUPPORTED = 0.7
"""Share of a claim's words that a text must have to support it."""
OPEN = 0.35
"""Below this share a claim is not asked about either."""

MARK = re.compile(r"(?<![ \t])[ \t]*((?:\[\d{1,3}\])+)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NAME = re.compile(r"(?<![.!?\"'(]\s)(?<!^)\b[A-Z][\w'’-]{0,60}[a-z]\w*")
_NEGATIVE = re.compile(r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot)\b|n['’]t\b", re.IGNORECASE)
_ITEM = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
_CLAUSE = re.compile(r"[,;:()–—.!?]\s|\b(?:but|who|which|although|though|while)\b")
_SMALL = frozenset(
    """a an and any are as at be been but by can did do does for from had has have he her his how i if in into is it its may me
    my no not of on or our she so some than that the their them then there these they this those to too very was we were what
    when where which who whom whose why will with would you your""".split()  # noqa: SIM905
)


@lru_cache(maxsize=4096)
def words(text: str) -> frozenset[str]:
    """The stems of a text's meaningful words; of all its words where none is."""
    found = each_word(text)
    return frozenset(stem(word) for word in found if word not in _SMALL) or frozenset(found)


def claims(text: str) -> list[str]:
    """A text as single claims: its sentences, cut at line breaks and semicolons, without citation marks and the bullets
    and numbers of lists; what has no word is none."""
    plain = MARK.sub("", visible(text))
    parts = (
        part.strip() for span in lines(plain) for part in re.split(r";\s+", _ITEM.sub("", plain[span.start : span.end]))
    )
    return [part for part in parts if re.search(r"\w", part)]


def support(claim: str, source: str) -> float:
    """How far a text supports a claim, 0 to 1: the share of its words that are there; at most OPEN when a number or a
    name is not, or when one of the two is negated and the other is not though they say the same words."""
    claim, source = visible(claim), visible(source)
    wanted = words(claim)
    if not wanted or not source.strip():
        return 0.0
    there = words(source)
    share = len(wanted & there) / len(wanted)
    if missing(claim, source):
        return min(share, OPEN)
    # A negation is compared only with a text of a sentence or two, and there with the clause that says it.
    if share >= SUPPORTED and len(source) < 400 and len(wanted) > 2:
        clause = max(_CLAUSE.split(source), key=lambda part: len(wanted & words(part)))
        if bool(_NEGATIVE.search(claim)) != bool(_NEGATIVE.search(clause)):
            return min(share, OPEN)
    return share


def missing(claim: str, source: str) -> str:
    """The first number or name of the claim that the source does not have; "" where it has all."""
    claim, source = visible(claim), visible(source)
    numbers = {number.replace(",", "") for number in NUMBER.findall(source)}
    for found in NUMBER.finditer(claim):
        if found[0].replace(",", "") not in numbers:
            return found[0]
    plain = source.casefold()
    for found in NAME.finditer(claim):
        if found[0].casefold() not in plain:
            return found[0]
    return ""


# ---------------------------------------------------------------- what an answer's steps say


def shown(case: Case) -> list[str]:
    """The texts that were put before the model: what was retrieved; without retrieval, the longest field of the input
    (where there are several). Empty where the answer had no source."""
    found = _step(case, "retrieve")
    if isinstance(found, list):
        return [str(item.get("text", "")) for item in found if isinstance(item, Mapping)]
    if len(case.input) > 1:
        return [max(case.input.values(), key=len)]
    return []


def cited(case: Case) -> list[tuple[str, list[str]]] | None:
    """Each claim and what was quoted for it; None where the answer cites nothing by design."""
    found = _step(case, "cite")
    if not isinstance(found, Mapping):
        return None
    quotes = {item["mark"]: str(item["quote"]) for item in found.get("citations", []) if isinstance(item, Mapping)}
    return [
        (str(item["text"]), [quotes[mark] for mark in item.get("marks", []) if mark in quotes])
        for item in found.get("claims", [])
    ]


def _step(case: Case, name: str) -> Any:
    for step in case.steps:
        if step.name == name:
            try:
                return json.loads(step.reply)
            except ValueError:
                return None
    return None


# ---------------------------------------------------------------- metrics


class Faithfulness(Mean):
    """Share of the answer's claims that the texts before the model support. An answer without claims says nothing
    false: 1; one without any source: 0. ``model`` is asked about claims that have some of their words in a source."""

    def __init__(self, model: Model | None = None) -> None:
        self.name = "faithfulness" if model is None else "faithfulness:judge"
        self.model = model

    @property
    def fingerprint(self) -> str:
        return "" if self.model is None else digest([self.name, __version__, self.model.fingerprint, _question("", "")])

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        return [failed(case) if case.failure is not None else await self._one(case) for case in cases]

    async def _one(self, case: Case) -> Score:
        parts, sources = claims(spell(case.output)), shown(case)
        if not parts:
            return Score(1.0, "it claims nothing")
        if not sources:
            return Score(0.0, "there is no source")
        held = 0
        doubtful = ""
        for claim in parts:
            best = max(sources, key=lambda source: support(claim, source))
            share = support(claim, best)
            if share >= SUPPORTED or (share >= OPEN and await self._asked(claim, best)):
                held += 1
            else:
                doubtful = doubtful or claim
        why = f"{held} of {len(parts)} claims supported"
        return Score(held / len(parts), f"{why}; not: {doubtful[:60]!r}" if doubtful else why)

    async def _asked(self, claim: str, source: str) -> bool:
        if self.model is None or missing(claim, source):
            return False
        return (await self.model.score([ScoreRequest(_question(claim, source), ("yes", "no"))]))[0].best == 0


def _question(claim: str, source: str) -> tuple[Message, ...]:
    return (
        Message("system", "Does the text say what the claim says? Answer yes or no."),
        Message("user", f"text: {source}\n\nclaim: {claim}"),
    )


class CitationPrecision(Mean):
    """Share of the quotes that support their claim, at least in part: without it the others would support it less
    (ALCE). An answer that claims nothing needs no quotes: 1; claims without any quote: 0."""

    name = "citation-precision"

    def grade(self, case: Case) -> Score:
        found = cited(case)
        if found is None:
            return Score(0.0, "it cites nothing")
        pairs = [(claim, quotes, at) for claim, quotes in found for at in range(len(quotes))]
        if not pairs:
            return Score(float(not found), "no quotes" if found else "it claims nothing")
        right = sum(_counts(claim, quotes, at) for claim, quotes, at in pairs)
        return Score(right / len(pairs), f"{right} of {len(pairs)} quotes support their claim")


def _counts(claim: str, quotes: Sequence[str], at: int) -> bool:
    if support(claim, quotes[at]) >= SUPPORTED:
        return True
    rest = " ".join(quote for place, quote in enumerate(quotes) if place != at)
    whole = support(claim, " ".join(quotes))
    return whole >= SUPPORTED and whole > support(claim, rest)


class CitationRecall(Mean):
    """Share of the claims that their quotes together support. An answer that claims nothing: 1."""

    name = "citation-recall"

    def grade(self, case: Case) -> Score:
        found = cited(case)
        if found is None:
            return Score(0.0, "it cites nothing")
        if not found:
            return Score(1.0, "it claims nothing")
        held = sum(bool(quotes) and support(claim, " ".join(quotes)) >= SUPPORTED for claim, quotes in found)
        return Score(held / len(found), f"{held} of {len(found)} claims supported by their quotes")


class ContextPrecision(Mean):
    """Average precision of the texts before the model, in their order: relevant is what holds a right answer."""

    name = "context-precision"

    def grade(self, case: Case) -> Score:
        flags = _relevant(case)
        if not any(flags):
            return Score(0.0, f"none of {len(flags)} texts holds a right answer")
        hits, total = 0, 0.0
        for place, flag in enumerate(flags, 1):
            if flag:
                hits += 1
                total += hits / place
        return Score(total / hits, f"{hits} of {len(flags)} texts hold a right answer")


class ContextRecall(Mean):
    """1 when a text before the model holds a right answer, else 0."""

    name = "context-recall"

    def grade(self, case: Case) -> Score:
        flags = _relevant(case)
        return Score(float(any(flags)), f"{sum(flags)} of {len(flags)} texts hold a right answer")


def _relevant(case: Case) -> list[bool]:
    wanted = [f" {form} " for option in references(case) if (form := squad_form(option))]
    texts = (f" {squad_form(text)} " for text in shown(case))
    return [any(form in text for form in wanted) for text in texts]


def open_faithfulness(argument: str, resources: Resources) -> Faithfulness:
    """``faithfulness``, or ``faithfulness:judge`` (the task's model) and ``faithfulness:judge=MODEL``."""
    if not argument:
        return Faithfulness()
    kind, _, name = argument.partition("=")
    if kind != "judge":
        raise InputError(f"faithfulness takes no {argument!r}", remedy="write faithfulness or faithfulness:judge")
    return Faithfulness(resources.model(name or None))


CITATION_PRECISION, CITATION_RECALL = CitationPrecision(), CitationRecall()
CONTEXT_PRECISION, CONTEXT_RECALL = ContextPrecision(), ContextRecall()
