"""The parts of a Word document's zip archive, and the names in its XML."""

from __future__ import annotations

import posixpath
import zipfile
from functools import lru_cache
from xml.etree.ElementTree import Element, XMLParser

from rung.core.errors import InputError

PART = 256 << 20
"""Bytes that a part of the document may unpack to: more is a bomb, not a book."""
_SPACES = (
    ("/wordprocessingml/", "w:"),
    ("/officeDocument/2006/math", "m:"),
    ("/officeDocument/math", "m:"),
    ("/markup-compatibility/", "mc:"),
)


class Package:
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
        """A part as a tree. What it unpacks to is counted as it comes: the size in the directory may lie. XML with a
        document type is refused, as Word writes none and entities can grow without end."""
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
def short(tag: str) -> str:
    """``w:p`` for Word's names, strict or transitional; the bare name for others."""
    space, _, local = tag.rpartition("}")
    return next((short for part, short in _SPACES if part in space), "") + local


def attribute(node: Element, name: str) -> str:
    """An attribute by its bare name, whatever its namespace."""
    return next((value for key, value in node.items() if key.rpartition("}")[2] == name), "")


def find(node: Element | None, *path: str) -> Element | None:
    for name in path:
        node = next((child for child in node if short(child.tag) == name), None) if node is not None else None
    return node


def switched(node: Element | None) -> bool:
    """Whether a switch such as ``w:vanish`` is there and not off."""
    return node is not None and attribute(node, "val") not in ("0", "false", "off")
