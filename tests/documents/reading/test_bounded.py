"""Reading within bounds: what a file does to the process that reads it, it does not do to ours."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest

from rung.core.parts.problem import Problem
from rung.core.types import Document
from rung.documents import read, read_all, scan
from rung.documents.reading.worker import Bounds, ReadingProcess
from tests.documents.material import docx, paragraph, pdf

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds memory")


def drawing_itself() -> bytes:
    """A page whose form draws itself twice: pdfium goes on for ever, or until its stack ends."""
    whole = pdf("A page.")
    form = b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >> /Length 11 >>\nstream\n/X Do /X Do\nendstream"
    page = whole.replace(b"/Resources << /Font", b"/Resources << /XObject << /X 6 0 R >> /Font").replace(
        b"(A page.) Tj", b"/X Do       "
    )
    return page.replace(b"xref", b"6 0 obj\n" + form + b"\nendobj\nxref")


def outcome(worker: ReadingProcess, path: Path, bounds: Bounds) -> list[Document | Problem]:
    (source,) = scan(path)
    worker.ask(source, bounds)
    return list(worker.answer(source, bounds))


def test_a_file_that_never_ends_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop.pdf").write_bytes(drawing_itself())
    worker = ReadingProcess()
    (problem,) = outcome(worker, tmp_path / "loop.pdf", Bounds(seconds=0.5))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.file) == ("too-much", "loop.pdf")
    assert not worker.good
    worker.close()


@linux
def test_a_file_that_takes_all_memory_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x", "a": [' + b"[]," * 2_000_000 + b"0]}"))
    worker = ReadingProcess()
    (problem,) = outcome(worker, tmp_path / "rows.jsonl.gz", Bounds(memory=48 << 20))
    assert isinstance(problem, Problem)
    assert problem.code == "too-much"
    worker.close()


def test_the_rest_goes_on_in_order(tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number:02}.md").write_text(f"Page {number}.")
    (tmp_path / "03.md").rename(tmp_path / "03.txt")
    (tmp_path / "05.pdf").write_bytes(drawing_itself())
    (tmp_path / "06.docx").write_bytes(docx(paragraph("Word.")))
    sources = scan(tmp_path)
    found: dict[int, list[object]] = {}
    for place, item in read_all(sources, Bounds(seconds=0.5)):
        found.setdefault(place, []).append(item)
    assert list(found) == list(range(72))
    assert all(items[-1] is None for items in found.values())
    (bad,) = [place for place, items in found.items() if not isinstance(items[0], Document)]
    assert sources[bad].path.name == "05.pdf"


def test_a_reader_that_is_left_early_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "row {number}"}}\n' for number in range(20_000)))
    (source,) = scan(tmp_path)
    assert next(read(source)).text == "row 0"
    assert len(list(read(source))) == 20_000
    assert len(os.listdir("/proc/self/fd") if sys.platform == "linux" else []) < 200
