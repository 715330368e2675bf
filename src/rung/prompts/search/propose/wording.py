"""Other words for a prompt: its instruction, notes on labels, rules, parts, rendering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log

import numpy as np

from rung.core.types import Example, text_of
from rung.foundations.text.tfidf import Tfidf
from rung.foundations.text.words import words as words_of
from rung.prompts.program import PromptProgram
from rung.prompts.search.propose.proposal import (
    Material,
    Proposal,
    parts_of,
    short_text,
    style_of,
    with_parts,
    with_selector,
    with_style,
)
from rung.prompts.template.prompt import Prompt, describe
from rung.prompts.template.render import STYLES

_WORDINGS: tuple[tuple[str, str], ...] = (
    ("read first", "Read the {fields} carefully. {instruction}"),
    ("meaning, not words", "{instruction} Decide by what the {fields} means as a whole, not by single words."),
    ("most specific", "{instruction} Where several answers seem right, give the most specific one."),
    ("given first", "You are given the {fields}. {instruction}"),
    ("to the point", "{instruction} Answer at once, without explanation."),
    ("follow examples", "{instruction} Answer as in the examples."),
    ("expert", "As an expert would do it: {instruction}"),
    ("check", "{instruction} Before you answer, check that the answer fits every part of the {fields}."),
)


def wording(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The task's instruction put another way, from a list of phrasings."""
    parts = parts_of(parent)
    stem = material.task.instruction.strip() or parts.instruction.strip()
    fields = " and ".join(material.task.fields) or "text"
    for name, pattern in _WORDINGS:
        if name == "follow examples" and parent.selector is None and not parts.examples:
            continue
        said = pattern.format(instruction=stem, fields=fields)
        yield _saying(parent, replace(parts, instruction=said), "wording", f"instruction: {name}")
    if parts.instruction.strip() != stem:
        yield _saying(parent, replace(parts, instruction=stem), "wording", "instruction: the task's own")


def notes(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """What each label means, from train: its most telling words, or its most typical example."""
    task, parts = material.task, parts_of(parent)
    if task.form.kind != "labels" or len(material.pool) < len(task.form.labels):
        return
    for name, found in (
        ("typical examples", typical(material.pool, task.form.labels)),
        ("telling words", telling(material.pool, task.form.labels)),
    ):
        said = describe(task.form, replace(task, label_notes=found))
        yield _saying(parent, replace(parts, format=said), "notes", f"labels explained by {name} of train")
    if task.label_notes:
        yield _saying(parent, replace(parts, format=describe(task.form, task)), "notes", "the task's label notes")
    listed = "Labels:\n" + "\n".join(f"- {label}" for label in task.form.labels)
    yield _saying(parent, replace(parts, format=f"{listed}\nAnswer with one of them."), "notes", "labels one a line")
    plain = describe(task.form)
    if parts.format != plain:
        yield _saying(parent, replace(parts, format=plain), "notes", "no label notes")


def telling(examples: Sequence[Example], labels: Sequence[str], most: int = 4) -> dict[str, str]:
    """For each label the words whose log-odds to be in its examples rather than in the others' are highest."""
    inside: dict[str, Counter[str]] = {label: Counter() for label in labels}
    everywhere: Counter[str] = Counter()
    for example in examples:
        words = {word for word in words_of(text_of(example.input)) if len(word) > 2}
        everywhere.update(words)
        inside.setdefault(str(example.reference), Counter()).update(words)
    out = {}
    for label in labels:
        mine, n = inside[label], sum(str(example.reference) == label for example in examples)
        others = len(examples) - n
        odds = {
            word: mine[word] * log((mine[word] + 0.5) / (n + 1) * (others + 1) / (everywhere[word] - mine[word] + 0.5))
            for word in mine
        }
        best = sorted(odds, key=lambda word: (-odds[word], word))[:most]
        if best:
            out[label] = f"often with the words {', '.join(best)}"
    return out


def typical(examples: Sequence[Example], labels: Sequence[str], longest: int = 120) -> dict[str, str]:
    """For each label its training example nearest to the mean of them (TF-IDF), among those that are short enough."""
    texts = [text_of(example.input) for example in examples]
    rows = Tfidf.fit(texts).transform(texts)
    out = {}
    for label in labels:
        mine = [i for i, example in enumerate(examples) if str(example.reference) == label]
        short = [i for i in mine if len(texts[i]) <= longest] or mine
        if mine:
            mean = np.asarray(rows[mine].mean(axis=0)).ravel()
            near = np.asarray(rows[short] @ mean).ravel()
            out[label] = f"for example {short_text(texts[short[int(near.argmax())]], longest)!r}"
    return out


_STOCK: Mapping[str, tuple[str, ...]] = {
    "labels": ("Give the closest label even when unsure.", "Write the label exactly as it is listed."),
    "number": ("Write digits only, without a unit.", "Work out every quantity before you answer."),
    "text": ("Use the words of the input where you can.", "Be brief.", "Write nothing but the answer."),
    "json": ("Leave out nothing that the input says.", "Copy names and numbers exactly."),
    "regex": ("Write nothing but the answer.",),
    "grammar": ("Write nothing but the answer.",),
}


def constraints(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """One rule more (the task's first, then stock ones for the answer's form), all of the task's, or one rule less."""
    task, parts = material.task, parts_of(parent)
    if task.constraints and parts.constraints != task.constraints:
        yield _saying(parent, replace(parts, constraints=task.constraints), "constraints", "all of the task's rules")
    for rule in (*task.constraints, *_STOCK[task.form.kind]):
        if rule not in parts.constraints:
            more = (*parts.constraints, rule)
            yield _saying(parent, replace(parts, constraints=more), "constraints", f"rule added: {rule}")
    for rule in parts.constraints:
        fewer = tuple(other for other in parts.constraints if other != rule)
        yield _saying(parent, replace(parts, constraints=fewer), "constraints", f"rule dropped: {rule}")


def parts(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The persona in or out, the format out or back."""
    task, said = material.task, parts_of(parent)
    if task.persona and not said.persona:
        yield _saying(parent, replace(said, persona=task.persona), "parts", "persona added")
    if said.format and (parent.selector is not None or said.examples):
        yield _saying(parent, said.drop("format"), "parts", "format dropped: the demonstrations show it")
    if not said.format and (form := describe(task.form, task)):
        yield _saying(parent, replace(said, format=form), "parts", "format added")
    for part in ("persona", "audience", "context"):
        if getattr(said, part):
            yield _saying(parent, said.drop(part), "parts", f"{part} dropped")


def rendering(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The same parts in another rendering."""
    for style in ("plain", "markdown", "xml", "brackets", "chat"):
        if style != style_of(parent) and style in STYLES:
            yield Proposal(with_style(parent, style), "rendering", f"rendered as {style}")


def merge(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The parent's words with a rival's demonstrations, and a rival's words with the parent's (GEPA's crossover)."""
    for rival in material.rivals:
        if rival.selector is not None:
            yield Proposal(with_selector(parent, rival.selector), "merge", "demonstrations of another good prompt")
    for rival in material.rivals:
        if parent.selector is not None and rival.prompt != parent.prompt:
            yield Proposal(with_selector(rival, parent.selector), "merge", "words of another good prompt")


def _saying(parent: PromptProgram, parts: Prompt, source: str, note: str) -> Proposal:
    return Proposal(with_parts(parent, parts), source, note)
