"""HTML: the words of a page in their order, without scripts, styles and navigation (parsed by lexbor, through selectolax)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

from rung.core.errors import InputError
from rung.core.extras import require
from rung.core.problem import Problems
from rung.core.types import Document
from rung.documents.decode import Decoded, decode
from rung.documents.formats.text import tell_encoding
from rung.documents.formats.words import raised
from rung.documents.source import Source, content

DROPPED = frozenset(
    {"script", "style", "nav", "template", "noscript", "svg", "iframe", "object", "canvas", "head", "select", "button", "dialog",
     "audio", "video", "del", "rt", "rp", "annotation", "annotation-xml"}
)  # fmt: skip
"""What is not seen, or no part of what the page says: also deleted text, and readings above words."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "main", "header", "footer", "aside", "ul", "ol", "dl", "table", "thead", "tbody", "tfoot",
     "caption", "blockquote", "pre", "figure", "figcaption", "form", "fieldset", "legend", "address", "details", "summary", "hr",
     "body", "center", "menu", "hgroup", "search"}
)  # fmt: skip
_LINES = frozenset({"tr", "dt", "dd"})
_STRUCTURE = frozenset({*_HEADINGS, "table", "ul", "ol", "dl", "pre", "div", "section", "article", "blockquote"})
"""What makes the cell that holds it a part of a page's layout, not of a table."""
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w:-]+)", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\v\xa0]+")
_UNSEEN = re.compile(r"(?i)(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b")
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_CLOSED = frozenset(
    [
        "p",
        "li",
        "td",
        "th",
        "tr",
        "dt",
        "dd",
        "thead",
        "tbody",
        "tfoot",
        "option",
        "br",
        "img",
        "input",
        "meta",
        "link",
        "hr",
        "wbr",
        "source",
        "col",
        "area",
        "base",
        "embed",
        "param",
        "track",
    ]
)
"""Elements that nobody has to close: they do not nest for being left open."""
DEPTH = 3000
"""Elements inside one another beyond which a page is read without its structure: parsers take the square of it."""


@dataclass(frozen=True, slots=True)
class HtmlReader:
    """One document a page. Headings become Markdown's, list items lines with a dash, table cells are parted by ``|``."""

    suffixes: tuple[str, ...] = (".html", ".htm", ".xhtml")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        parser = require("selectolax.lexbor", "documents", f"reading {source.path.name}").LexborHTMLParser
        found = _decode(content(source.path))
        if found.line is not None:
            tell_encoding(found, source, problems)
        metadata: dict[str, Any] = {} if found.encoding == "utf-8" else {"encoding": found.encoding}
        if _depth(found.text) > DEPTH:
            problems.add(
                "is nested too deeply: its words are read without headings, lists and tables", file=source.id,
                level="warning", code="too-deep",
            )  # fmt: skip
            yield Document(source.id, _bare(found.text), metadata)
            return
        page = parser(found.text)
        title = page.css_first("head title")
        if title is not None and (words := " ".join(title.text().split())):
            metadata["title"] = words
        if page.root is not None and (language := page.root.attributes.get("lang")):
            metadata["lang"] = language
        mains = page.css("main")
        text = extract(mains[0]) if len(mains) == 1 else ""
        if not text and page.body is not None:
            text = extract(page.body)
        yield Document(source.id, text, metadata)


def _decode(raw: bytes) -> Decoded:
    """By the byte order mark, else by what the page says of itself (WHATWG's prescan), else as any text."""
    said = _CHARSET.search(raw, 0, 4096)
    if said is not None and raw[:2] not in (b"\xff\xfe", b"\xfe\xff") and raw[:3] != b"\xef\xbb\xbf":
        name = said[1].decode("ascii").lower()
        # Pages that say Latin-1 mean cp1252 (WHATWG Encoding Standard, section 4.2).
        name = "cp1252" if name in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii", "windows-1252") else name
        if name.replace("_", "-") not in ("utf-8", "utf8", "utf-16", "utf-16le", "utf-16be"):
            try:
                return Decoded(str(raw, name).replace("\r\n", "\n"), name)
            except (LookupError, ValueError):  # no such encoding, or one of no text
                pass
    if b"\0" in raw[:65536] and b"<" not in raw[:65536].replace(b"\0", b""):
        raise InputError("is not text: it holds bytes that no text has (a picture, an archive, a program?)")
    return decode(raw)


def _depth(text: str) -> int:
    """How deep elements lie in one another, about."""
    if text.count("<") < DEPTH:
        return 0
    depth = most = 0
    for tag in _TAG.finditer(text):
        if tag[2].lower() not in _CLOSED:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            most = max(most, depth)
    return most


