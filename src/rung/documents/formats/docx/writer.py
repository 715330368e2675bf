"""The text of a Word document's parts, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from xml.etree.ElementTree import Element

from rung.documents.formats.docx.numbering import Numbering
from rung.documents.formats.docx.package import attribute, find, short, switched
from rung.documents.formats.docx.styles import Styles, listed, outline
from rung.documents.formats.words import SUM, raised

_SKIPPED = frozenset(
    {"w:del", "w:moveFrom", "w:delText", "w:instrText", "w:delInstrText", "w:rPr", "w:pPr", "w:tblPr", "w:tblGrid", "w:trPr", "w:tcPr",
     "w:sectPr", "w:sdtPr", "w:rt", "w:fldData", "m:ctrlPr", "m:deg"}
)  # fmt: skip
"""Deleted and moved text, codes of fields, how things look, and the reading that stands above a Japanese word."""
_MARKS = {"w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-", "w:annotationRef": ""}
_PARTS = {"m:num": "", "m:den": "/", "m:sup": "^", "m:sub": "_", "m:lim": "_"}
"""Parts of a formula, and what stands before each: a sum stands in parentheses."""
_WHOLES = {"m:d": "|", "m:m": "; ", "m:mr": " ", "m:eqArr": "; ", "m:nary": " ", "m:func": " ", "m:rad": ""}
"""Formulas of several expressions or rows, and what stands between these."""
_GREEK = dict(zip(range(0x61, 0x7B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True)) | dict(
    zip(range(0x41, 0x5B), "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", strict=True)
)
_SYMBOLS: dict[str, dict[int, str]] = {
    "symbol": {**_GREEK, 0xA3: "≤", 0xA5: "∞", 0xAE: "→", 0xB0: "°", 0xB1: "±", 0xB3: "≥", 0xB4: "×", 0xB7: "•", 0xB8: "÷", 0xB9: "≠",
               0xBB: "≈", 0xD6: "√", 0xD7: "⋅", 0xE5: "∑", 0xF2: "∫"},
    "wingdings": {0x4A: "☺", 0x6C: "●", 0x6E: "■", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xE0: "→", 0xE8: "➔", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑"},
}  # fmt: skip


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
    mark: str = ""
    boxes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Formula:
    """A piece of a formula that is open: what stands behind it, and between its expressions."""

    after: str = ""
    between: str = ""
    begun: bool = False


class TextWriter:
    """Goes down and up by hand, as documents nest deeper than Python may recurse."""

    def __init__(self, styles: Styles, numbering: Numbering) -> None:
        self.styles, self.numbering = styles, numbering
        self.notes: dict[str, list[tuple[int, str]]] = {"footnote": [], "endnote": []}
        self.left: dict[str, int] = {"parts in another format": 0, "symbols of a font that is not known": 0}
        self._frames = [_Frame()]
        self._paragraphs: list[_Paragraph] = []
        self._rows: list[list[list[str]]] = []
        self._cells: list[tuple[int, bool]] = []  # of each open cell its columns, and whether it goes on from above
        self._math: list[_Formula] = []
        self._after = ""

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
                    self._close(short(node.tag))
                continue
            name = short(child.tag) if isinstance(child.tag, str) else ""
            if name in _SKIPPED or (name == "w:tr" and find(child, "w:trPr", "w:del") is not None):
                continue
            if name == "w:r" and switched(find(child, "w:rPr", "w:vanish")):
                continue
            if name == "w:sdt" and switched(find(child, "w:sdtPr", "w:showingPlcHdr")):
                continue  # "Click here to enter text"
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
            if name == "w:tc":
                span = find(node, "w:tcPr", "w:gridSpan")
                wide = attribute(span, "val") if span is not None else ""
                merged = find(node, "w:tcPr", "w:vMerge")
                self._cells.append(
                    (
                        min(int(wide), 100) if wide.isdecimal() and len(wide) < 6 else 1,
                        merged is not None and attribute(merged, "val") != "restart",
                    )
                )
        elif name == "w:tbl":
            self._rows.append([])
        elif name == "w:tr" and self._rows:
            self._rows[-1].append([])
        elif name == "w:altChunk":
            self.left["parts in another format"] += 1
        elif text is not None:
            self._write(name, node, text)

    def _write(self, name: str, node: Element, text: list[str]) -> None:
        """What stands within a paragraph."""
        if name in ("w:t", "m:t"):
            text.append(node.text or "")
        elif name in _MARKS:
            text.append(_MARKS[name])
        elif name == "docPr" and (said := " ".join(attribute(node, "descr").split())):  # what a picture shows
            text.append(f" {said} ")
        elif name == "w:r" and any(switched(find(node, "w:rPr", way)) for way in ("w:strike", "w:dstrike")):
            text.append("~~")
            self._after = "~~"
        elif name == "w:r" and (place := find(node, "w:rPr", "w:vertAlign")) is not None:
            words = "".join(part.text or "" for part in node if short(part.tag) == "w:t")
            before, self._after = raised(attribute(place, "val"), text[-1][-1:] if text else "", words)
            text.append(before)
        elif name in _PARTS or name in _WHOLES or name == "m:e":
            self._formula(name, node, text)
        elif name == "w:sym":
            text.append(self._symbol(node))
        elif name in ("w:footnoteReference", "w:endnoteReference"):
            number = sum(map(len, self.notes.values())) + 1
            self.notes[name[2:-9]].append((number, attribute(node, "id")))
            text.append(f"[{number}]")

    def _formula(self, name: str, node: Element, text: list[str]) -> None:
        """A piece of an equation (ECMA-376 part 1, 22.1.2): brackets, signs of sums and what stands between parts."""
        if name in ("m:e", "m:mr") and self._math:
            above = self._math[-1]
            if above.begun:
                text.append(above.between)
            above.begun = True
        if name in _PARTS:
            words = "".join(part.text or "" for part in islice(node.iter(), 200) if short(part.tag) == "m:t")
            many = SUM.search(words.strip()) is not None
            text.append((_PARTS[name] if words else "") + "(" * many)
            self._math.append(_Formula(")" * many))
        elif name in _WHOLES:
            before, formula = "", _Formula("", _WHOLES[name])
            if name == "m:d":
                before, formula.after = (
                    _sign(node, "m:dPr", f"m:{end}Chr", usual) for end, usual in (("beg", "("), ("end", ")"))
                )
                formula.between = _sign(node, "m:dPr", "m:sepChr", "|")
            elif name == "m:rad":
                degree = find(node, "m:deg")
                words = "" if degree is None else "".join(part.text or "" for part in islice(degree.iter(), 20)).strip()
                before, formula.after = {"": "√", "3": "∛", "4": "∜"}.get(words, f"√[{words}]") + "(", ")"
            elif name == "m:nary":
                before, formula.begun = _sign(node, "m:naryPr", "m:chr", "∫"), True
            formula.begun = formula.begun or name == "m:func"
            text.append(before)
            self._math.append(formula)

    def _paragraph(self, node: Element) -> _Paragraph:
        properties = find(node, "w:pPr")
        style = find(properties, "w:pStyle")
        id = attribute(style, "val") if style is not None else ""
        own, shared = find(properties, "w:numPr"), self.styles.lists.get(id, ("", ""))
        number, depth = (
            (said or other for said, other in zip(listed(own), shared, strict=True)) if own is not None else shared
        )
        said = outline(properties)
        level = self.styles.levels.get(id, 0) if said is None else said
        if number == "0" or (own is None and id not in self.styles.lists):
            return _Paragraph([], level)
        at = int(depth) if depth.isdecimal() and len(depth) < 3 else self.numbering.styles.get((number, id), 0)
        mark = self.numbering.mark(number, at)
        return _Paragraph([], level, "" if level and mark == "-" else mark or "\0")

    def _symbol(self, node: Element) -> str:
        font = attribute(node, "font").lower()
        try:
            code = int(attribute(node, "char"), 16)
        except ValueError:
            code = 0
        if not 0xF000 <= code < 0xF100:
            return chr(code) if 32 <= code < 0xD800 else ""
        known = next((table for start, table in _SYMBOLS.items() if font.startswith(start)), {})
        if code - 0xF000 not in known:
            self.left["symbols of a font that is not known"] += 1
        return known.get(code - 0xF000, "")

    def _close(self, name: str) -> None:
        if (name in _PARTS or name in _WHOLES) and self._math and self._paragraphs:
            self._paragraphs[-1].text.append(self._math.pop().after)
        elif name == "w:r" and self._after and self._paragraphs:
            self._paragraphs[-1].text.append(self._after)
            self._after = ""
        elif name == "w:p" and self._paragraphs:
            done = self._paragraphs.pop()
            text = "".join(done.text).strip()
            if text and done.mark not in ("", "\0"):
                text = f"{done.mark} {text}"
            if text and done.level:
                self._frames[-1].add(f"{'#' * min(done.level, 6)} {text}")
            elif text:
                self._frames[-1].add(text, item=bool(done.mark))
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
            self._close_cell()
        elif name == "w:tbl" and self._rows:
            rows = self._rows.pop()
            inner = bool(self._rows)
            lines = [(", " if inner else " | ").join(cells) for cells in rows if any(cells)]
            self._frames[-1].add(("; " if inner else "\n").join(lines))

    def _close_cell(self) -> None:
        cell = " ".join(" ".join(block.split()) for block in self.blocks())
        self._frames.pop()
        wide, merged = self._cells.pop() if self._cells else (1, False)
        if self._rows and self._rows[-1]:
            row = self._rows[-1][-1]
            if merged and not cell and len(self._rows[-1]) > 1:
                cell = "".join(self._rows[-1][-2][len(row) : len(row) + 1])[:200]
            row += [cell, *[""] * (wide - 1)]
        else:  # a cell without a row
            self._frames[-1].add(cell)


def _sign(node: Element, properties: str, name: str, usual: str) -> str:
    """A sign of a formula: the usual one unless another, or none, is said."""
    found = find(node, properties, name)
    return usual if found is None else attribute(found, "val")


def _alternative(node: Element) -> Element | None:
    """The first alternative that holds text, else the first."""
    ways = [way for way in node if short(way.tag) in ("mc:Choice", "mc:Fallback")]
    return next(
        (way for way in ways if any(short(part.tag) == "w:t" for part in way.iter())), ways[0] if ways else None
    )
