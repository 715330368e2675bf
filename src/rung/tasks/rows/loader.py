"""From a task file to a Task: everything checked, splits drawn or taken, duplicates kept apart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.problem import Problem, Problems
from rung.core.types import Budget, Example, Guard, ResponseFormat, Split, Task
from rung.tasks.file.check import check
from rung.tasks.file.definition import STDLIB_CORPUS
from rung.tasks.file.yaml import parse
from rung.tasks.rows.answers import check_leaks, check_references, read_form, read_schema
from rung.tasks.rows.checker import Draft, TaskChecker
from rung.tasks.rows.divide import Findings, check_balance, divide, write_down
from rung.tasks.rows.names import check_names
from rung.tasks.rows.rows import identify, read_rows, read_tables


@dataclass(frozen=True, slots=True)
class Examination:
    """A task file read and checked: the problems, the task (None when there are errors) and what was found."""

    problems: tuple[Problem, ...]
    task: Task | None
    findings: Findings


def examine(path: Path, *, freeze: bool = False) -> Examination:
    """Read the task file at ``path`` and everything it names. With ``freeze`` newly drawn splits are written down."""
    began = time.perf_counter()
    problems = Problems()
    parsed = parse(path, problems)
    definition = check(parsed[0], parsed[1], path, problems) if parsed else None
    if parsed is None or definition is None:
        return Examination(problems.close(), None, Findings())
    try:
        task, findings = _examine(TaskChecker(path, definition, parsed[1], problems), freeze)
    except InputError as error:  # what ends the examination, such as a pattern that takes too long
        problems.add(error.message, error.remedy, file=path if error.file is None else "", code=error.code)
        task, findings = None, Findings()
    findings = replace(findings, seconds=time.perf_counter() - began)
    return Examination(problems.close(), None if problems.failed else task, findings)


def _examine(checker: TaskChecker, freeze: bool) -> tuple[Task | None, Findings]:
    check_names(checker)
    schema = read_schema(checker)
    if checker.definition.private is not None:
        check = checker.place(checker.definition.private.check, "private", "check")
        if check is not None and not check.is_file():
            checker.report(
                f"there is no {check}", "name the file with marked texts: see docs/recipes.md", "private", "check"
            )
    passages = _passages(checker)
    rows = read_rows(checker, read_tables(checker))
    form = read_form(checker, rows, schema)
    check_references(checker, rows, form)
    check_leaks(checker, rows, form)
    identify(checker, rows)
    if not rows:
        if not checker.problems.failed:
            checker.report("the data hold no rows", "add rows", "data")
        return None, Findings()
    splits, findings, drawn = divide(checker, rows, form)
    check_balance(checker, splits, form, findings)
    if checker.problems.failed:
        return None, findings
    if freeze and drawn is not None:
        write_down(checker, drawn)
    return _task(checker, splits, form, passages), findings


def _passages(checker: TaskChecker) -> dict[str, str]:
    source = checker.definition.passages
    if source is None:
        return {}
    from rung.tasks.rows.passages import corpus

    place = Path(STDLIB_CORPUS) if source.file == STDLIB_CORPUS else checker.place(source.file, "passages")
    if place is None:
        return {}
    return corpus(source, place, checker.problems, task=checker.path, line=checker.line("passages"))


def _task(
    checker: TaskChecker, splits: Mapping[Split, Sequence[Draft]], form: ResponseFormat, passages: Mapping[str, str]
) -> Task:
    definition = checker.definition
    notes = definition.answer.notes
    guard = None
    if (
        definition.private is not None
        and (check := checker.place(definition.private.check, "private", "check")) is not None
    ):
        guard = Guard(str(check.resolve()), definition.private.recall)
    meaning = {
        "name": definition.name,
        "instruction": definition.instruction.strip(),
        "constraints": definition.constraints,
        "persona": definition.persona.strip(),
        "form": form,
        "fields": tuple(definition.columns.input),
        "label_notes": notes,
        "rules": definition.rules,
        "metrics": definition.metrics,
        "max_tokens": definition.max_tokens,
        "overflow": definition.overflow,
    }
    meaning |= definition.acting
    examples = {
        name: tuple(Example(row.id, row.input, row.reference, row.metadata) for row in members)
        for name, members in splits.items()
    }
    return Task(
        name=definition.name,
        instruction=definition.instruction.strip(),
        form=form,
        fields=tuple(definition.columns.input),
        train=examples["train"],
        dev=examples["dev"],
        test=examples["test"],
        metrics=tuple(_metric(checker.path, spec) for spec in definition.metrics),
        # Not in it: what only decides how far and how to climb (models, rungs, budget, target, tolerance).
        hash=digest([meaning, {name: [(row.id, row.key) for row in members] for name, members in splits.items()}, digest(passages)]),
        constraints=definition.constraints,
        persona=definition.persona.strip(),
        label_notes=notes,
        rules=definition.rules,
        passages=passages,
        models=definition.models,
        rungs=tuple(choice.choice for choice in definition.rungs),
        budget=Budget(**definition.budget.model_dump()),
        target=definition.target,
        tolerance=definition.tolerance,
        max_tokens=definition.max_tokens,
        overflow=definition.overflow,
        description=definition.description.strip(),
        licence=definition.licence,
        path=str(checker.path),
        private=guard,
        **definition.acting,
    )  # fmt: skip


def _metric(task: Path, spec: str) -> str:
    """A metric whose argument is a file beside the task file: as PACK/FILE or a whole path, which are found from
    anywhere."""
    name, colon, argument = spec.partition(":")
    file = task.parent / argument.strip()
    if not colon or len(argument) > 200 or not argument.strip() or not file.is_file():
        return spec
    pack = task.parent.name
    if pack in registry.table("pack") and Path(registry.load("pack", pack)).parent == task.parent:
        return f"{name}:{pack}/{argument.strip()}"
    return f"{name}:{file.resolve()}"
