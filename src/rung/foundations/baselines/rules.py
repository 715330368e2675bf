"""Keyword and regular-expression rules: what a programmer writes in an afternoon, without any model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path
from typing import Any, ClassVar

from rung.core.protocols import Context, Resources, Traits
from rung.core.text.pattern import Pattern, compile_pattern
from rung.core.types import Answer, Failure, Input, Task, text_of
from rung.foundations.text.words import words

PRIOR = 10.0
"""Words of the prior: as many as are added to each side in the proportions of all examples."""

Weighted = Sequence[tuple[str, Sequence[tuple[str, float]]]]
"""Labels in order, each with its patterns or keywords and their weights."""


class RulesProgram:
    """The label whose matching patterns and keywords weigh most; the one listed first wins a tie; ``fallback`` where
    nothing matches. A pattern is searched in the text; a keyword is one of its words, so that thousands of them cost
    one look each."""

    kind = "rules"
    model = None

    def __init__(self, rules: Weighted, fallback: str, keywords: Weighted = ()) -> None:
        self._rules, self._fallback, self._keywords = rules, fallback, keywords
        self._order = {label: at for at, label in enumerate(dict.fromkeys(label for label, _ in (*rules, *keywords)))}
        self._compiled = [
            (label, weight, compile_pattern(source, re.IGNORECASE))
            for label, patterns in rules
            for source, weight in patterns
        ]
        self._known: dict[str, list[tuple[str, float]]] = {}
        for label, chosen in keywords:
            for word, weight in chosen:
                self._known.setdefault(word, []).append((label, weight))

    def spec(self) -> dict[str, Any]:
        # Lists, not mappings: their order decides ties and must survive a save.
        parts = {"rules": self._rules, "keywords": self._keywords}
        told = {
            name: [[label, [list(item) for item in items]] for label, items in part] for name, part in parts.items()
        }
        return {**told, "fallback": self._fallback}

    def files(self) -> Mapping[str, Path]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        text = text_of(input)
        weights: defaultdict[str, float] = defaultdict(float)
        for label, weight, rule in self._compiled:
            if rule.search(text):
                weights[label] += weight
        if self._known:
            for word in sorted(set(words(text))):
                for label, weight in self._known.get(word, ()):
                    weights[label] += weight
        if not weights:
            return Answer(self._fallback, raw=self._fallback, confidence=0.0)
        label = max(weights, key=lambda label: (weights[label], -self._order[label]))
        return Answer(label, raw=label, confidence=weights[label] / sum(weights.values()))

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> RulesProgram:
        return cls(spec["rules"], spec["fallback"], spec["keywords"])


class FieldRulesProgram:
    """Fills each field of a JSON object with the first group of the first pattern that matches the input.

    A field's schema decides how the text is read: integers and numbers are converted, booleans are true when a pattern
    matches, arrays of objects take one item a match with the pattern's named groups; what no pattern finds is null, or
    the empty array.
    """

    kind = "field-rules"
    model = None

    def __init__(self, rules: Mapping[str, tuple[str, ...]], schema: Mapping[str, Any]) -> None:
        self._rules, self._schema = rules, schema
        self._compiled = {
            name: [compile_pattern(p, re.IGNORECASE) for p in patterns] for name, patterns in rules.items()
        }

    def spec(self) -> dict[str, Any]:
        return {"rules": {name: list(patterns) for name, patterns in self._rules.items()}, "schema": self._schema}

    def files(self) -> Mapping[str, Path]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        text = text_of(input)
        try:
            found = {
                name: _field(text, self._compiled.get(name, []), schema)
                for name, schema in self._schema.get("properties", {}).items()
            }
        except ValueError as error:
            return Answer(
                None, failure=Failure("program", f"a rule found text that is not of the field's type: {error}")
            )
        return Answer(found)

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> FieldRulesProgram:
        return cls({name: tuple(patterns) for name, patterns in spec["rules"].items()}, spec["schema"])


def _types(schema: Mapping[str, Any]) -> set[str]:
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _convert(text: str, schema: Mapping[str, Any]) -> Any:
    kinds = _types(schema)
    if "integer" in kinds:
        return int(text)
    if "number" in kinds:
        return float(text)
    return text.strip()


def _field(text: str, patterns: list[Pattern], schema: Mapping[str, Any]) -> Any:
    kinds = _types(schema)
    if "boolean" in kinds:
        return any(one.search(text) for one in patterns)
    if "array" in kinds:
        inner = schema.get("items", {})
        items = []
        for one in patterns:
            for match in one.finditer(text):
                groups = match.groupdict()
                if groups and "object" in _types(inner):
                    fields = inner.get("properties", {})
                    items.append({k: _convert(v, fields.get(k, {})) for k, v in groups.items() if v is not None})
                else:
                    items.append(_convert(match[1] if match.re.groups else match[0], inner))
            if items:
                break
        return items
    for one in patterns:
        if first := one.search(text):
            return _convert(first[1] if first.re.groups else first[0], schema)
    return None


@dataclass(frozen=True)
class Rules:
    """The task's own ``rules``; for a label set without rules, keywords learned from train.

    ``keywords`` a label at most, each in at least ``support`` training examples of it: those whose log-odds in the
    label against the rest are surest not to be chance, that is the largest in standard errors (z; Monroe, Colaresi and
    Quinn 2008, "Fightin' Words", with their informative Dirichlet prior). A keyword weighs its log-odds.
    """

    traits: ClassVar[Traits] = Traits(uses_model=False)

    keywords: int = 100
    support: int = 1

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.form.kind == "labels":
            return "" if task.rules or task.train else "there are neither rules nor training examples"
        if task.form.kind == "json":
            return (
                "" if task.rules else "a JSON task needs rules: (a regular expression for each field) in its task file"
            )
        return "rules fill labels or JSON fields, and this task's answers are free text"

    async def fit(self, task: Task, context: Context) -> RulesProgram | FieldRulesProgram:
        if task.form.kind == "json":
            return FieldRulesProgram(task.rules, task.form.schema)
        labels = Counter(str(example.reference) for example in task.train)
        fallback = labels.most_common(1)[0][0] if labels else task.form.labels[0]
        if task.rules:
            given = [(label, [(pattern, 1.0) for pattern in patterns]) for label, patterns in task.rules.items()]
            return RulesProgram(given, fallback)
        return RulesProgram((), fallback, self._learn(task))

    def _learn(self, task: Task) -> Weighted:
        by_label: dict[str, Counter[str]] = {}
        everywhere: Counter[str] = Counter()
        for example in task.train:
            found = set(words(text_of(example.input)))
            by_label.setdefault(str(example.reference), Counter()).update(found)
            everywhere.update(found)
        total = sum(everywhere.values())
        learned: list[tuple[str, list[tuple[str, float]]]] = []
        for label, counts in by_label.items():
            size = sum(counts.values())
            odds: dict[str, tuple[float, float]] = {}
            for word, count in counts.items():
                prior = PRIOR * everywhere[word] / total
                mine, rest = count + prior, everywhere[word] - count + prior
                delta = log(mine / (size + PRIOR - mine)) - log(rest / (total - size + PRIOR - rest))
                if count >= self.support and delta > 0:
                    odds[word] = delta / sqrt(1 / mine + 1 / rest), delta
            best = sorted(odds, key=lambda word: (-odds[word][0], word))[: self.keywords]
            learned.append((label, [(word, round(odds[word][1], 4)) for word in best]))
        return learned
