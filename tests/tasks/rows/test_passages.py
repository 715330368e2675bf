"""Corpora: the standard library's own documentation, folders, texts and data files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.core.parts.problem import Problems
from rung.tasks.file.definition import Corpus
from rung.tasks.packs.corpus import read_stdlib
from rung.tasks.rows.passages import corpus


def gather(place: Path, **options: Any) -> tuple[dict[str, str], Problems]:
    problems = Problems()
    found = corpus(Corpus(file=str(place), **options), place, problems, task=Path("task.yaml"), line=4)
    return found, problems


def test_the_standard_library_documents_itself() -> None:
    found = read_stdlib()
    assert len(found) > 2000
    for name in (
        "textwrap.dedent",
        "collections.Counter.most_common",
        "itertools.chain",
        "str.split",
        "pathlib.Path.read_text",
    ):
        assert found[name].startswith(name)
    assert not any(" at 0x" in text for text in found.values())
    assert found == read_stdlib()


def test_a_folder_a_text_and_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "a.md").write_text("# A\n\ntext")
    (tmp_path / "docs" / "deep" / "b.txt").write_text("b")
    (tmp_path / "docs" / "picture.png").write_bytes(b"\x89")
    assert gather(tmp_path / "docs")[0] == {"a.md": "# A\n\ntext", "deep/b.txt": "b"}
    assert gather(tmp_path / "docs" / "a.md")[0] == {"a-1": "# A", "a-2": "text"}
    rows = [{"key": "k1", "title": "T", "body": "B"}, {"key": "k2", "title": "", "body": "C"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert gather(tmp_path / "p.jsonl", id="key", text=["title", "body"])[0] == {"k1": "T\nB", "k2": "C"}


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ('{"text": "a"}\n{"text": "b"}', {"id": "text", "text": "body"}, "no column 'body'"),
        ('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', {"id": "id"}, "there twice"),
        ("", {}, "holds no text"),
    ],
)
def test_broken_data_files(tmp_path: Path, content: str, options: dict[str, Any], words: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    _, problems = gather(tmp_path / "p.jsonl", **options)
    assert words in problems.found[0].message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"ok\ncaf\xe9")
    _, problems = gather(tmp_path)
    assert problems.found[0].line == 2
