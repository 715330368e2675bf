"""Does a reply keep the house's rules? The rules are data: a YAML file of patterns, limits and what they hold for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.text.number import number_alone
from rung.core.text.pattern import Pattern, compile_pattern
from rung.core.types import Case, Score, text_of
from rung.foundations.text.words import standing
from rung.foundations.text.yaml import load_items
from rung.metrics.mean import Mean
from rung.metrics.rules.beside import beside

KINDS = ("must", "never", "most", "given", "words")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``must`` and ``never``: the reply matches the pattern, or does not. ``most``: no number that the
    pattern's groups find is above ``limit``. ``given``: whatever the pattern finds stands in the input too. ``words``:
    at most ``limit`` words. ``when``: patterns by field of the input (``input``: all of it); the rule holds only where
    each is found."""

    name: str
    kind: str
    pattern: Pattern | None = None
    limit: float = 0.0
    when: Mapping[str, Pattern] = field(default_factory=dict)

    def applies(self, case: Case) -> bool:
        return all(
            pattern.search(text_of(case.input) if name == "input" else case.input.get(name, ""))
            for name, pattern in self.when.items()
        )

    def broken(self, reply: str, case: Case) -> str:
        """How the reply breaks the rule, in a few words; empty when it keeps it."""
        if self.kind == "words":
            count = len(reply.split())
            return f"{count} words, at most {self.limit:g}" if count > self.limit else ""
        assert self.pattern is not None
        if self.kind == "must":
            return "" if self.pattern.search(reply) else "is missing"
        if self.kind == "never":
            found = self.pattern.search(reply)
            return f"says {found[0]!r}" if found else ""
        if self.kind == "most":
            for found in self.pattern.finditer(reply):
                for group in found.groups() or (found[0],):
                    number = _number(group)
                    if number is not None and number > self.limit:
                        return f"says {found[0]!r}, at most {self.limit:g}"
            return ""
        whole = text_of(case.input)
        for found in self.pattern.finditer(reply):
            if not re.search(standing(found[0]), whole):
                return f"{found[0]!r} does not stand in the input"
        return ""


def _number(text: str | None) -> float | None:
    if whole := number_alone(text or ""):
        return float(whole)
    found = re.search(r"\d+(?:[.,]\d+)?", text or "")
    return float(found[0].replace(",", ".")) if found else None


class PolicyMetric(Mean):
    """1 when a reply keeps every rule that holds for its input, else 0; ``why`` names each broken one. ``parts`` are
    how many hold and how many are broken."""

    def __init__(self, rules: tuple[Rule, ...], name: str = "policy") -> None:
        self.name = name
        self.rules = rules

    def grade(self, case: Case) -> Score:
        reply = "" if case.output is None else str(case.output)
        holding = [rule for rule in self.rules if rule.applies(case)]
        broken = [(rule.name, how) for rule in holding if (how := rule.broken(reply, case))]
        parts = (float(len(holding)), float(len(broken)))
        if broken:
            return Score(0.0, "; ".join(f"{name}: {how}" for name, how in broken), parts)
        return Score(1.0, f"keeps all {len(holding)} rules", parts)


def read_policy(path: Path) -> tuple[Rule, ...]:
    """The rules of a YAML file: ``rules: [{name, must | never | most | given | words, limit, when}]``. Patterns are
    Python's, without regard to capitals unless they say ``(?-i:...)``; ^ and $ are ends of lines. Raises InputError
    naming the rule that is wrong."""
    listed = load_items(path, "rules", "{name: signed, must: 'Kind regards'}")
    rules = tuple(_rule(item, number, path) for number, item in enumerate(listed, 1))
    if len({rule.name for rule in rules}) < len(rules):
        raise InputError("two rules have one name", file=path, remedy="give each rule its own")
    return rules


def _rule(item: Any, number: int, path: Path) -> Rule:
    def wrong(what: str) -> InputError:
        name = item.get("name", number) if isinstance(item, dict) else number
        return InputError(
            f"rule {name}: {what}", file=path, remedy=f"expected name, one of {', '.join(KINDS)}, limit, when"
        )

    if not isinstance(item, dict):
        raise wrong(f"got {item!r}")
    kinds = [kind for kind in KINDS if kind in item]
    if len(kinds) != 1 or set(item) - {"name", "limit", "when", *kinds} or not item.get("name"):
        raise wrong(f"got the keys {', '.join(map(str, item)) or 'none'}")
    kind = kinds[0]
    limit = item["words"] if kind == "words" else item.get("limit", 0)
    if (kind == "most") != ("limit" in item) or isinstance(limit, bool) or not isinstance(limit, int | float):
        raise wrong(f"limit is {item.get('limit')!r}")
    when = item.get("when") or {}
    if not isinstance(when, dict):
        raise wrong(f"when is {when!r}")
    try:
        pattern = None if kind == "words" else _compile(item[kind])
        return Rule(
            str(item["name"]), kind, pattern, float(limit), {str(key): _compile(value) for key, value in when.items()}
        )
    except (InputError, TypeError) as error:
        raise wrong(f"not a pattern: {getattr(error, 'message', error)}") from None


def _compile(pattern: Any) -> Pattern:
    if not isinstance(pattern, str) or not pattern:
        raise TypeError(f"{pattern!r}")
    return compile_pattern(pattern, re.IGNORECASE | re.MULTILINE)


def open_policy(argument: str, resources: Resources) -> PolicyMetric:
    """``policy:FILE``."""
    return PolicyMetric(read_policy(beside("policy", argument)), f"policy:{argument}")
