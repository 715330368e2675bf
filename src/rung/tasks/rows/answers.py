"""The form of a task's answers, and references that have it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import isfinite
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import nearest
from rung.core.text.number import number_alone
from rung.core.text.pattern import compile_pattern
from rung.core.text.schema import check_schema, offence
from rung.core.types import ResponseFormat
from rung.documents.tables.cells import loads
from rung.foundations.text.words import standing, visible
from rung.tasks.file.definition import InputField
from rung.tasks.rows.checker import Draft, TaskChecker, short

MISSING = frozenset(
    """nan -nan null none n/a #n/a n.a. na <na> nat nil ? - -- #null! #ref! #value! #div/0! #name? #num! 1.#ind 1.#qnan""".split()  # noqa: SIM905
)
"""Labels that say that there is none."""


def read_schema(checker: TaskChecker) -> dict[str, Any]:
    answer = checker.definition.answer
    if answer.kind != "json":
        return {}
    document, file = answer.document, checker.path
    if answer.file is not None:
        place = checker.place(answer.file, "answer", "json")
        if place is None:
            return {}
        file = place
        try:
            document = json.loads(place.read_text(encoding="utf-8-sig"))
        except OSError as error:
            checker.report(
                f"cannot read the JSON schema {place}: {error.strerror}", "correct the path", "answer", "json"
            )
            return {}
        except (ValueError, RecursionError) as error:
            checker.problems.add(
                f"not valid JSON: {error}", "correct it", file=place, line=getattr(error, "lineno", None)
            )
            return {}
    wrong = check_schema(document)
    if wrong is not None:
        where = "/".join(map(str, wrong.path))
        checker.problems.add(
            f"not a valid JSON schema{f' at {where}' if where else ''}: {wrong.message}", "correct the schema",
            file=file, line=checker.line("answer", "json", *wrong.path) if file == checker.path else None,
        )  # fmt: skip
        return {}
    if not isinstance(document, dict) or document.get("type", "object") != "object":
        checker.report(
            "the JSON schema describes no object", "make it `type: object` with `properties`", "answer", "json"
        )
        return {}
    return document


def read_form(checker: TaskChecker, rows: Sequence[Draft], schema: Mapping[str, Any]) -> ResponseFormat:
    """The form of the answer, its labels taken from the data where they are ``auto``; references become what it
    says."""
    answer = checker.definition.answer
    _extract(checker, rows)
    if answer.kind == "json":
        return ResponseFormat("json", schema=schema)
    if answer.kind != "labels":
        return ResponseFormat(answer.kind, pattern=answer.pattern)
    counts = _count_labels(checker, rows)
    labels = tuple(sorted(counts)) if answer.auto else answer.labels
    if answer.auto:
        _doubt_labels(checker, counts, len(rows))
    folded: defaultdict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys((*labels, *counts)):
        folded[_folded(label)].append(label)
    for alike in folded.values():
        if len(alike) > 1:
            checker.report(
                f"labels that differ in writing only: {', '.join(map(repr, alike))}", "make them one, in `columns.reference.map`"
                " or in the data", "answer", level="warning",
            )  # fmt: skip
    if not answer.auto:
        _compare_labels(checker, rows, counts)
    if rows and len(set(labels)) < 2:
        checker.report(
            f"there is only one label: {next(iter(labels), 'none')!r}; nothing is to be told apart",
            "check `columns.reference`, or add rows of other labels", "answer",
        )  # fmt: skip
    for label in checker.definition.rules:
        if label not in labels:
            checker.report(f"rules for {label!r}, which is no label", nearest(label, labels), "rules", label)
    return ResponseFormat("labels", labels=labels)


def _count_labels(checker: TaskChecker, rows: Sequence[Draft]) -> Counter[str]:
    """How often each label stands in the data; references become what is written there."""
    for row in rows:
        if isinstance(row.reference, list):
            checker.report_row(row.row, "the label is a list, expected one label", "one label a row", "several labels")
            row.reference = None
        elif row.reference is not None:
            written = json.dumps(row.reference) if isinstance(row.reference, bool | int | float) else row.reference
            row.reference = str(written).strip() or None
    return Counter(row.reference for row in rows if row.reference is not None)


