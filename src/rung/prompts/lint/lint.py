"""What is weak in a prompt, found without a model: each finding has a rule, a place, a reason and a rewrite to try.

The rules are those that prompt guides agree on (say what, how much, in which form; one instruction must not undo
another; data apart from instructions; examples that show what is asked); their words stand in ``rules.yaml``. They are
heuristics over English text: a finding is a hint to look, and the score is only as good as its measured relation to
accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError
from rung.core.types import Task
from rung.prompts.lint.rules import Hit, Level, Linted, Placed, PromptPiece, rules
from rung.prompts.lint.text import piece_hits
from rung.prompts.lint.whole import conflicts, examples, missing, strangers, unsaid
from rung.prompts.template.files import SUFFIXES
from rung.prompts.template.prompt import Prompt, describe
from rung.prompts.template.template import Template, split


@dataclass(frozen=True, slots=True)
class Finding:
    """``line`` and ``column`` count from 1, ``start`` and ``end`` are offsets in characters into the text that was
    read."""

    rule: str
    level: Level
    line: int
    column: int
    start: int
    end: int
    text: str
    reason: str
    rewrite: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.level}: {self.rule}: {self.reason}\n    try: {self.rewrite}"


@dataclass(frozen=True, slots=True)
class LintReport:
    """Findings in the order of the text, and the score: 100 where there are none."""

    findings: tuple[Finding, ...]

    @property
    def score(self) -> int:
        lost = 0
        for rule in {finding.rule for finding in self.findings}:
            costs = [rules()["points"][finding.level] for finding in self.findings if finding.rule == rule]
            lost += min(sum(costs), 2 * max(costs))
        return max(0, 100 - lost)

    @property
    def errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)


def lint(text: str) -> LintReport:
    """A prompt that is one text. Places for values (``{{ name }}``, ``{name}``) count as data of unknown origin."""
    return _report(Linted([PromptPiece("text", text)]), text)


def lint_prompt(prompt: Prompt, labels: Sequence[str] = ()) -> LintReport:
    """A prompt of typed parts; places are those in ``prompt.system``."""
    return _report(Linted(_pieces(prompt), prompt.examples, labels, bool(prompt.format)), prompt.system)


def lint_template(template: Template, raw: str, labels: Sequence[str] = ()) -> LintReport:
    """A flat template; ``raw`` is the file's text, for the places."""
    pieces = _pieces(template.parts)
    if template.body:
        pieces += [PromptPiece(role, text) for role, text in split(template.body)]
    said = bool(template.parts.format)
    return _report(Linted(pieces, template.parts.examples, labels, said, template.variables), raw)


def lint_task(task: Task, raw: str) -> LintReport:
    """A task's instruction, constraints and persona; ``raw`` is the task file's text. Its answer's form is stated by
    rung."""
    labels = task.form.labels if task.form.kind == "labels" else ()
    notes = [PromptPiece("note", note) for note in task.label_notes.values()]
    pieces = [*_pieces(Prompt.whole(task).drop("format")), *notes]
    return _report(Linted(pieces, (), labels, bool(describe(task.form)), listed=True), raw)


def _pieces(prompt: Prompt) -> list[PromptPiece]:
    named = [(part, getattr(prompt, part)) for part in ("persona", "audience", "instruction", "context", "format")]
    return [
        *(PromptPiece(part, text) for part, text in named if text),
        *(PromptPiece("constraints", rule) for rule in prompt.constraints),
    ]


def _report(given: Linted, raw: str) -> LintReport:
    found = {_place(raw, piece, hit) for piece, hit in _hits(given)}
    return LintReport(tuple(sorted(found, key=lambda one: (one.start, one.rule, one.end, one.reason))))


def _hits(given: Linted) -> Iterator[Placed]:
    asked = given.asked
    whole = "\n".join(piece.text for piece in asked)
    for piece in given.pieces:
        yield from ((piece, hit) for hit in piece_hits(piece, asked, given.variables))
    first = next((piece for piece in asked if piece.text.strip()), PromptPiece("instruction", ""))
    yield from ((first, hit) for hit in missing(whole, first, given))
    yield from conflicts(asked)
    yield from ((first, hit) for hit in examples(given.shots, whole, given.labels))
    if given.labels and not given.listed:
        yield from ((first, hit) for hit in unsaid(whole, given.shots, given.labels))
    yield from ((piece, hit) for piece in asked for hit in strangers(piece, given.labels))


def _place(raw: str, piece: PromptPiece, hit: Hit) -> Finding:
    rule, level, start, end, reason, rewrite = hit
    at = raw.find(piece.text) if piece.text else 0
    if at >= 0:
        start, end = at + start, at + end
    else:  # the file folds its lines: look for the words themselves, after the beginning of the text they stand in
        opening = re.search(_loose(piece.text[:40]), raw)
        base = opening.start() if opening else 0
        words = re.compile(_loose(piece.text[start:end])).search(raw, base) if end > start else None
        start, end = (words.start(), words.end()) if words else (base, base)
    line = raw.count("\n", 0, start) + 1
    column = start - (raw.rfind("\n", 0, start) + 1) + 1
    return Finding(rule, level, line, column, start, end, raw[start:end], reason, rewrite)


def _loose(text: str) -> str:
    return r"\s+".join(re.escape(word) for word in text.split())


def lint_source(what: str) -> tuple[str, LintReport]:
    """Lint a template file, a task file (or a pack's name), a text file, or the text itself; also its title.

    A template's own mistake (syntax, a variable that is not declared) is a finding. Raises InputError for a file that
    cannot be read, or a task that has mistakes.
    """
    from rung import tasks
    from rung.core.parts import registry

    path = Path(what)
    if len(what) >= 1000 or "\n" in what:
        return "text", lint(what)
    is_yaml = path.suffix in (".yaml", ".yml")
    if what in registry.table("pack") or path.is_dir() or (path.is_file() and is_yaml):
        file = tasks.locate(what)
        examination = tasks.examine(what)
        if examination.task is None:
            raise InputError(f"{what}: the task has mistakes", remedy=f"type: rung validate {what}")
        return str(file), lint_task(examination.task, file.read_text(encoding="utf-8"))
    if path.is_file():
        return what, _lint_file(path)
    if path.suffix.lower() in (*SUFFIXES, ".yaml", ".yml") and " " not in what:
        raise InputError(f"{what}: no such file", remedy="name a file, or give the prompt's text in quotes")
    return "text", lint(what)


def _lint_file(path: Path) -> LintReport:
    from rung.prompts.patterns.asking.written import Saved
    from rung.prompts.template import library

    try:
        raw = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the prompt: {error}", file=path, remedy="give a text file in UTF-8") from None
    if path.suffix == ".txt" and not raw.startswith("---"):
        return lint(raw)
    try:
        return lint_template(library.find(str(path), Saved()).flat, raw)
    except InputError as error:
        at = error.line or 1
        start = sum(len(line) for line in raw.splitlines(keepends=True)[: at - 1])
        return LintReport((Finding("template", "error", at, 1, start, start, "", error.message, error.remedy),))
