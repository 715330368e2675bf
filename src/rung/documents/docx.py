"""Word documents (.docx): paragraphs, headings, lists and tables out of the zip's XML (ECMA-376, part 1)."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLParser

from rung.core.errors import InputError
from rung.core.problem import Problems
from rung.core.types import Document
from rung.documents.source import Source

PART = 256 << 20
"""Bytes that a part of the document may unpack to: more is a bomb, not a book."""
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DC = "{http://purl.org/dc/elements/1.1/}"


@dataclass(frozen=True, slots=True)
class DocxReader:
    """One document a file; headings become Markdown's, table cells are parted by ``|``."""

    suffixes: tuple[str, ...] = (".docx",)

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        try:
            with zipfile.ZipFile(source.path) as archive:
                names = set(archive.namelist())
                if "word/document.xml" not in names:
                    raise InputError("is a zip file without word/document.xml, so no Word document")
                levels = _levels(_parse(archive, "word/styles.xml")) if "word/styles.xml" in names else {}
                body = _parse(archive, "word/document.xml").find(f"{_W}body")
                core = _parse(archive, "docProps/core.xml") if "docProps/core.xml" in names else None
        except zipfile.BadZipFile:
            raise InputError("is not a whole .docx file (no readable zip archive)") from None
        except (ParseError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"is a damaged or locked .docx file: {error}") from None
        metadata: dict[str, Any] = {}
        for name, key in (("title", "title"), ("creator", "author")):
            if core is not None and (said := (core.findtext(f"{_DC}{name}") or "").strip()):
                metadata[key] = said
        blocks = [] if body is None else list(_blocks(body, levels))
        yield Document(source.id, "\n\n".join(blocks), metadata)


def _parse(archive: zipfile.ZipFile, name: str) -> Element:
    """A part as a tree. What it unpacks to is counted as it comes: the size in the directory may lie. XML with a document
    type is refused, as Word writes none and entities can grow without end."""
    parser = XMLParser()  # noqa: S314 - document types, and so entities, are refused
    total = 0
    with archive.open(name) as stream:
        while piece := stream.read(1 << 16):
            if total == 0 and b"<!DOCTYPE" in piece:
                raise InputError(f"{name} declares a document type, as no Word document does")
            total += len(piece)
            if total > PART:
                raise InputError(f"{name} unpacks to more than {PART >> 20} MB: not read")
            parser.feed(piece)
    root: Element = parser.close()
    return root


def _levels(styles: Element) -> dict[str, int]:
    """Heading level by style id: styles are named ``heading 1`` in every language, or have an outline level."""
    out: dict[str, int] = {}
    for style in styles.iter(f"{_W}style"):
        id = style.get(f"{_W}styleId", "")
        name = style.find(f"{_W}name")
        said = name.get(f"{_W}val", "").lower() if name is not None else ""
        if (found := re.fullmatch(r"heading (\d)", said)) is not None:
            out[id] = int(found[1])
        elif said == "title":
            out[id] = 1
    return out


def _blocks(body: Element, levels: dict[str, int]) -> Iterator[str]:
    """Paragraphs and tables in their order; list items that follow each other make one block."""
    items: list[str] = []
    for child in body:
        if child.tag == f"{_W}sdt":  # a content control holds paragraphs of its own
            content = child.find(f"{_W}sdtContent")
            if content is not None:
                yield from _flush(items)
                yield from _blocks(content, levels)
            continue
        if child.tag == f"{_W}tbl":
            yield from _flush(items)
            rows = [
                " | ".join(
                    " ".join(text for p in cell.iter(f"{_W}p") if (text := _text(p))) for cell in row.findall(f"{_W}tc")
                )
                for row in child.iter(f"{_W}tr")
            ]
            if any(rows):
                yield "\n".join(rows)
        elif child.tag == f"{_W}p" and (text := _text(child)):
            style = child.find(f"{_W}pPr/{_W}pStyle")
            level = levels.get(style.get(f"{_W}val", ""), 0) if style is not None else 0
            if child.find(f"{_W}pPr/{_W}numPr") is not None and not level:
                items.append(f"- {text}")
                continue
            yield from _flush(items)
            yield f"{'#' * min(level, 6)} {text}" if level else text
    yield from _flush(items)


def _flush(items: list[str]) -> Iterator[str]:
    if items:
        yield "\n".join(items)
        items.clear()


def _text(paragraph: Element) -> str:
    out = io.StringIO()
    for node in paragraph.iter():
        if node.tag == f"{_W}t":
            out.write(node.text or "")
        elif node.tag == f"{_W}tab":
            out.write("\t")
        elif node.tag in (f"{_W}br", f"{_W}cr"):
            out.write("\n")
        elif node.tag == f"{_W}noBreakHyphen":
            out.write("-")
    return out.getvalue().strip()


DOCX = DocxReader()
