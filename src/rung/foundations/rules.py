"""Keyword and regular-expression rules: what a programmer writes in an afternoon, without any model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, ClassVar

from rung.core.pattern import Pattern, compile_pattern
from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Answer, Failure, Input, Task, text_of

WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


Weighted = Sequence[tuple[str, Sequence[tuple[str, float]]]]
"""Labels in order, each with its patterns and their weights."""


class RulesProgram:
    """The label whose matching patterns weigh most; the one listed first wins a tie; ``fallback`` where nothing matches."""

    kind = "rules"
    model = None

    def __init__(self, rules: Weighted, fallback: str) -> None:
        self._rules, self._fallback = rules, fallback
        self._compiled = [
            (label, weight, compile_pattern(source, re.IGNORECASE))
            for label, patterns in rules
            for source, weight in patterns
        ]

    def spec(self) -> dict[str, Any]:
        # Lists, not mappings: their order decides ties and must survive a save.
        rules = [[label, [[pattern, weight] for pattern, weight in patterns]] for label, patterns in self._rules]
        return {"rules": rules, "fallback": self._fallback}

    def files(self) -> Mapping[str, Path]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        text = text_of(input)
        weights: defaultdict[str, float] = defaultdict(float)
        for label, weight, rule in self._compiled:
            if rule.search(text):
                weights[label] += weight
        if not weights:
            return Answer(self._fallback, raw=self._fallback, confidence=0.0)
        label = max(weights, key=weights.__getitem__)
        return Answer(label, raw=label, confidence=weights[label] / sum(weights.values()))

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> RulesProgram:
        return cls(spec["rules"], spec["fallback"])


class FieldRulesProgram:
    """Fills each field of a JSON object with the first group of the first pattern that matches the input.

    A field's schema decides how the text is read: integers and numbers are converted, booleans are true when a pattern
    matches, arrays of objects take one item a match with the pattern's named groups; what no pattern finds is null, or the
    empty array.
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
    """The task's own ``rules``; for a label set without rules, keywords learned from train by log-odds.

    ``keywords`` a label, each in at least ``support`` training examples of it. The log-odds are smoothed with an
    informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, without the variance term).
    """

    traits: ClassVar[Traits] = Traits(uses_model=False)

    keywords: int = 12
    support: int = 2

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
        return RulesProgram(self._learn(task), fallback)

    def _learn(self, task: Task) -> Weighted:
        by_label: dict[str, Counter[str]] = {}
        everywhere: Counter[str] = Counter()
        for example in task.train:
            words = set(WORDS.findall(text_of(example.input).lower()))
            by_label.setdefault(str(example.reference), Counter()).update(words)
            everywhere.update(words)
        total = sum(everywhere.values())
        rules: list[tuple[str, list[tuple[str, float]]]] = []
        for label, counts in by_label.items():
            size = sum(counts.values())
            odds = {
                word: log((count + p * 10) / (size + 10 - count - p * 10))
                - log((everywhere[word] - count + p * 10) / (total - size + 10 - (everywhere[word] - count) - p * 10))
                for word, count in counts.items()
                if count >= self.support and (p := everywhere[word] / total)
            }
            best = sorted((w for w in odds if odds[w] > 0), key=lambda w: (-odds[w], w))[: self.keywords]
            rules.append((label, [(rf"\b{re.escape(word)}\b", round(odds[word], 4)) for word in best]))
        return rules
