"""Word documents (.docx): what a reader of the printed page reads, out of the zip's XML (ECMA-376, parts 1 and 3).

mammoth 1.13 reads most of it and was measured beside this: it leaves out equations, simple fields, text in two
directions, ruby and text boxes without a fallback, which are read here, and takes 13 times as long
(bench/documents.py).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Document
from rung.documents.formats.docx.numbering import Numbering, read_numbering
from rung.documents.formats.docx.package import Package, attribute
from rung.documents.formats.docx.styles import Styles
from rung.documents.formats.docx.writer import TextWriter
from rung.documents.source import Source

_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How a compound file begins (MS-CFB 2.2), which Word wrote before 2007 and writes around what it encrypts."""


@dataclass(frozen=True, slots=True)
class DocxReader:
    """One document a file: paragraphs, headings (as Markdown's), lists, tables (cells parted by ``|``; a table in a
    cell in one line), text boxes after their paragraph, notes, headers and footers at the end. Comments and other files
    inside are told."""

    suffixes: tuple[str, ...] = (".docx", ".docm", ".dotx")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        try:
            with zipfile.ZipFile(source.path) as archive:
                yield _document(Package(archive), source, problems)
        except zipfile.BadZipFile:
            with source.path.open("rb") as stream:
                old = stream.read(8) == _OLD
            if old:
                what = "is locked by a password, or in Word's format of before 2007"
                raise InputError(what, remedy="save it as .docx without a password", code="locked") from None
            raise InputError("is not a whole .docx file (no readable zip archive)", code="not-docx") from None
        except (ParseError, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, KeyError) as error:
            raise InputError(f"is a damaged or locked .docx file: {error}", code="not-docx") from None


def _document(package: Package, source: Source, problems: Problems) -> Document:
    main = package.main()
    styles = package.related(main, "styles")
    lists = package.related(main, "numbering")
    writer = TextWriter(
        Styles.of(package.parse(styles[0])) if styles else Styles(),
        read_numbering(package.parse(lists[0])) if lists else Numbering(),
    )
    writer.write(package.parse(main))
    blocks = [*writer.blocks()]
    for kind, ids in writer.notes.items():
        for part in package.related(main, f"{kind}s"):
            notes = {attribute(note, "id"): note for note in package.parse(part)}
            for number, id in ids:
                if id in notes:
                    blocks.append(f"[{number}] " + " ".join(writer.inside(notes[id])))
    seen: dict[str, None] = {}
    for kind in ("header", "footer"):
        for part in package.related(main, kind):
            seen.update(dict.fromkeys(writer.inside(package.parse(part))))
    blocks += seen
    metadata = {}
    for core in package.related("", "core-properties"):
        properties = {node.tag.rpartition("}")[2]: (node.text or "").strip() for node in package.parse(core)}
        metadata = {
            key: said for name, key in (("title", "title"), ("creator", "author")) if (said := properties.get(name))
        }
    left = [f"{len(package.parse(part)):,} comments" for part in package.related(main, "comments")]
    for folder, what in (("charts/chart", "charts"), ("diagrams/data", "diagrams"), ("embeddings/", "files inside")):
        there = sum(f"/{name}".rpartition(f"/{folder}")[1] != "" for name in package.names)
        left += [f"{there:,} {what}"] if there else []
    left += [f"{count:,} {what}" for what, count in writer.left.items() if count]
    if left:
        problems.add(
            f"left out: {', '.join(left)}", "write into the text what must be found", file=source.id, level="warning",
            code="parts-left-out",
        )  # fmt: skip
    return Document(source.id, "\n\n".join(blocks), metadata)


DOCX = DocxReader()
