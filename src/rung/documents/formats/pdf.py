"""PDF, through pdfium (pypdfium2): measured 2 to 5 times as fast as pypdf on manuals, with the same words."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.system.extras import require
from rung.core.types import Document
from rung.documents.source import Source

_ONE = threading.Lock()  # pdfium may be used by one thread at a time


_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\r": None})
_PARTED = re.compile("(?:[\x02\ufffe]|\xad(?=\n))\n?")
"""A word parted at the end of a line: pdfium marks the hyphen by U+0002 or U+FFFE and leaves a soft hyphen as it is."""
_FEW = 100
"""Characters of a page that a picture covers which may be a stamp, a page number or a title: more is its text."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\uffff]")
_UNKNOWN = re.compile("[\ufffd\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True)
class PdfReader:
    """One document a file. ``pages`` in the metadata has the span of each page's text, as ``start-end``. Pages that
    hold pictures and no text, pages that are damaged, form fields and files inside are told."""

    suffixes: tuple[str, ...] = (".pdf",)

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        pdfium = require("pypdfium2", "documents", f"reading {source.path.name}")
        with _ONE:
            found = _read(pdfium, source)
        if not any(found.texts):
            raise InputError("holds no text: its pages are pictures; run it through OCR first", code="pictures")
        for what, code, pages in (
            ("damaged, left out", "page-damaged", found.broken),
            ("no text: a picture? run it through OCR to find it", "pictures", found.pictures),
            (
                "few words over a picture of a page: what it shows is not read; run it through OCR",
                "pictures",
                found.covered,
            ),
            ("letters whose meaning the file does not say", "letters-unknown", found.unknown),
        ):
            if pages:
                problems.add(f"page {_ranges(pages)}: {what}", file=source.id, level="warning", code=code)
        if found.left:
            problems.add(f"left out: {found.left}", file=source.id, level="warning", code="parts-left-out")
        spans, at = [], 0
        for text in found.texts:
            spans.append(f"{at}-{at + len(text)}")
            at += len(text) + 2
        yield Document(source.id, "\n\n".join(found.texts), {**found.metadata, "pages": spans})


@dataclass(slots=True)
class _Found:
    texts: list[str] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    covered: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    left: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def _read(pdfium: Any, source: Source) -> _Found:
    try:
        pdf = pdfium.PdfDocument(source.path)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium.raw.FPDF_ERR_PASSWORD:
            raise InputError("is locked by a password: save it without one", code="locked") from None
        raise InputError(f"is not a readable PDF: {error}", code="not-pdf") from None
    found = _Found()
    try:
        for number in range(1, len(pdf) + 1):
            text, drawn = "", False
            try:
                page = pdf[number - 1]
                words = page.get_textpage()
                text = tidy(words.get_text_bounded())
                drawn = not text and next(page.get_objects(max_depth=1), None) is not None
                if text and len(text) <= _FEW and _covered(pdfium, page):
                    found.covered.append(number)
                words.close()
                page.close()
            except pdfium.PdfiumError:
                found.broken.append(number)
            found.texts.append(text)
            if drawn:
                found.pictures.append(number)
            if len(_UNKNOWN.findall(text)) * 5 > len(text):
                found.unknown.append(number)
        left = [
            ("form fields", pdf.get_formtype() != pdfium.raw.FORMTYPE_NONE),
            ("files inside", pdf.count_attachments()),
        ]
        found.left = ", ".join(what for what, there in left if there)
        said = pdf.get_metadata_dict(skip_empty=True)
    finally:
        pdf.close()
    found.metadata = {name.lower(): said[name] for name in ("Title", "Author") if said.get(name, "").strip()}
    return found


def _covered(pdfium: Any, page: Any) -> bool:
    """Whether pictures cover most of a page, as they do where one was scanned and stamped with a number."""
    wide, high = page.get_size()
    covered = 0.0
    for item in islice(page.get_objects(filter=[pdfium.raw.FPDF_PAGEOBJ_IMAGE], max_depth=2), 100):
        left, low, right, top = item.get_bounds()
        covered += max(0.0, right - left) * max(0.0, top - low)
    return bool(covered > 0.6 * wide * high)


def tidy(text: str) -> str:
    """A page's text with words whole: parted ones joined, ligatures as letters, no control characters."""
    text = _PARTED.sub("", text.translate(_LIGATURES))
    return _CONTROL.sub("", text).strip()


def _ranges(pages: Sequence[int]) -> str:
    """``2-4, 7``; at most ten of them."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][1] + 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:10]]
    return ", ".join(shown) + (", ..." if len(runs) > 10 else "")


PDF = PdfReader()