def _doubt_labels(checker: TaskChecker, counts: Mapping[str, int], rows: int) -> None:
    """What makes it doubtful that labels taken from the data are labels."""
    if len(counts) > max(20, rows // 2):
        checker.report(
            f"{len(counts):,} different labels in {rows:,} rows: this looks like free text",
            "check `columns.reference`, or write `answer: text`", "answer", level="warning",
        )  # fmt: skip
    missing = [label for label in counts if label.casefold() in MISSING]
    if missing:
        checker.report(
            f"labels that look like a value that is missing: {', '.join(map(repr, missing))}",
            "leave the cells empty (`empty: skip` leaves such rows out), or list them in `answer.labels`", "answer", level="warning",
        )  # fmt: skip


def _compare_labels(checker: TaskChecker, rows: Sequence[Draft], counts: Mapping[str, int]) -> None:
    """Do the labels of the data and those of the task agree?"""
    labels = checker.definition.answer.labels
    for row in rows:
        if row.reference is not None and row.reference not in labels:
            found = nearest(row.reference, set(labels))
            checker.report_row(
                row.row, f"the label {row.reference!r} is not in `answer.labels`", found, "unknown label"
            )
    for label in labels if rows else ():
        if label not in counts:
            checker.report(
                f"no row has the label {label!r}", "remove it, or add rows", "answer", "labels", label, level="warning"
            )


_ALIKE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеіјорсухѕԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧοινϲ", "ABESIJKMHOPCTYXaeijopcyxsdqwhABEZHIKMNOPTYXoivc"
)
"""Cyrillic and Greek letters that look like Latin ones (of Unicode Technical Standard 39)."""


def _folded(label: str) -> str:
    """A label as the eye reads it: one form of each letter, nothing invisible, numbers by their value."""
    try:
        return repr(float(label))
    except ValueError:
        pass
    seen = unicodedata.normalize("NFKC", visible(label)).translate(_ALIKE)
    return " ".join(re.split(r"[\W_]+", seen.casefold())) or label


def check_leaks(checker: TaskChecker, rows: Sequence[Draft], form: ResponseFormat) -> None:
    """Does the answer stand in the input? A warning where that is so for most of the first 500 rows, and not
    for other labels too."""
    columns = checker.definition.columns
    if columns.reference is None:
        return
    for name, field in columns.input.items():
        if field == InputField(column=columns.reference.column, pattern=columns.reference.pattern):
            checker.report(
                f"the input {name!r} is the column of the reference", "take it out of `columns.input`", "columns", "input",
                level="warning",
            )  # fmt: skip
            return
    known = [row for row in rows if isinstance(row.reference, str) and row.reference][:500]
    if form.kind not in ("labels", "text") or len(known) < 10:
        return
    own = other = 0
    words = {label: re.compile(standing(label), re.IGNORECASE) for label in form.labels}
    for row in known:
        fields = row.input.values()
        if form.kind == "text":
            own += any(text.strip() == row.reference.strip() for text in fields)
        else:
            there = [label for label, word in words.items() if any(word.search(text) for text in fields)]
            own += row.reference in there
            other += any(label != row.reference for label in there)
    if own > 0.5 * len(known) and other < 0.5 * own:
        checker.report(
            f"the reference stands in the input of {own:,} of the first {len(known):,} rows: a model can copy it",
            "take it out of the input, for instance with `columns.input: {FIELD: {column: C, pattern: REGEX}}`", "columns", "input",
            level="warning",
        )  # fmt: skip


