"""Word documents (.docx): what a reader of the printed page reads, out of the zip's XML (ECMA-376, parts 1 and 3).

mammoth 1.13 reads most of it and was measured beside this: it leaves out equations, simple fields, text in two directions, ruby and
text boxes without a fallback, which are read here, and takes 13 times as long (bench/documents.py).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element, ParseError, XMLParser

from rung.core.errors import InputError
from rung.core.problem import Problems
from rung.core.types import Document
from rung.documents.formats.words import raised
from rung.documents.source import Source

PART = 256 << 20
"""Bytes that a part of the document may unpack to: more is a bomb, not a book."""
_SPACES = (
    ("/wordprocessingml/", "w:"),
    ("/officeDocument/2006/math", "m:"),
    ("/officeDocument/math", "m:"),
    ("/markup-compatibility/", "mc:"),
)
_SKIPPED = frozenset(
    {"w:del", "w:moveFrom", "w:delText", "w:instrText", "w:delInstrText", "w:rPr", "w:pPr", "w:tblPr", "w:tblGrid", "w:trPr", "w:tcPr",
     "w:sectPr", "w:sdtPr", "w:rt", "w:fldData", "m:ctrlPr", "m:deg"}
)  # fmt: skip
"""Deleted and moved text, codes of fields, how things look, and the reading that stands above a Japanese word."""
_MARKS = {"w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-", "w:annotationRef": ""}
_MATH = {"m:den": "/", "m:sup": "^", "m:sub": "_", "m:rad": "√"}
_GREEK = dict(zip(range(0x61, 0x7B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True)) | dict(
    zip(range(0x41, 0x5B), "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", strict=True)
)
_SYMBOLS: dict[str, dict[int, str]] = {
    "symbol": {**_GREEK, 0xA3: "≤", 0xA5: "∞", 0xAE: "→", 0xB0: "°", 0xB1: "±", 0xB3: "≥", 0xB4: "×", 0xB7: "•", 0xB8: "÷", 0xB9: "≠",
               0xBB: "≈", 0xD6: "√", 0xD7: "⋅", 0xE5: "∑", 0xF2: "∫"},
    "wingdings": {0x4A: "☺", 0x6C: "●", 0x6E: "■", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xE0: "→", 0xE8: "➔", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DocxReader:
    """One document a file: paragraphs, headings (as Markdown's), lists, tables (cells parted by ``|``; a table in a cell in one
    line), text boxes after their paragraph, notes, headers and footers at the end. Comments and other files inside are told."""

    suffixes: tuple[str, ...] = (".docx", ".docm", ".dotx")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        try:
            with zipfile.ZipFile(source.path) as archive:
                yield _document(_Package(archive), source, problems)
        except zipfile.BadZipFile:
            raise InputError("is not a whole .docx file (no readable zip archive)", code="not-docx") from None
        except (ParseError, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, KeyError) as error:
            raise InputError(f"is a damaged or locked .docx file: {error}", code="not-docx") from None


def _document(package: _Package, source: Source, problems: Problems) -> Document:
    main = package.main()
    styles = package.related(main, "styles")
    writer = _Writer(_Styles.of(package.parse(styles[0])) if styles else _Styles())
    writer.write(package.parse(main))
    blocks = [*writer.blocks()]
    for kind, ids in writer.notes.items():
        for part in package.related(main, f"{kind}s"):
            notes = {_attr(note, "id"): note for note in package.parse(part)}
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
    left += [f"{count:,} {what}" for what, count in writer.left.items() if count]
    if left:
        problems.add(
            f"left out: {', '.join(left)}", "write into the text what must be found", file=source.id, level="warning",
            code="parts-left-out",
        )  # fmt: skip
    return Document(source.id, "\n\n".join(blocks), metadata)


# ---------------------------------------------------------------- the package


class _Package:
    """The parts of the zip archive and how they refer to one another (ECMA-376, part 2)."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.names = {name.replace("\\", "/").lstrip("/"): name for name in archive.namelist()}

    def related(self, part: str, kind: str) -> list[str]:
        """Names of the parts that ``part`` ("": the package) refers to as being of that kind."""
        folder, _, name = part.rpartition("/")
        about = posixpath.join(folder, "_rels", f"{name}.rels")
        if about not in self.names:
            usual = {"core-properties": "docProps/core.xml", "officeDocument": "word/document.xml"}.get(
                kind, posixpath.join(folder, f"{kind}.xml")
            )
            return [usual] if usual in self.names else []
        found = []
        for relation in self.parse(about):
            if relation.get("Type", "").rpartition("/")[2] == kind and relation.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", ""))).lstrip("/")
                if target in self.names:
                    found.append(target)
        return found

    def main(self) -> str:
        found = self.related("", "officeDocument")
        if not found:
            raise InputError("is a zip file without a main document part, so no Word document", code="not-docx")
        return found[0]

    def parse(self, name: str) -> Element:
        """A part as a tree. What it unpacks to is counted as it comes: the size in the directory may lie. XML with a document type
        is refused, as Word writes none and entities can grow without end."""
        parser = XMLParser()  # noqa: S314 - document types, and so entities, are refused
        total = 0
        with self.archive.open(self.names[name]) as stream:
            while piece := stream.read(1 << 16):
                if total == 0 and b"<!DOCTYPE" in piece:
                    raise InputError(f"{name} declares a document type, as no Word document does", code="not-docx")
                total += len(piece)
                if total > PART:
                    raise InputError(f"{name} unpacks to more than {PART >> 20} MB: not read", code="too-much")
                parser.feed(piece)
        root: Element = parser.close()
        return root


