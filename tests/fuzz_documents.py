"""Kinds of fuzzed inputs: documents, tables and task files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from rung.core.parts.problem import Problem, Problems
from rung.documents import scan
from rung.documents.source import parse
from rung.documents.tables.layout import Layout
from rung.documents.tables.rows import read as read_tables
from rung.tasks import examine
from tests.documents.material import PAGE, docx, paragraph, pdf
from tests.fuzz import WORDS, Kind, mutate, mutate_zip

TAGS = (b"<w:p>", b"</w:p>", b"<w:tbl><w:tr><w:tc>", b"<w:sdt><w:sdtContent>", b"<w:r><w:t>", b"<w:del>", b"<w:footnoteReference w:id='1'/>",
    b"<mc:AlternateContent><mc:Choice>", b'<w:br/>', b'w:val="-1"')  # fmt: skip
HTML = (
    b"<div>",
    b"<table><tr><td>",
    b"<pre>",
    b"<sup>",
    b"<li>",
    b"<main>",
    b"<details>",
    b"<template>",
    b'charset="hex"',
    b"<br>",
    b"<b>",
)
PDF = (
    b"endobj",
    b"stream",
    b"/Kids [2 0 R]",
    b"/Length -1",
    b"/Parent",
    b"4 0 R",
    b"<<",
    b">>",
    b"(",
    b"Tj",
    b"/F1 99999999 Tf",
)
YAML = (b"\n  - ", b"answer: labels\n", b"labels: [yes, no, null]\n", b"data: [a, a]\n", b"!!binary x", b"&x ", b"*x", b"? ", b"| \n", b"{a: {a: ",
    b"columns: {input: [text, text]}\n", b"split: {near: 9}\n", b"empty: skip\n")  # fmt: skip


def _document(name: str, seeds: list[bytes], words: tuple[bytes, ...], change: Callable[..., bytes] = mutate) -> Kind:
    def kind(rng: random.Random, folder: Path) -> str:
        path = folder / name
        path.write_bytes(change(rng, rng.choice(seeds), (*WORDS, *words)))
        problems = Problems()
        found = list(parse(scan(path)[0], problems))
        for document in found:
            document.text.encode()
            json.dumps(document.metadata, allow_nan=False)
        return "read" if found else "told" if problems.found else "silent"

    def checked(rng: random.Random, folder: Path) -> str:
        end = kind(rng, folder)
        if end == "silent":
            raise AssertionError("nothing was read and nothing told")
        return end

    return checked


def _table(rng: random.Random, folder: Path) -> str:
    name, seed = rng.choice(
        (
            ("a.csv", b'id,text,label\n1,"a, ""b""",x\n2,"c\nd",y\n3,e,z\n'),
            ("a.tsv", b"text\tlabel\na\tx\nb\ty\n"),
            ("a.jsonl", b'{"text": "a", "n": 1, "meta": {"b": [1, 2]}}\n{"text": "\\u00e9", "n": null}\n'),
            ("a.json", b'{"data": [{"text": "a", "n": 1.5}, {"text": "b", "tags": ["x"]}]}'),
        )
    )
    path = folder / name
    path.write_bytes(mutate(rng, seed))
    problems = Problems()
    lenient = rng.random() < 0.5
    layout = Layout(
        lenient=lenient, path="data[]" if name == "a.json" else None, header=rng.choice((None, None, False))
    )
    tables = read_tables(path, problems, layout)
    for table in tables:
        for row in table.rows:
            json.dumps(row.values)
    assert all(isinstance(problem, Problem) and problem.code for problem in problems.found)
    return "read" if tables and not problems.failed else "told"


TASK = b"""name: fuzz
instruction: Say which.
data: rows.jsonl
columns: {input: {text: text}, reference: {column: label, map: {a: A, b: B}}}
answer: {labels: {A: first, B: second}}
metrics: [accuracy, macro-f1]
split: {train: 0.5, dev: 0.25, seed: 1}
rules: {A: ["^a"]}
rungs: [zero-shot, {few-shot-knn: {ks: [2]}}]
budget: {tokens: 100, money: 1.5}
"""


def _task(rng: random.Random, folder: Path) -> str:
    rows = b"".join(
        b'{"text": "%s number %d", "label": "%s"}\n' % (w, n, b"ab"[n % 2 : n % 2 + 1])
        for n in range(12)
        for w in (b"row",)
    )
    (folder / "rows.jsonl").write_bytes(mutate(rng, rows) if rng.random() < 0.3 else rows)
    (folder / "task.yaml").write_bytes(mutate(rng, TASK, (*WORDS, *YAML), most=2))
    found = examine(folder / "task.yaml")
    errors = [problem for problem in found.problems if problem.level == "error"]
    assert (found.task is None) == bool(errors), "a task without a problem, or a problem without one"
    return "told" if errors else "read"


KINDS: dict[str, Kind] = {
    "table": _table,
    "task": _task,
    "docx": _document(
        "a.docx", [docx(paragraph("One.") + paragraph("Two.", '<w:pStyle w:val="x"/>'))], TAGS, mutate_zip
    ),
    "pdf": _document("a.pdf", [pdf("The first page.", "", "The third page.")], PDF),
    "html": _document("a.html", [PAGE], HTML),
    "markdown": _document(
        "a.md", [b"---\ntitle: T\ntags: [a]\n---\n# One\n\nText `code`.\n\nTwo\n===\n\n```py\n# no\n```\n"], HTML
    ),
    "json": _document("a.json", [b'[{"id": 1, "text": "a", "n": 2}, {"text": "b"}]'], ()),
    "csv": _document("a.csv", [b'id,text,n\n1,"a, b",2\n2,c,3\n'], ()),
}