def _bare(text: str) -> str:
    """The words between the tags."""
    text = re.sub(r"(?is)<(script|style|template)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", " ", text)
    return " ".join(unescape(re.sub(r"<[^<>]*>", " ", text)).split())


def extract(root: Any) -> str:
    """The text under a node. Goes down and up by hand: pages nest deeper than Python may recurse."""
    writer = _Writer()
    node, descend = root.first_child, True
    while node is not None:
        tag = node.tag or "-"
        if descend:
            if tag == "-text":
                writer.write(node.text_content or "")
            elif tag not in DROPPED and not tag.startswith(("-", "!")) and _seen(node):
                writer.open(tag, node)
                if node.first_child is not None:
                    node = node.first_child
                    continue
                writer.close(tag)
        else:
            writer.close(tag)
        if node.next is not None:
            node, descend = node.next, True
            continue
        node, descend = node.parent, False
        if node is None or node.mem_id == root.mem_id:
            break
    return _tidy("".join(writer.out))


def _seen(node: Any) -> bool:
    attributes = node.attributes
    return "hidden" not in attributes and not (attributes.get("style") and _UNSEEN.search(attributes["style"]))


class _Writer:
    """Text with marks for breaks: \\0 for a line, two for a paragraph, \\1 around what stands as it is, \\2 behind a list's mark."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._pre = 0
        self._lists: list[int | None] = []
        self._cells: list[bool] = []  # whether each open cell is written in one line
        self._heading = 0
        self._raised = ""
        self._note = False

    def write(self, words: str) -> None:
        if "\1" in words or "\2" in words:
            words = words.replace("\1", "").replace("\2", "")
        if not self._pre:
            words = _SPACE.sub(" ", words)
        if self._raised and words.strip():
            before = next((piece[-1] for piece in reversed(self.out) if piece), "")
            self.out.append(raised(self._raised, before, words))
            self._raised = ""
        self.out.append(words)

    def open(self, tag: str, node: Any) -> None:
        if tag in ("td", "th"):
            inside = node.first_child
            line = True
            while inside is not None and line:
                line, inside = inside.tag not in _STRUCTURE, inside.next
            self._cells.append(line)
        elif tag in ("sup", "sub"):
            self._note = node.first_child is not None and node.first_child.tag == "a"  # a note's mark
            if self._note:
                self.out.append("[")
            self._raised = {"sup": "superscript", "sub": "subscript"}[tag]
        elif tag == "li":
            self._mark()
        elif tag in ("ul", "ol", "menu"):
            start = node.attributes.get("start") or "1"
            self._lists.append((int(start) if start.isdecimal() and len(start) < 9 else 1) if tag == "ol" else None)
            self._break(2)
        elif tag == "pre":
            self._pre += 1
            self.out.append("\0\0```\0\1")
        elif tag in _HEADINGS:
            self._break(2)
            self._heading += 1
            self.out.append("#" * _HEADINGS[tag] + " \2")
        else:
            self._break(1 if tag in _LINES or tag == "br" else 2 if tag in _BLOCKS else 0)

    def _mark(self) -> None:
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        self._break(1)
        self.out.append("- \2" if number is None else f"{number}. \2")

    def _break(self, lines: int) -> None:
        if lines:
            self.out.append(" " if self._heading or (self._cells and self._cells[-1]) else "\0" * lines)

    def close(self, tag: str) -> None:
        if tag in ("td", "th"):
            line = self._cells.pop() if self._cells else True
            self.out.append(" | " if line else "\0\0")
        elif tag in ("sup", "sub"):
            if self._note:
                self.out.append("]")
            self._raised, self._note = "", False
        elif tag in ("ul", "ol", "menu"):
            if self._lists:
                self._lists.pop()
            self._break(2)
        elif tag == "pre":
            self._pre -= 1
            self.out.append("\1\0```\0\0")
        elif tag in _HEADINGS:
            self._heading -= 1
            if self.out[-1].endswith("# \2"):  # nothing in it
                self.out.pop()
            self._break(2)
        elif tag in _BLOCKS:
            self._break(2)


_BREAKS = re.compile(r"[ ]*\0[\0 ]*")


def _tidy(text: str) -> str:
    """Marks to line breaks, one or two of them; the spaces around them go. What stands between \\1 is kept as it is."""
    parts = text.split("\1")
    for at in range(0, len(parts), 2):
        part = re.sub("\x02[\0 ]*", "", parts[at])
        part = _BREAKS.sub(lambda found: "\n\n" if found[0].count("\0") > 1 else "\n", part)
        parts[at] = re.sub(r" +", " ", part).replace(" |\n", "\n").removesuffix(" | ")
    return "".join(parts).strip()


HTML = HtmlReader()