@lru_cache(4096)
def _name(tag: str) -> str:
    """``w:p`` for Word's names, strict or transitional; the bare name for others."""
    space, _, local = tag.rpartition("}")
    return next((short for part, short in _SPACES if part in space), "") + local


def _attr(node: Element, name: str) -> str:
    """An attribute by its bare name, whatever its namespace."""
    return next((value for key, value in node.items() if key.rpartition("}")[2] == name), "")


def _child(node: Element | None, *path: str) -> Element | None:
    for name in path:
        node = next((child for child in node if _name(child.tag) == name), None) if node is not None else None
    return node


def _on(node: Element | None) -> bool:
    """Whether a switch such as ``w:vanish`` is there and not off."""
    return node is not None and _attr(node, "val") not in ("0", "false", "off")


@dataclass(frozen=True, slots=True)
class _Styles:
    """Heading level by style id (styles are named ``heading 1`` in every language, or have an outline level), and list styles."""

    levels: Mapping[str, int] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()

    @classmethod
    def of(cls, styles: Element) -> _Styles:
        levels: dict[str, int] = {}
        lists = set()
        for style in styles:
            if _name(style.tag) != "w:style":
                continue
            id, name = _attr(style, "styleId"), _child(style, "w:name")
            said = _attr(name, "val").lower() if name is not None else ""
            level = _outline(_child(style, "w:pPr"))
            if (found := re.fullmatch(r"heading (\d)", said)) is not None:
                level = int(found[1])
            if level or said == "title":
                levels[id] = level or 1
            if _child(style, "w:pPr", "w:numPr") is not None:
                lists.add(id)
        return cls(levels, frozenset(lists))


def _outline(properties: Element | None) -> int:
    """The heading level that an outline level stands for; 0 for body text."""
    found = _child(properties, "w:outlineLvl")
    said = _attr(found, "val") if found is not None else ""
    return int(said) + 1 if said.isdecimal() and int(said) < 9 else 0


# ---------------------------------------------------------------- the text


@dataclass(slots=True)
class _Frame:
    """Blocks of a body, a cell or a text box; ``items`` are list items that are to be one block."""

    blocks: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)

    def add(self, block: str, *, item: bool = False) -> None:
        if item:
            self.items.append(block)
        elif block:
            self.flush()
            self.blocks.append(block)

    def flush(self) -> None:
        if self.items:
            self.blocks.append("\n".join(self.items))
            self.items = []


@dataclass(slots=True)
class _Paragraph:
    text: list[str] = field(default_factory=list)
    level: int = 0
    item: bool = False
    boxes: list[str] = field(default_factory=list)


