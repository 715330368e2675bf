"""A filter of what is asked or answered, and how often it is wrong: rules anyone can read, or a trained classifier.

A filter is only as good as its false positives on harmless text that sounds alike are few, so ``measure`` counts both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rung.core.errors import InputError
from rung.core.text.pattern import compile_pattern
from rung.core.types import Interval
from rung.documents.tables import rows as tables
from rung.documents.tables.layout import SUFFIXES, Layout
from rung.foundations.text.tfidf import Tfidf
from rung.foundations.text.words import standing, visible
from rung.metrics.stats import wilson


@dataclass(frozen=True, slots=True)
class Verdict:
    """``blocked`` and why: the rule that matched, or the classifier's probability. ``score`` is 0 to 1."""

    blocked: bool
    score: float
    why: str = ""


class Filter(Protocol):
    def __call__(self, text: str) -> Verdict: ...


RULES: dict[str, str] = {
    "override": r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|all|your|any)\b.{0,30}"
    r"\b(?:instruction|prompt|rule|direction|guideline|polic|command)",
    "jailbreak": r"\b(?:DAN|do anything now|developer mode|jailbr(?:eak|oken)|unfiltered|without (?:any )?(?:restrictions|limits|filters))\b",
    "no refusal": r"\b(?:never|not|cannot|can't|don't) (?:say|refuse|reject|decline|apologi[sz]e)\b.{0,60}\b(?:sorry|can't|cannot|refuse|request|answer)",
    "prompt theft": r"\b(?:reveal|print|repeat|show|output|tell me|what (?:is|are|was))\b.{0,40}\b(?:system|initial|hidden|original|above)\b.{0,10}"
    r"\b(?:prompt|instruction|message)",
    "harm": r"\b(?:(?:how to|tutorial|guide|instructions?|steps|ways?|method|plan|script|program|code|manual|write|create|develop|make|teach|explain|"
    r"provide|give)\b.{0,60})(?:\b(?:bombs?|explosives?|malware|ransomware|viruses|virus that|keylogger|phishing|hack(?:ing)? into|steal(?:ing)?|"
    r"identity theft|counterfeit|launder|meth(?:amphetamine)?|poison(?:ing)?|kidnap|murder|stalk(?:ing)?|bully|"
    r"suicide|self-harm|genocide|terroris[mt]|child porn\w*|blackmail|forge|bypass|fraud|scam|smuggl\w+|traffick\w+|weapons?)\b)",
}
"""Regular expressions by name; what they find is described by how text asks, not by single words: "ignore" alone is
harmless."""
ABUSE = (
    r"\b(?:kill|hang|shoot|hurt) your ?self\b|\bkys\b|\b(?:i(?:'ll| will| am going to)|gonna) (?:kill|rape|stab|shoot|beat) (?:you|u|him|her|them)\b"
    r"|\byou(?:'re| are)? (?:a |an |such a )?(?:(?:fucking|stupid|dumb|worthless|pathetic|ugly) )+(?:idiot|moron|bitch|whore|cunt|bastard|loser|pig|retard)\b"
    r"|(?<!the )\b(?:fuck|screw) (?:you|yourself)\b|\b(?:you|all) [\w ]{0,20}should (?:die|be (?:killed|exterminated|gassed|shot))\b"
)
"""Threats and insults to somebody; single coarse words are not harmful by themselves."""


class RuleFilter:
    """Blocks a text in which a rule matches. ``words`` are blocked wherever they stand as words. Raises InputError
    for a pattern that is no regular expression, or when there is no rule at all."""

    def __init__(self, rules: Mapping[str, str] | None = None, words: Sequence[str] = ()) -> None:
        given = dict(RULES if rules is None and not words else rules or {})
        if words:
            given["words"] = "|".join(standing(unicodedata.normalize("NFKC", visible(word))) for word in words)
        if not given:
            raise InputError("a filter without rules blocks nothing", remedy="give rules or words")
        # re.DOTALL: an order may stand on several lines.
        self._rules = [(name, compile_pattern(rule, re.IGNORECASE | re.DOTALL)) for name, rule in given.items()]

    def __call__(self, text: str) -> Verdict:
        text = unicodedata.normalize(
            "NFKC", visible(text)
        )  # zero-width and full-width letters hide a word from rules, not from people
        for name, rule in self._rules:
            if found := rule.search(text):
                return Verdict(True, 1.0, f"{name}: {found[0][:60]!r}")
        return Verdict(False, 0.0)


