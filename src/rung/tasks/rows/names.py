"""Metrics, rungs and models that a task names: are they known, and do they fit?"""

from __future__ import annotations

import dataclasses
from collections import Counter

from rung.core.parts import registry
from rung.core.parts.problem import nearest
from rung.core.types import RungChoice
from rung.tasks.rows.checker import TaskChecker

FITS: dict[str, tuple[str, ...]] = {
    "accuracy": ("labels", "regex", "grammar"),
    "macro-f1": ("labels",),
    "micro-f1": ("labels",),
    "json-valid": ("json",),
    "schema-valid": ("json",),
    "field-f1": ("json",),
    "number": ("number", "text", "regex"),
    "token-f1": ("text", "number", "regex", "grammar"),
    "contains": ("text", "number"),
    "squad-em": ("text", "number", "regex", "grammar"),
    "bleu": ("text",),
    "chrf": ("text",),
    "rouge-1": ("text",),
    "rouge-2": ("text",),
    "rouge-l": ("text",),
    "rouge-lsum": ("text",),
}
"""The forms of answer that built-in metrics can judge; a metric that is not listed judges any."""


def check_names(checker: TaskChecker) -> None:
    """Metrics, rungs, models: are they known, and do they fit?"""
    definition = checker.definition
    _check_metrics(checker)
    for index, choice in enumerate(definition.rungs):
        _check_rung(checker, choice.choice, index)
    titles = Counter(choice.choice.title for choice in definition.rungs)
    for title, count in titles.items():
        if count > 1:
            checker.report(
                f"{count} rungs are called {title!r}", "give each a label: {label: LABEL, use: NAME, ...}", "rungs"
            )
    for kind, choices in (("environment", [definition.environment]), ("tool", definition.tools)):
        for index, part in enumerate(part for part in choices if part):
            name = part.partition(":")[0] if isinstance(part, str) else part["name"]
            if name not in (known := registry.table(kind)):
                where = ("tools", index) if kind == "tool" else ("environment",)
                checker.report(f"unknown {kind} {name!r}", nearest(name, known), *where)
    providers = registry.table("provider")
    for index, model in enumerate(definition.models):
        provider, colon, _ = model.partition(":")
        if not colon or provider not in providers:
            checker.report(
                f"model {model!r}: expected PROVIDER:NAME" if not colon else f"model {model!r}: unknown provider {provider!r}",
                nearest(provider, providers), "models", index,
            )  # fmt: skip
    kind = definition.answer.kind
    if definition.rules and kind not in ("labels", "json"):
        checker.report(f"rules need an answer of labels or json, this task's is {kind}", "remove `rules`", "rules")


def _check_metrics(checker: TaskChecker) -> None:
    definition = checker.definition
    metrics = registry.table("metric")
    for index, spec in enumerate(definition.metrics):
        name = spec.partition(":")[0]
        if name not in metrics:
            checker.report(f"unknown metric {name!r}", nearest(name, metrics), "metrics", index)
        elif name in FITS and definition.answer.kind not in FITS[name]:
            fitting = [
                other for other in metrics if definition.answer.kind in FITS.get(other, (definition.answer.kind,))
            ]
            checker.report(
                f"metric {name!r} judges answers of the form {' or '.join(FITS[name])}; this task's are {definition.answer.kind}",
                f"choose from: {', '.join(fitting)}", "metrics", index,
            )  # fmt: skip
    for index, spec in enumerate(definition.metrics):
        if spec in definition.metrics[:index]:
            checker.report(f"metric {spec!r} is named twice", "keep one", "metrics", index)


def _check_rung(checker: TaskChecker, choice: RungChoice, index: int) -> None:
    known = registry.table("rung")
    if choice.name not in known:
        checker.report(f"unknown rung {choice.name!r}", nearest(choice.name, known), "rungs", index)
        return
    if choice.options:
        wrong = wrong_options(choice)
        if wrong:
            checker.report(*wrong, "rungs", index)


def wrong_options(choice: RungChoice) -> tuple[str, str] | None:
    """What is wrong with a rung's options (message, remedy), None when nothing is or the rung cannot be asked here."""
    try:
        rung = registry.load("rung", choice.name)
    except (ImportError, AttributeError):
        return None  # an optional package is not installed: the climb says so in its own words
    if not dataclasses.is_dataclass(rung):
        return None
    known = [field_.name for field_ in dataclasses.fields(rung) if field_.init]
    for option in choice.options:
        if option not in known:
            return f"rung {choice.name!r} has no option {option!r}", nearest(option, known)
    return None