class _Writer:
    """Goes down and up by hand, as documents nest deeper than Python may recurse."""

    def __init__(self, styles: _Styles) -> None:
        self.styles = styles
        self.notes: dict[str, list[tuple[int, str]]] = {"footnote": [], "endnote": []}
        self.left: dict[str, int] = {"parts in another format": 0, "symbols of a font that is not known": 0}
        self._frames = [_Frame()]
        self._paragraphs: list[_Paragraph] = []
        self._rows: list[list[list[str]]] = []

    def blocks(self) -> list[str]:
        self._frames[-1].flush()
        return self._frames[-1].blocks

    def inside(self, root: Element) -> list[str]:
        """The blocks of another part."""
        self._frames.append(_Frame())
        self.write(root)
        found = self.blocks()
        self._frames.pop()
        return found

    def write(self, root: Element) -> None:
        stack: list[tuple[Element, Iterator[Element]]] = [(root, iter(root))]
        while stack:
            node, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                if stack:
                    self._close(_name(node.tag))
                continue
            name = _name(child.tag) if isinstance(child.tag, str) else ""
            if name in _SKIPPED or (name == "w:tr" and _child(child, "w:trPr", "w:del") is not None):
                continue
            if name == "w:r" and _on(_child(child, "w:rPr", "w:vanish")):
                continue
            if name == "mc:AlternateContent":  # the same thing in several ways
                chosen = _alternative(child)
                if chosen is not None:
                    stack.append((chosen, iter(chosen)))
                continue
            self._open(name, child)
            stack.append((child, iter(child)))

    def _open(self, name: str, node: Element) -> None:
        text = self._paragraphs[-1].text if self._paragraphs else None
        if name == "w:p":
            self._paragraphs.append(self._paragraph(node))
        elif name == "w:txbxContent" or name == "w:tc":
            self._frames.append(_Frame())
        elif name == "w:tbl":
            self._rows.append([])
        elif name == "w:tr" and self._rows:
            self._rows[-1].append([])
        elif name == "w:altChunk":
            self.left["parts in another format"] += 1
        elif text is None:
            return
        elif name in ("w:t", "m:t"):
            text.append(node.text or "")
        elif name in _MARKS:
            text.append(_MARKS[name])
        elif name == "w:r" and (place := _child(node, "w:rPr", "w:vertAlign")) is not None:
            words = "".join(part.text or "" for part in node if _name(part.tag) == "w:t")
            text.append(raised(_attr(place, "val"), text[-1][-1:] if text else "", words))
        elif name in _MATH and any(part.text for part in node.iter() if _name(part.tag) == "m:t"):
            text.append(_MATH[name])
        elif name == "w:sym":
            text.append(self._symbol(node))
        elif name in ("w:footnoteReference", "w:endnoteReference"):
            number = sum(map(len, self.notes.values())) + 1
            self.notes[name[2:-9]].append((number, _attr(node, "id")))
            text.append(f"[{number}]")

    def _paragraph(self, node: Element) -> _Paragraph:
        properties = _child(node, "w:pPr")
        style = _child(properties, "w:pStyle")
        id = _attr(style, "val") if style is not None else ""
        number = _child(properties, "w:numPr", "w:numId")
        item = _child(properties, "w:numPr") is not None or id in self.styles.lists
        level = _outline(properties) or self.styles.levels.get(id, 0)
        return _Paragraph([], level, item and not level and (number is None or _attr(number, "val") != "0"))

    def _symbol(self, node: Element) -> str:
        font = _attr(node, "font").lower()
        try:
            code = int(_attr(node, "char"), 16)
        except ValueError:
            code = 0
        if not 0xF000 <= code < 0xF100:
            return chr(code) if 32 <= code < 0xD800 else ""
        known = next((table for start, table in _SYMBOLS.items() if font.startswith(start)), {})
        if code - 0xF000 not in known:
            self.left["symbols of a font that is not known"] += 1
        return known.get(code - 0xF000, "")

    def _close(self, name: str) -> None:
        if name == "w:p" and self._paragraphs:
            done = self._paragraphs.pop()
            text = "".join(done.text).strip()
            if text and done.level:
                self._frames[-1].add(f"{'#' * min(done.level, 6)} {text}")
            elif text:
                self._frames[-1].add(f"- {text}" if done.item else text, item=done.item)
            for box in done.boxes:
                self._frames[-1].add(box)
        elif name == "w:txbxContent":
            found = self.blocks()
            self._frames.pop()
            if self._paragraphs:
                self._paragraphs[-1].boxes += found
            else:
                self._frames[-1].blocks += found
        elif name == "w:tc":
            cell = " ".join(" ".join(block.split()) for block in self.blocks())
            self._frames.pop()
            if self._rows and self._rows[-1]:
                self._rows[-1][-1].append(cell)
            else:  # a cell without a row
                self._frames[-1].add(cell)
        elif name == "w:tbl" and self._rows:
            rows = self._rows.pop()
            inner = bool(self._rows)
            lines = [(", " if inner else " | ").join(cells) for cells in rows if any(cells)]
            self._frames[-1].add(("; " if inner else "\n").join(lines))


def _alternative(node: Element) -> Element | None:
    """The first alternative that holds text, else the first."""
    ways = [way for way in node if _name(way.tag) in ("mc:Choice", "mc:Fallback")]
    return next(
        (way for way in ways if any(_name(part.tag) == "w:t" for part in way.iter())), ways[0] if ways else None
    )


DOCX = DocxReader()