def _extract(checker: TaskChecker, rows: Sequence[Draft]) -> None:
    """Apply pattern, separator and map; one of several equal answers is one answer."""
    reference = checker.definition.columns.reference
    if reference is None:
        return
    found_by = compile_pattern(reference.pattern) if reference.pattern else None
    for row in rows:
        found = row.reference
        if isinstance(found, str) and not found.strip():
            found = None
        if found_by is not None and found is not None:
            match = found_by.search(str(found))
            if match is None:
                checker.report_row(
                    row.row, f"the reference {short(found)} does not match `pattern`", "correct the row or `columns.reference.pattern`",
                    "reference without match",
                )  # fmt: skip
                found = None
            else:
                found = match[1] if found_by.groups else match[0]
        if reference.separator is not None and isinstance(found, str):
            found = [part.strip() for part in found.split(reference.separator) if part.strip()]
        if reference.map and found is not None and not isinstance(found, list):
            written = found.strip() if isinstance(found, str) else json.dumps(found)
            if written not in reference.map:
                checker.report_row(
                    row.row,
                    f"the reference {short(found)} is not in `map`",
                    nearest(written, reference.map),
                    "reference not mapped",
                )
            found = reference.map.get(written)
        if isinstance(found, list):
            found = list(dict.fromkeys(found)) if all(isinstance(item, str) for item in found) else found
            if len(found) < 2:
                found = found[0] if found else None
        row.reference = found


def _grammar(checker: TaskChecker, form: ResponseFormat) -> Callable[[str], bool] | None:
    """Whether a text is of the form's grammar; None where nothing here can say."""
    if find_spec("llguidance") is None:
        return None
    from rung.models.engine.closed.grammar import reader

    try:
        return reader(form)
    except InputError as error:
        checker.report(error.message, error.remedy, "answer")
        return None


def check_references(checker: TaskChecker, rows: Sequence[Draft], form: ResponseFormat) -> None:
    """Does every reference have the form of the answer?"""
    if checker.definition.columns.reference is None:
        if form.kind not in ("text", "grammar", "regex"):
            checker.report(f"answers of the form {form.kind} need `columns.reference`", "name the column", "columns")
        return
    check_grammar = _grammar(checker, form) if form.kind == "grammar" else None
    for row in rows:
        found = row.reference
        if found is None:
            continue
        if form.kind == "number":
            row.reference = number(found)
            if row.reference is None:
                checker.report_row(
                    row.row, f"the reference {short(found)} is not a number", "write a number, or take it out of the text: "
                    "`columns.reference: {column: C, pattern: REGEX}`", "not a number",
                )  # fmt: skip
        elif form.kind == "json":
            row.reference = _document(checker, row, form.schema)
        elif form.kind in ("regex", "grammar"):
            row.reference = found if isinstance(found, str) else str(found)
            if form.kind == "regex" and compile_pattern(form.pattern).fullmatch(row.reference) is None:
                checker.report_row(
                    row.row, f"the reference {short(found)} does not match the answer's regex {form.pattern!r}",
                    "correct the row or `answer.regex`", "reference against regex",
                )  # fmt: skip
            if check_grammar is not None and not check_grammar(row.reference):
                checker.report_row(
                    row.row, f"the reference {short(found)} is not of the answer's grammar",
                    "correct the row or `answer.grammar`", "reference against grammar",
                )  # fmt: skip
        elif form.kind == "text":
            _check_text(checker, row, found)


def _check_text(checker: TaskChecker, row: Draft, found: Any) -> None:
    if isinstance(found, bool | int | float):
        row.reference = json.dumps(found)
    elif not isinstance(found, str) and not (isinstance(found, list) and all(isinstance(item, str) for item in found)):
        checker.report_row(
            row.row, f"the reference is a {type(found).__name__}, expected text or a list of texts",
            "name what lies inside, as in `answers[].text`", "reference not text",
        )  # fmt: skip


def _document(checker: TaskChecker, row: Draft, schema: Mapping[str, Any]) -> Any:
    found = row.reference
    if isinstance(found, str):
        try:
            found = loads(found)
        except (ValueError, RecursionError) as error:
            checker.report_row(row.row, f"the reference is not JSON: {error}", "correct the cell", "reference not JSON")
            return None
    wrong = offence(schema, found)
    if wrong is not None:
        where = ".".join(map(str, wrong.path))
        checker.report_row(
            row.row, f"the reference violates the schema{f' at {where}' if where else ''}: {wrong.message}",
            "correct the row or the schema", "reference against schema",
        )  # fmt: skip
    return found


def number(value: Any) -> int | float | None:
    """A reference as a number ("1,234" is 1234), None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        alone = number_alone(value)
        if not alone:
            return None
        value = float(alone)
    if not isinstance(value, int | float) or not isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