class AnyFilter:
    """Blocks what one of several filters blocks, and says which reason came first."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = tuple(filters)

    def __call__(self, text: str) -> Verdict:
        verdicts = [check(text) for check in self._filters]
        return next((verdict for verdict in verdicts if verdict.blocked), max(verdicts, key=lambda v: v.score))


class TrainedFilter:
    """Logistic regression over TF-IDF of words and characters; blocks where the probability of harm reaches
    ``threshold``."""

    def __init__(self, tfidf: Tfidf, weights: np.ndarray[Any, Any], bias: float, threshold: float = 0.5) -> None:
        self._tfidf, self._weights, self._bias, self.threshold = tfidf, weights, bias, threshold

    @classmethod
    def fit(cls, harmful: Sequence[str], harmless: Sequence[str], *, threshold: float = 0.5) -> TrainedFilter:
        """Learn from texts of both kinds, weighted alike. Raises InputError with fewer than two of either, or a
        threshold outside (0, 1)."""
        from rung.foundations.baselines.linear import regress

        if min(len(harmful), len(harmless)) < 2 or not 0 < threshold < 1:
            raise InputError(
                f"got {len(harmful)} harmful and {len(harmless)} harmless texts, threshold {threshold}",
                remedy="give two or more of each and a threshold between 0 and 1",
            )
        texts = [*harmful, *harmless]
        tfidf = Tfidf.fit(texts)
        labels = np.r_[np.ones(len(harmful)), np.zeros(len(harmless))]
        found = regress(tfidf.transform(texts), labels, C=10.0, class_weight="balanced")
        return cls(tfidf, found.coef_[0], float(found.intercept_[0]), threshold)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that ``restore`` needs."""
        scalars = np.array([self._bias, self.threshold])
        return {**self._tfidf.arrays(), "filter_weights": self._weights, "filter_scalars": scalars}

    @classmethod
    def restore(cls, arrays: Any) -> TrainedFilter:
        bias, threshold = arrays["filter_scalars"].tolist()
        return cls(Tfidf.restore(arrays), arrays["filter_weights"], bias, threshold)

    def scores(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The probability of harm of each text: shape (texts,)."""
        logits = self._tfidf.transform(texts) @ self._weights + self._bias
        found: np.ndarray[Any, np.dtype[np.float64]] = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -30, 30)))
        return found

    def __call__(self, text: str) -> Verdict:
        score = float(self.scores([text])[0])
        return Verdict(score >= self.threshold, score, f"probability of harm {score:.2f}")


@dataclass(frozen=True, slots=True)
class Measured:
    """Of the harmless texts ``false_positives`` are blocked, of the harmful ones ``caught``; either is None where
    none were given. ``wrong`` holds some of the harmless texts that were blocked, and why."""

    false_positives: Interval | None
    caught: Interval | None
    harmless: int
    harmful: int
    wrong: tuple[tuple[str, str], ...] = ()


def measure(filter: Filter, harmless: Sequence[str], harmful: Sequence[str] = (), *, keep: int = 5) -> Measured:
    """Run a filter over texts whose kind is known. Raises InputError without any."""
    if not harmless and not harmful:
        raise InputError("there are no texts to measure on", remedy="give harmless texts, harmful texts or both")
    ours = [(text, filter(text)) for text in harmless]
    theirs = [filter(text) for text in harmful]
    return Measured(
        wilson(sum(v.blocked for _, v in ours), len(ours)) if ours else None,
        wilson(sum(v.blocked for v in theirs), len(theirs)) if theirs else None,
        len(ours),
        len(theirs),
        tuple((text, v.why) for text, v in ours if v.blocked)[:keep],
    )


def read_texts(path: Path, column: str = "") -> list[str]:
    """Texts of a file or folder: ``.txt`` (one a line) or a table (see rung.documents.tables.rows); ``column`` names
    the field where the rows have several (else: prompt, goal, text, input or question). Raises InputError for what
    cannot be read."""
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in (".txt", *SUFFIXES))
        return [text for file in files for text in read_texts(file, column)]
    lined = path.name.lower().removesuffix(".gz").endswith(".txt")
    names = ["line"] if lined else [column] if column else ["prompt", "goal", "text", "input", "question"]
    texts = []
    for row in tables.rows(path, Layout(format="lines" if lined else None, lenient=True)):
        value = next((row.values[name] for name in names if name in row.values), None)
        if isinstance(value, str) and value.strip():
            texts.append(value.strip())
    if not texts:
        raise InputError(f"no texts under {', '.join(names)}", file=path, remedy="name the field: --column NAME")
    return texts
