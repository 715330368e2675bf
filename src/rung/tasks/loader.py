"""From a task file to a Task: rows to examples, everything checked, splits drawn or taken, duplicates kept apart."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, cast

from rung.core import registry
from rung.core.codec import digest
from rung.core.types import Budget, Example, Form, RungChoice, Split, Task
from rung.tasks import near, reader
from rung.tasks.definition import STDLIB_CORPUS, Definition, Location, Source, check, expand, line_of, parse
from rung.tasks.problem import Problem, Problems, nearest
from rung.tasks.split import SPLITS, Item, Lock, Place, draw, lock_path, rank, read_lock, write_lock

HUGE = 1_000_000
"""Characters in one field beyond which a row is a mistake."""

FITS: dict[str, tuple[str, ...]] = {
    "accuracy": ("labels", "regex", "grammar"),
    "macro-f1": ("labels",),
    "micro-f1": ("labels",),
    "json-valid": ("json",),
    "schema-valid": ("json",),
    "field-f1": ("json",),
    "number": ("number", "text", "regex"),
    "token-f1": ("text", "number", "regex", "grammar"),
    "squad-em": ("text", "number", "regex", "grammar"),
    "bleu": ("text",),
    "chrf": ("text",),
    "rouge-1": ("text",),
    "rouge-2": ("text",),
    "rouge-l": ("text",),
    "rouge-lsum": ("text",),
}
"""The forms of answer that built-in metrics can judge; a metric that is not listed judges any."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in the data. Duplicates are rows beyond the first of their cluster; ``dropped`` are train and dev rows
    that repeat a row of a split that is kept as given; ``added`` and ``gone`` compare with the frozen splits."""

    rows: Mapping[str, int] = field(default_factory=dict)
    read: int = 0
    labels: int = 0
    exact: int = 0
    near: int = 0
    largest: int = 1
    straddling: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    conflicts: int = 0
    added: int = 0
    gone: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Examination:
    """A task file read and checked: the problems, the task (None when there are errors) and what was found."""

    problems: tuple[Problem, ...]
    task: Task | None
    findings: Findings


@dataclass(slots=True)
class _Read:
    """A row on its way to an example."""

    row: reader.Row
    split: str
    input: dict[str, str]
    reference: Any = None
    group: str | None = None
    id: str = ""
    key: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def examine(path: Path, *, freeze: bool = False) -> Examination:
    """Read the task file at ``path`` and everything it names. With ``freeze`` newly drawn splits are written down."""
    began = time.perf_counter()
    problems = Problems()
    parsed = parse(path, problems)
    definition = check(parsed[0], parsed[1], path, problems) if parsed else None
    if parsed is None or definition is None:
        return Examination(problems.close(), None, Findings())
    work = _Work(path, definition, parsed[1], problems)
    task, findings = work.run(freeze)
    findings = replace(findings, seconds=time.perf_counter() - began)
    return Examination(problems.close(), None if problems.failed else task, findings)


class _Work:
    """One examination. Each step adds problems and goes on, so that everything is told at once."""

    def __init__(self, path: Path, definition: Definition, lines: Mapping[Location, int], problems: Problems) -> None:
        self.path, self.definition, self.lines, self.problems = path, definition, lines, problems
        self.drawn: tuple[Path, Lock, str] | None = None

    def line(self, *location: str | int) -> int | None:
        return line_of(self.lines, *location)

    def tell(self, message: str, remedy: str, *location: str | int, level: str = "error") -> None:
        self.problems.add(
            message,
            remedy,
            file=self.path,
            line=self.line(*location),
            level="warning" if level == "warning" else "error",
        )

    def complain(self, item: reader.Row, message: str, remedy: str, kind: str, *, level: str = "error") -> None:
        lines = (
            item.file.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".txt"))
        )
        self.problems.add(
            message if lines else f"row {item.line:,}: {message}", remedy, file=item.file,
            line=item.line if lines else None, level="warning" if level == "warning" else "error", kind=kind,
        )  # fmt: skip

    def run(self, freeze: bool) -> tuple[Task | None, Findings]:
        self.names()
        schema = self.schema()
        passages = self.passages()
        tables = self.tables()
        rows = self.rows(tables)
        form = self.form(rows, schema)
        self.references(rows, form)
        self.identify(rows)
        if not rows:
            if not self.problems.failed:
                self.tell("the data hold no rows", "add rows", "data")
            return None, Findings()
        splits, findings = self.split(rows, form)
        self.balance(splits, form)
        if self.problems.failed:
            return None, findings
        if freeze:
            self.freeze()
        return self.task(splits, form, passages), findings

    # ------------------------------------------------------------ names

    def names(self) -> None:
        """Metrics, rungs, models: are they known, and do they fit?"""
        definition = self.definition
        metrics = registry.table("metric")
        for index, spec in enumerate(definition.metrics):
            name = spec.partition(":")[0]
            if name not in metrics:
                self.tell(f"unknown metric {name!r}", nearest(name, metrics), "metrics", index)
            elif name in FITS and definition.answer.kind not in FITS[name]:
                fitting = [
                    other for other in metrics if definition.answer.kind in FITS.get(other, (definition.answer.kind,))
                ]
                self.tell(
                    f"metric {name!r} judges answers of the form {' or '.join(FITS[name])}; this task's are {definition.answer.kind}",
                    f"choose from: {', '.join(fitting)}", "metrics", index,
                )  # fmt: skip
        for index, spec in enumerate(definition.metrics):
            if spec in definition.metrics[:index]:
                self.tell(f"metric {spec!r} is named twice", "keep one", "metrics", index)
        for index, choice in enumerate(definition.rungs):
            self.rung(choice.choice, index)
        titles = Counter(choice.choice.title for choice in definition.rungs)
        for title, count in titles.items():
            if count > 1:
                self.tell(
                    f"{count} rungs are called {title!r}", "give each a label: {label: LABEL, use: NAME, ...}", "rungs"
                )
        providers = registry.table("provider")
        for index, model in enumerate(definition.models):
            provider, colon, _ = model.partition(":")
            if not colon or provider not in providers:
                self.tell(
                    f"model {model!r}: expected PROVIDER:NAME" if not colon else f"model {model!r}: unknown provider {provider!r}",
                    nearest(provider, providers), "models", index,
                )  # fmt: skip
        kind = definition.answer.kind
        if definition.rules and kind not in ("labels", "json"):
            self.tell(f"rules need an answer of labels or json, this task's is {kind}", "remove `rules`", "rules")

    def rung(self, choice: RungChoice, index: int) -> None:
        known = registry.table("rung")
        if choice.name not in known:
            self.tell(f"unknown rung {choice.name!r}", nearest(choice.name, known), "rungs", index)
            return
        if choice.options:
            wrong = wrong_options(choice)
            if wrong:
                self.tell(*wrong, "rungs", index)

    # ------------------------------------------------------------ files that the task names

    def place(self, text: str, *location: str | int) -> Path | None:
        """A path of the task file, variables expanded, relative to it; None (and a problem) when a variable is not set."""
        expanded, missing = expand(text)
        if missing:
            self.tell(f"{text} names ${{{missing}}}, which is not set", f"type: export {missing}=FOLDER", *location)
            return None
        place = Path(expanded).expanduser()
        return place if place.is_absolute() else self.path.parent / place

    def schema(self) -> dict[str, Any]:
        answer = self.definition.answer
        if answer.kind != "json":
            return {}
        document, file = answer.document, self.path
        if answer.file is not None:
            place = self.place(answer.file, "answer", "json")
            if place is None:
                return {}
            file = place
            try:
                document = json.loads(place.read_text(encoding="utf-8-sig"))
            except OSError as error:
                self.tell(
                    f"cannot read the JSON schema {place}: {error.strerror}", "correct the path", "answer", "json"
                )
                return {}
            except ValueError as error:
                self.problems.add(
                    f"not valid JSON: {error}", "correct it", file=place, line=getattr(error, "lineno", None)
                )
                return {}
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(cast(Any, document))
        except SchemaError as error:
            where = "/".join(str(part) for part in error.absolute_path)
            self.problems.add(
                f"not a valid JSON schema{f' at {where}' if where else ''}: {error.message}", "correct the schema",
                file=file, line=self.line("answer", "json", *error.absolute_path) if file == self.path else None,
            )  # fmt: skip
            return {}
        if not isinstance(document, dict) or document.get("type", "object") != "object":
            self.tell(
                "the JSON schema describes no object", "make it `type: object` with `properties`", "answer", "json"
            )
            return {}
        return document

    def passages(self) -> dict[str, str]:
        source = self.definition.passages
        if source is None:
            return {}
        from rung.tasks.passages import corpus

        place = Path(STDLIB_CORPUS) if source.file == STDLIB_CORPUS else self.place(source.file, "passages")
        if place is None:
            return {}
        return corpus(source, place, self.problems, task=self.path, line=self.line("passages"))

    def tables(self) -> list[reader.Table]:
        """The tables of all sources; ``split`` is set where the task file or a dataset folder says it."""
        out: list[reader.Table] = []
        data = self.definition.data
        for split, sources in (("", data.whole), ("train", data.train), ("dev", data.dev), ("test", data.test)):
            for index, source in enumerate(sources):
                location: tuple[str | int, ...] = ("data", split, index) if split else ("data", index)
                place = self.place(source.file, *location)
                if place is None:
                    continue
                merged: Source = source.under(self.definition.reader)
                found = reader.read(merged, place, self.problems, line=self.line(*location), task=self.path)
                for table in found:
                    if split:
                        table.split = split
                    if not table.rows and not self.problems.failed:
                        self.problems.add("there are no rows in it", "add rows, or correct `reader`", file=place)
                out.extend(found)
        return out

    # ------------------------------------------------------------ rows

    def rows(self, tables: Sequence[reader.Table]) -> list[_Read]:
        columns = self.definition.columns
        wanted = [("input", field_, column) for field_, column in columns.input.items()]
        if columns.reference is not None:
            wanted.append(("reference", "", columns.reference.column))
        wanted += [(name, "", column) for name in ("id", "group", "split") if (column := getattr(columns, name))]
        wanted += [("metadata", "", column) for column in columns.metadata]
        out: list[_Read] = []
        for table in tables:
            lacking = []
            for role, name, column in wanted:
                head = re.split(r"[.\[]", column)[0]
                if column not in table.columns and head not in table.columns:
                    lacking.append((role, name, column))
            if not table.rows:
                continue
            for role, name, column in lacking:
                file = table.rows[0].file
                hint = nearest(column, table.columns)
                shown = ", ".join(table.columns[:20])
                self.tell(
                    f"there is no column {column!r} in {file}; the columns are: {shown}",
                    hint if hint.startswith("did") else f"name one of them in `columns.{role}`",
                    "columns", role, *([name] if name else []),
                )  # fmt: skip
            if not lacking:
                out += [self.row(row, table.split) for row in table.rows]
        self.mixed(out)
        return [row for row in out if row.input]

    def row(self, row: reader.Row, split: str) -> _Read:
        columns = self.definition.columns
        input: dict[str, str] = {}
        for name, column in columns.input.items():
            text = self.plain(reader.value(row, column), row, name)
            if len(text) > HUGE:
                self.complain(
                    row, f"field {name!r} has {len(text):,} characters, at most {HUGE:,} are read",
                    "shorten or split it; if this is unclosed quotes: `reader: {quote: none}`", "huge field",
                )  # fmt: skip
                text = text[:100]
            input[name] = text
        read = _Read(row, split, input)
        if not any(text.strip() for text in input.values()):
            self.complain(row, f"the input is empty ({', '.join(input)})", "fill it or remove the row", "empty input")
        if columns.split is not None:
            given = str(reader.value(row, columns.split)).strip().lower()
            if given not in reader.SPLITS:
                self.complain(
                    row, f"split {given!r}, expected train, dev or test", "correct it in the column "
                    f"{columns.split!r}", "unknown split",
                )  # fmt: skip
            else:
                read.split = reader.SPLITS[given]
        if columns.group is not None:
            group = reader.value(row, columns.group)
            read.group = None if group in (None, "", reader.ABSENT) else str(group)
        if columns.id is not None:
            id = reader.value(row, columns.id)
            read.id = "" if id is None or id is reader.ABSENT else str(id).strip()
            if not read.id:
                self.complain(row, "the id is empty", "fill it, or remove `columns.id`", "empty id")
        for column in columns.metadata:
            found = reader.value(row, column)
            if found is not reader.ABSENT:
                read.metadata[column] = found
        if columns.reference is not None:
            read.reference = reader.value(row, columns.reference.column)
            if read.reference is reader.ABSENT:
                read.reference = None
        return read

    def plain(self, found: Any, row: reader.Row, name: str) -> str:
        if isinstance(found, str):
            return found
        if found is None or found is reader.ABSENT:
            return ""
        if isinstance(found, bool | int | float):
            return json.dumps(found)
        self.complain(
            row, f"field {name!r} is a {type(found).__name__}, expected text",
            "name what lies inside, as in `meta.title` or `turns[].text`", "not text",
        )  # fmt: skip
        return ""

    def mixed(self, rows: Sequence[_Read]) -> None:
        """Columns in which some values are text and others numbers: mostly a mistake in how the data were written."""
        columns = self.definition.columns
        watched = [("input", column) for column in columns.input.values()]
        if columns.reference is not None and self.definition.answer.kind == "labels":
            watched.append(("reference", columns.reference.column))
        for role, column in watched:
            first: dict[str, reader.Row] = {}
            for row in rows:
                found = reader.value(row.row, column)
                if isinstance(found, str | bool | int | float):
                    first.setdefault(type(found).__name__, row.row)
            if len(first) > 1:
                ways = ", ".join(f"{kind} (first in row {row.line:,})" for kind, row in first.items())
                self.problems.add(
                    f"column {column!r} mixes types: {ways}", "write all values as text",
                    file=next(iter(first.values())).file, level="error" if role == "reference" else "warning",
                )  # fmt: skip

    # ------------------------------------------------------------ references

    def form(self, rows: Sequence[_Read], schema: Mapping[str, Any]) -> Form:
        """The form of the answer, its labels taken from the data where they are ``auto``; references become what it says."""
        answer = self.definition.answer
        self.extract(rows)
        if answer.kind == "json":
            return Form("json", schema=schema)
        if answer.kind != "labels":
            return Form(answer.kind, pattern=answer.pattern)
        for row in rows:
            if isinstance(row.reference, list):
                self.complain(row.row, "the label is a list, expected one label", "one label a row", "several labels")
                row.reference = None
            elif row.reference is not None:
                written = json.dumps(row.reference) if isinstance(row.reference, bool | int | float) else row.reference
                row.reference = str(written).strip() or None
        counts = Counter(row.reference for row in rows if row.reference is not None)
        labels = tuple(sorted(counts)) if answer.auto else answer.labels
        if answer.auto and len(labels) > max(20, len(rows) // 2):
            self.tell(
                f"{len(labels):,} different labels in {len(rows):,} rows: this looks like free text",
                "check `columns.reference`, or write `answer: text`", "answer", level="warning",
            )  # fmt: skip
        folded: defaultdict[str, list[str]] = defaultdict(list)
        for label in dict.fromkeys((*labels, *counts)):
            folded[" ".join(re.split(r"[\W_]+", label.casefold()))].append(label)
        for alike in folded.values():
            if len(alike) > 1:
                self.tell(
                    f"labels that differ in writing only: {', '.join(map(repr, alike))}", "make them one, in `columns.reference.map`"
                    " or in the data", "answer", level="warning",
                )  # fmt: skip
        if not answer.auto:
            known = set(labels)
            for row in rows:
                if row.reference is not None and row.reference not in known:
                    self.complain(
                        row.row,
                        f"the label {row.reference!r} is not in `answer.labels`",
                        nearest(row.reference, known),
                        "unknown label",
                    )
            for label in labels:
                if label not in counts and rows:
                    self.tell(f"no row has the label {label!r}", "remove it, or add rows", "answer", "labels", label, level="warning")  # fmt: skip
        if rows and len(set(labels)) < 2:
            self.tell(
                f"there is only one label: {next(iter(labels), 'none')!r}; nothing is to be told apart",
                "check `columns.reference`, or add rows of other labels", "answer",
            )  # fmt: skip
        for label in self.definition.rules:
            if label not in labels:
                self.tell(f"rules for {label!r}, which is no label", nearest(label, labels), "rules", label)
        return Form("labels", labels=labels)

    def extract(self, rows: Sequence[_Read]) -> None:
        """Apply pattern, separator and map; one of several equal answers is one answer."""
        reference = self.definition.columns.reference
        if reference is None:
            return
        pattern = re.compile(reference.pattern) if reference.pattern else None
        for row in rows:
            found = row.reference
            if isinstance(found, str) and not found.strip():
                found = None
            if pattern is not None and found is not None:
                match = pattern.search(str(found))
                if match is None:
                    self.complain(
                        row.row, f"the reference {_short(found)} does not match `pattern`", "correct the row or `columns.reference.pattern`",
                        "reference without match",
                    )  # fmt: skip
                    found = None
                else:
                    found = match[1] if pattern.groups else match[0]
            if reference.separator is not None and isinstance(found, str):
                found = [part.strip() for part in found.split(reference.separator) if part.strip()]
            if reference.map and found is not None and not isinstance(found, list):
                written = found.strip() if isinstance(found, str) else json.dumps(found)
                if written not in reference.map:
                    self.complain(
                        row.row,
                        f"the reference {_short(found)} is not in `map`",
                        nearest(written, reference.map),
                        "reference not mapped",
                    )
                found = reference.map.get(written)
            if isinstance(found, list):
                found = list(dict.fromkeys(found)) if all(isinstance(item, str) for item in found) else found
                if len(found) < 2:
                    found = found[0] if found else None
            row.reference = found

    def references(self, rows: Sequence[_Read], form: Form) -> None:
        """Does every reference have the form of the answer?"""
        if self.definition.columns.reference is None:
            if form.kind not in ("text", "grammar", "regex"):
                self.tell(f"answers of the form {form.kind} need `columns.reference`", "name the column", "columns")
            return
        check_json = None
        if form.kind == "json":
            from jsonschema import Draft202012Validator

            check_json = Draft202012Validator(form.schema)
        for row in rows:
            found = row.reference
            if found is None:
                continue
            if form.kind == "number":
                row.reference = number(found)
                if row.reference is None:
                    self.complain(
                        row.row, f"the reference {_short(found)} is not a number", "write a number, or take it out of the text: "
                        "`columns.reference: {column: C, pattern: REGEX}`", "not a number",
                    )  # fmt: skip
            elif form.kind == "json":
                assert check_json is not None
                row.reference = self.document(row, check_json)
            elif form.kind in ("regex", "grammar"):
                row.reference = found if isinstance(found, str) else str(found)
                if form.kind == "regex" and re.fullmatch(form.pattern, row.reference) is None:
                    self.complain(
                        row.row, f"the reference {_short(found)} does not match the answer's regex {form.pattern!r}",
                        "correct the row or `answer.regex`", "reference against regex",
                    )  # fmt: skip
            elif form.kind == "text" and not isinstance(found, str):
                if isinstance(found, list) and all(isinstance(item, str) for item in found):
                    continue
                if isinstance(found, bool | int | float):
                    row.reference = json.dumps(found)
                else:
                    self.complain(
                        row.row, f"the reference is a {type(found).__name__}, expected text or a list of texts",
                        "name what lies inside, as in `answers[].text`", "reference not text",
                    )  # fmt: skip

    def document(self, row: _Read, validator: Any) -> Any:
        found = row.reference
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except ValueError as error:
                self.complain(row.row, f"the reference is not JSON: {error}", "correct the cell", "reference not JSON")
                return None
        failed = next(
            iter(sorted(validator.iter_errors(found), key=lambda error: list(map(str, error.absolute_path)))), None
        )
        if failed is not None:
            where = ".".join(str(part) for part in failed.absolute_path)
            self.complain(
                row.row, f"the reference violates the schema{f' at {where}' if where else ''}: {_short(failed.message, 160)}",
                "correct the row or the schema", "reference against schema",
            )  # fmt: skip
        return found

    # ------------------------------------------------------------ ids and splits

    def identify(self, rows: Sequence[_Read]) -> None:
        """Ids: given, or the hash of input and reference; equal rows get -2, -3, ... in the order they stand."""
        seen: dict[str, reader.Row] = {}
        count: Counter[str] = Counter()
        given = self.definition.columns.id is not None
        for row in rows:
            row.key = digest([list(row.input.items()), row.reference])
            if not given:
                row.id = row.key[:12]
                count[row.id] += 1
                if count[row.id] > 1:
                    row.id += f"-{count[row.id]}"
            elif row.id in seen:
                first = seen[row.id]
                self.complain(
                    row.row, f"the id {row.id!r} is there twice (first in row {first.line:,} of {first.file.name})",
                    "make ids distinct, or remove `columns.id`", "id twice",
                )  # fmt: skip
            else:
                seen[row.id] = row.row

    def split(self, rows: Sequence[_Read], form: Form) -> tuple[dict[Split, list[_Read]], Findings]:
        settings = self.definition.split
        exact, alike, whole = near.clusters(
            [tuple(row.input.values()) for row in rows], settings.near, [row.group for row in rows]
        )
        sizes = Counter(alike.tolist())
        given = {row.split for row in rows if row.split}
        answers: defaultdict[int, dict[str, _Read]] = defaultdict(dict)
        for row, first in zip(rows, exact.tolist(), strict=True):
            if row.reference is not None:
                answers[first].setdefault(digest(row.reference), row)
        conflicts = [list(found.values()) for found in answers.values() if len(found) > 1]
        if conflicts and form.kind in ("labels", "number"):
            pair = conflicts[0]
            self.complain(
                pair[1].row, f"{len(conflicts):,} inputs have more than one answer; here {_short(pair[1].reference)}, in row "
                f"{pair[0].row.line:,} of {pair[0].row.file.name} {_short(pair[0].reference)} for the same input", "correct the wrong one", "", level="warning",
            )  # fmt: skip
        dropped: Counter[str] = Counter()
        straddling = 0
        places: list[Place] = [cast(Place, row.split) if row.split else "out" for row in rows]
        added = gone = 0
        if given:
            if any(not row.split for row in rows) and "train" in given:
                self.tell(
                    "some sources have a split and others have none", "name the split of each under `data`", "data"
                )
            straddling, drops = self.straddle(rows, whole.tolist())
            for index in drops if settings.duplicates == "drop" else ():
                dropped[rows[index].split] += 1
                places[index] = "out"
            if dropped:
                told = " and ".join(f"{count:,} of {name}" for name, count in sorted(dropped.items()))
                self.tell(
                    f"left out as (near-)duplicates or group members of rows in a later split: {told}",
                    "nothing to do; to keep them: `split: {duplicates: keep}`", "data", level="warning",
                )  # fmt: skip
        # A split that is not given is drawn: all three from rows without a split, dev from train.
        drawn: set[Split] = set()
        if not given:
            drawn = {"train", "dev", "test"}
        elif "dev" not in given:
            drawn = {"train", "dev"}
        elif "test" not in given:
            self.tell("no source gives the test split", "name it under `data`", "data")
        if drawn and not self.problems.failed:
            chosen = [index for index, row in enumerate(rows) if not given or (places[index] == "train")]
            if given and "train" not in given:
                chosen = [index for index, row in enumerate(rows) if not row.split]
            added, gone = self.place_rows(rows, chosen, whole.tolist(), drawn, form, places)
        splits: dict[Split, list[_Read]] = {}
        for name in SPLITS:
            members = [row for row, place in zip(rows, places, strict=True) if place == name]
            members.sort(key=lambda row: rank(settings.seed, row.key + row.id))
            limit = getattr(self.definition.limit, name)
            splits[name] = members if limit is None else members[:limit]
        findings = Findings(
            rows={name: len(members) for name, members in splits.items()},
            read=len(rows),
            labels=len(form.labels),
            exact=len(rows) - len(set(exact.tolist())),
            near=len(set(exact.tolist())) - len(sizes),
            largest=max(sizes.values(), default=1),
            straddling=straddling,
            dropped=dict(dropped),
            conflicts=len(conflicts),
            added=added,
            gone=gone,
        )
        if drawn and findings.largest > max(20, len(rows) // 3):
            self.tell(
                f"{findings.largest:,} of {len(rows):,} rows are near-duplicates of each other (made from one template?) and must share a split",
                "raise the threshold, `split: {near: 0.95}`, or switch it off, `near: off`", "split", level="warning",
            )  # fmt: skip
        return splits, findings

    def straddle(self, rows: Sequence[_Read], whole: Sequence[int]) -> tuple[int, list[int]]:
        """Clusters that lie in several given splits, and the rows that leave for it: never those of test."""
        order = {"train": 0, "": 0, "dev": 1, "test": 2}
        best: dict[int, int] = {}
        found: defaultdict[int, set[int]] = defaultdict(set)
        for row, cluster in zip(rows, whole, strict=True):
            best[cluster] = max(best.get(cluster, 0), order[row.split])
            found[cluster].add(order[row.split])
        drops = [index for index, row in enumerate(rows) if order[row.split] < best[whole[index]]]
        return sum(len(places) > 1 for places in found.values()), drops

    def place_rows(
        self, rows: Sequence[_Read], chosen: Sequence[int], whole: Sequence[int], drawn: set[Split], form: Form,
        places: list[Place],
    ) -> tuple[int, int]:  # fmt: skip
        """Draw the splits of the chosen rows, keeping to the lock file. Returns how many rows were added and are gone."""
        settings = self.definition.split
        total = sum(getattr(settings, name) for name in drawn)
        shares: dict[Split, float] = {name: getattr(settings, name) / total for name in SPLITS if name in drawn}
        agreed: dict[str, float | int | bool] = {
            **{str(name): round(share, 9) for name, share in shares.items()}, "seed": settings.seed, "stratify": settings.stratify,
        }  # fmt: skip
        path = lock_path(self.path, self.definition.name)
        try:
            lock = read_lock(path)
        except (ValueError, OSError) as error:
            self.problems.add(
                f"cannot read the frozen splits: {error}",
                f"restore it, or delete it to draw anew: rm {path}",
                file=path,
            )
            return 0, 0
        if lock is not None and dict(lock.settings) != agreed:
            self.tell(
                f"`split` differs from what the splits were frozen with in {path.name} (got {_settings(agreed)}; frozen {_settings(lock.settings)})",
                f"set it back, or draw anew: rm {path}", "split",
            )  # fmt: skip
            return 0, 0
        stratified = settings.stratify and form.kind == "labels"
        items = [
            Item(
                rows[index].id,
                rows[index].group or rows[index].key,
                whole[index],
                str(rows[index].reference) if stratified else "",
            )
            for index in chosen
        ]
        locked = lock.splits if lock else {}
        result = draw(items, shares, settings.seed, locked)
        for index, item in zip(chosen, items, strict=True):
            places[index] = result[item.id]
        out = sum(place == "out" for place in result.values())
        if out:
            self.tell(
                f"{out:,} rows added since the splits were frozen are left out: they tie rows of different splits together",
                f"remove them, or draw anew: rm {path}", "data", level="warning",
            )  # fmt: skip
        present = {item.id for item in items}
        added = sum(id not in locked for id in present) if lock else 0
        gone = sum(id not in present for id in locked)
        if lock is None or added:
            content = digest(sorted(rows[index].key for index in chosen))
            self.drawn = (path, Lock(agreed, {**locked, **result}), content)
        return added, gone

    def freeze(self) -> None:
        """Write down newly drawn splits; called when everything else is good."""
        if self.drawn is None:
            return
        path, lock, content = self.drawn
        try:
            write_lock(path, lock, content)
        except OSError as error:
            # A read-only folder is no reason to fail: the draw depends on nothing but the content.
            self.problems.add(
                f"cannot write the frozen splits: {error.strerror}",
                "make the folder writable, or keep the data as they are",
                file=path,
                level="warning",
            )

    def balance(self, splits: Mapping[Split, Sequence[_Read]], form: Form) -> None:
        """Empty splits, and labels that nothing can learn."""
        if self.problems.failed:
            return
        for name, members in splits.items():
            if not members:
                self.tell(
                    f"the {name} split is empty", "add rows, give it a larger share in `split`, or name a file for it under `data`", "split" if not self.definition.data.train else "data"
                )  # fmt: skip
        for name in SPLITS[1:]:
            for row in splits[name]:
                if row.reference is None and self.definition.columns.reference is not None:
                    self.complain(
                        row.row,
                        f"a row of {name} has no reference",
                        "fill it, or move the row to train",
                        "no reference",
                    )
        if form.kind != "labels":
            return
        in_train = Counter(row.reference for row in splits["train"])
        for name in SPLITS[1:]:
            unseen = Counter(
                row.reference for row in splits[name] if row.reference not in in_train and row.reference is not None
            )
            if unseen:
                shown = ", ".join(repr(label) for label in sorted(unseen)[:5]) + (", ..." if len(unseen) > 5 else "")
                self.tell(
                    f"{len(unseen)} label{'s' * (len(unseen) > 1)} in {name} never seen in train: {shown} ({sum(unseen.values())} rows)",
                    "add training rows of it, or remove it; rungs that learn cannot get these rows right", "data", level="warning",
                )  # fmt: skip
        for name, members in splits.items():
            seen = {row.reference for row in members if row.reference is not None}
            if members and len(seen) == 1:
                self.tell(
                    f"all rows of {name} have the one label {next(iter(seen))!r}",
                    "add rows of other labels, or split anew",
                    "data",
                    level="error" if name == "train" else "warning",
                )

    # ------------------------------------------------------------ the task

    def task(self, splits: Mapping[Split, Sequence[_Read]], form: Form, passages: Mapping[str, str]) -> Task:
        definition = self.definition
        notes = definition.answer.notes
        meaning = {
            "name": definition.name,
            "instruction": definition.instruction.strip(),
            "constraints": definition.constraints,
            "persona": definition.persona.strip(),
            "answer_prefix": definition.answer_prefix,
            "form": form,
            "fields": tuple(definition.columns.input),
            "label_notes": notes,
            "rules": definition.rules,
            "metrics": definition.metrics,
            "max_tokens": definition.max_tokens,
            "overflow": definition.overflow,
        }
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
            metrics=definition.metrics,
            # Not in it: what only decides how far and how to climb (models, rungs, budget, target, tolerance).
            hash=digest([meaning, {name: [(row.id, row.key) for row in members] for name, members in splits.items()}, digest(passages)]),
            constraints=definition.constraints,
            persona=definition.persona.strip(),
            answer_prefix=definition.answer_prefix,
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
            path=str(self.path),
        )  # fmt: skip


def wrong_options(choice: RungChoice) -> tuple[str, str] | None:
    """What is wrong with a rung's options (message, remedy), None when nothing is or the rung cannot be asked here."""
    import dataclasses

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


def number(value: Any) -> int | float | None:
    """A reference as a number ("1,234" is 1234), None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip().replace(",", "").replace("−", "-").lstrip("$€£").removesuffix("%").strip()
        if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
            return None
        value = float(text)
    if not isinstance(value, int | float) or not isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _short(value: Any, width: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = repr(text) if isinstance(value, str) and width == 60 else text
    return text if len(text) <= width else text[: width - 3] + "..."
