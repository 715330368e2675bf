"""The numbers of a Word document's lists and headings, which are counted and not written (ECMA-376 part 1, 17.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from rung.documents.formats.docx.package import attribute, find, short
from rung.documents.formats.words import spell

LEVELS = 9


@dataclass(frozen=True, slots=True)
class ListLevel:
    """How a level is counted: its format, its text (``%1.%2``), where it begins, and whether all its numbers are
    decimal."""

    format: str = "bullet"
    text: str = ""
    start: int = 1
    legal: bool = False


@dataclass(slots=True)
class Numbering:
    """The lists of a document by their numbers; ``mark`` counts on and gives a paragraph's mark."""

    levels: dict[str, list[ListLevel]] = field(default_factory=dict)
    """By the number of a list (w:num), its levels."""
    counted: dict[str, str] = field(default_factory=dict)
    """By the number of a list, what it is counted with: lists made of one definition go on counting."""
    begun: dict[str, dict[int, int]] = field(default_factory=dict)
    """By the number of a list, the levels that begin anew at its first paragraph."""
    styles: dict[tuple[str, str], int] = field(default_factory=dict)
    """By list and style of paragraphs, the level that the style stands for."""
    _counts: dict[str, list[int | None]] = field(default_factory=dict)

    def mark(self, number: str, level: int) -> str:
        """The mark of the next paragraph of a list: ``2.``, ``b)``, ``-`` for a bullet or a list that is not
        defined."""
        levels = self.levels.get(number)
        if levels is None or not 0 <= level < LEVELS:
            return "-"
        counts = self._counts.setdefault(self.counted[number], [None] * LEVELS)
        for at, start in self.begun.pop(number, {}).items():
            counts[at] = start - 1
        mine = counts[level]
        counts[level] = levels[level].start if mine is None else mine + 1
        counts[level + 1 :] = [None] * (LEVELS - level - 1)
        shown = levels[level]
        if shown.format == "bullet":
            return "-"

        def count(found: re.Match[str]) -> str:
            at = int(found[1]) - 1
            value = counts[at]
            form = "decimal" if shown.legal else levels[at].format
            return spell(levels[at].start if value is None else value, form)

        return re.sub(r"%([1-9])", count, shown.text).strip()


def _override(definition: Element, abstract: list[ListLevel]) -> tuple[list[ListLevel], dict[int, int]]:
    """The levels of a list that changes some of an abstract one, and where those begin that begin anew."""
    levels, begun = list(abstract), {}
    for node in definition:
        at = _number(attribute(node, "ilvl"), -1)
        if short(node.tag) != "w:lvlOverride" or not 0 <= at < LEVELS:
            continue
        for inner in node:
            if short(inner.tag) == "w:lvl":
                levels[at] = _level(inner)
        if start := _value(node, "w:startOverride"):
            begun[at] = _number(start, 1)
            levels[at] = replace(levels[at], start=begun[at])
    return levels, begun


def read_numbering(root: Element) -> Numbering:
    """The lists that the part ``numbering.xml`` defines."""
    out = Numbering()
    abstract: dict[str, list[ListLevel]] = {}
    styles: dict[str, dict[str, int]] = {}
    for definition in root:
        if short(definition.tag) == "w:abstractNum":
            id = attribute(definition, "abstractNumId")
            levels, own = [ListLevel()] * LEVELS, styles.setdefault(id, {})
            for node in definition:
                at = _number(attribute(node, "ilvl"), -1)
                if short(node.tag) == "w:lvl" and 0 <= at < LEVELS:
                    levels[at] = _level(node)
                    if style := _value(node, "w:pStyle"):
                        own[style] = at
            abstract[id] = levels
    for definition in root:
        if short(definition.tag) == "w:num":
            id, base = attribute(definition, "numId"), _value(definition, "w:abstractNumId")
            if base not in abstract:
                continue
            levels, begun = _override(definition, abstract[base])
            if begun:
                out.begun.setdefault(id, {}).update(begun)
            out.levels[id], out.counted[id] = levels, base
            out.styles.update({(id, style): at for style, at in styles[base].items()})
    return out


def _level(node: Element) -> ListLevel:
    return ListLevel(
        _value(node, "w:numFmt") or "decimal",
        "" if (text := _value(node, "w:lvlText")) == "on" else text[:100],
        _number(_value(node, "w:start"), 1),
        _value(node, "w:isLgl") not in ("", "0", "false", "off"),
    )


def _value(node: Element, name: str) -> str:
    """The value of an inner element, ``on`` for one that is there without a value, "" where it is not there."""
    found = find(node, name)
    return "" if found is None else attribute(found, "val") or "on"


def _number(text: str, other: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else other
