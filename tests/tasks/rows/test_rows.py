"""What a task may say of its rows: empty ones, patterns, files' names; and labels that are not what they look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung import tasks
from rung.tasks.rows.loader import Examination

WORDS = ("lamp", "kettle", "tent", "rope", "map", "stove", "boots", "torch", "helmet", "jacket", "parcel", "voucher")


def examined(folder: Path, rows: list[dict[str, Any]], **keys: Any) -> Examination:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "name": "t", "instruction": "Say.", "data": "rows.jsonl", "columns": {"input": "text", "reference": "label"},
        "answer": "labels", "metrics": ["accuracy"], "split": {"near": "off"},
    } | keys  # fmt: skip
    (folder / "task.yaml").write_text(json.dumps(task))
    return tasks.examine(folder / "task.yaml")


def rows(labels: str = "ab", form: str = "The {} is here, number {}.") -> list[dict[str, Any]]:
    return [{"text": form.format(word, n), "label": labels[n % len(labels)]} for n, word in enumerate(WORDS * 2)]


def warnings(found: Examination) -> list[str]:
    return [problem.message for problem in found.problems if problem.level == "warning"]


def test_empty_rows_are_skipped_when_asked(tmp_path: Path) -> None:
    some = [*rows(), {"text": " ", "label": "a"}, {"text": "No label.", "label": None}, {"text": "None", "label": ""}]
    assert examined(tmp_path, some).task is None
    found = examined(tmp_path, some, empty="skip")
    assert found.task is not None
    assert (found.findings.skipped, found.findings.read) == (3, 24)


def test_a_pattern_takes_the_input_out_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("".join(f"{row['label']}: {row['text']}\n" for row in rows()))
    columns = {
        "input": {"text": {"column": "line", "pattern": "^[ab]: (.*)"}},
        "reference": {"column": "line", "pattern": "^([ab]):"},
    }
    found = examined(tmp_path, [], data={"file": "log.txt", "format": "lines"}, columns=columns)
    assert found.problems == ()
    assert found.task is not None
    assert found.task.train[0].input["text"].startswith("The ")
    columns["input"]["text"]["pattern"] = "^x"  # type: ignore[index]
    found = examined(tmp_path, [], data={"file": "log.txt", "format": "lines"}, columns=columns)
    assert (found.problems[0].line, found.task) == (1, None)


def test_a_label_is_taken_from_the_name_of_a_file(tmp_path: Path) -> None:
    for number, row in enumerate(rows()):
        (tmp_path / "texts" / row["label"]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / row["label"] / f"{number}.txt").write_text(row["text"])
    columns = {"input": "text", "reference": {"column": "$file", "pattern": "texts/([^/]+)/"}}
    found = examined(tmp_path, [], data={"file": "texts", "format": "texts"}, columns=columns)
    assert found.task is not None
    assert set(found.task.form.labels) == {"a", "b"}
    assert len(found.task.train) + len(found.task.dev) + len(found.task.test) == 24


@pytest.mark.parametrize(
    "labels",
    [
        ("caf\u00e9", "cafe\u0301"),
        ("up", "u\u200bp"),
        ("1", "1.0"),
        ("a b", "a\u00a0b"),
        ("ﬁne", "fine"),
        ("yes", "YES"),
    ],
)
def test_labels_that_look_alike_are_told(labels: tuple[str, str], tmp_path: Path) -> None:
    some = [{**row, "label": (*labels, "other")[n % 3]} for n, row in enumerate(rows())]
    assert any("differ in writing" in message for message in warnings(examined(tmp_path, some)))


def test_labels_that_are_no_values_are_told_or_kept_as_written(tmp_path: Path) -> None:
    some = [{**row, "label": ("nan", "yes")[n % 2]} for n, row in enumerate(rows())]
    assert any("missing" in message for message in warnings(examined(tmp_path, some)))
    task = (
        "name: t\ninstruction: Say.\ndata: rows.jsonl\ncolumns: {input: text, reference: label}\n"
        "answer: {labels: [yes, null, ~, 1.10, TRUE, 0x1]}\nmetrics: [accuracy]\nsplit: {near: off}\n"
    )
    kinds = ("yes", "null", "~", "1.10", "TRUE", "0x1")
    some = [{**row, "label": kinds[n % 6]} for n, row in enumerate(rows())]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (tmp_path / "task.yaml").write_text(task)
    found = tasks.examine(tmp_path / "task.yaml")
    assert found.task is not None, found.problems
    assert found.task.form.labels == kinds


def test_a_reference_that_stands_in_the_input_is_told(tmp_path: Path) -> None:
    some = [{"text": f"{row['text']} ({name})", "label": name} for row in rows() for name in ("alpha", "beta")]
    assert any("stands in the input" in message for message in warnings(examined(tmp_path, some)))
    listed = [{**row, "text": f"{row['text']} alpha or beta?"} for row in some]
    assert not any("stands in the input" in message for message in warnings(examined(tmp_path, listed)))
    both = {"input": ["text", "label"], "reference": "label"}
    assert any(
        "the column of the reference" in message for message in warnings(examined(tmp_path, rows(), columns=both))
    )
