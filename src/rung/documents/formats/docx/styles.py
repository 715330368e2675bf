"""What the styles of a Word document make of its paragraphs: headings and lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from rung.documents.formats.docx.package import attribute, find, short


@dataclass(frozen=True, slots=True)
class Styles:
    """Heading level by style id (styles are named ``heading 1`` in every language, or have an outline level), and the
    list (its number and level, either "" where another says it) of list styles. A style has what the style has that it
    is based on."""

    levels: Mapping[str, int] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, styles: Element) -> Styles:
        levels: dict[str, int] = {}
        lists: dict[str, tuple[str, str]] = {}
        based: dict[str, str] = {}
        for style in styles:
            if short(style.tag) != "w:style":
                continue
            id, name = attribute(style, "styleId"), find(style, "w:name")
            said = attribute(name, "val").lower() if name is not None else ""
            properties = find(style, "w:pPr")
            level = outline(properties)
            if (found := re.fullmatch(r"heading (\d)", said)) is not None:
                level = int(found[1])
            if level is not None or said == "title":
                levels[id] = 1 if level is None else level
            if (number := find(properties, "w:numPr")) is not None:
                lists[id] = listed(number)
            if (base := find(style, "w:basedOn")) is not None:
                based[id] = attribute(base, "val")
        for id in based:
            chain = _chain(id, based)
            level = next((levels[one] for one in chain if one in levels), None)
            if level is not None:
                levels[id] = level
            said_of = [lists[one] for one in chain if one in lists]
            if said_of:  # either part may be said further up
                lists[id] = next((one for one, _ in said_of if one), ""), next((at for _, at in said_of if at), "")
        return cls(levels, lists)


def _chain(id: str, based: Mapping[str, str]) -> list[str]:
    """A style and those it is based on, nearest first; no document has more than a few."""
    chain = [id]
    while len(chain) < 32 and (above := based.get(chain[-1])) and above not in chain:
        chain.append(above)
    return chain


def outline(properties: Element | None) -> int | None:
    """The heading level that an outline level stands for, 0 for body text; None where there is none."""
    found = find(properties, "w:outlineLvl")
    said = attribute(found, "val") if found is not None else ""
    return None if not said.isdecimal() else int(said) + 1 if len(said) < 3 and int(said) < 9 else 0


def listed(number: Element) -> tuple[str, str]:
    """Number and level of a list (w:numPr)."""
    id, level = find(number, "w:numId"), find(number, "w:ilvl")
    return attribute(id, "val") if id is not None else "", attribute(level, "val") if level is not None else ""
