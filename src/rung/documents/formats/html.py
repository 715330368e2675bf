"""HTML: the words of a page in their order, without scripts, styles and navigation (parsed by lexbor, through
selectolax)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.system.extras import require
from rung.core.types import Document
from rung.documents.decode import Decoded, decode
from rung.documents.formats.text import tell_encoding
from rung.documents.formats.words import raised, spell
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
     "body", "center", "menu", "hgroup", "search", "noframes"}
)  # fmt: skip
_LINES = frozenset({"tr", "dt", "dd", "textarea"})
_STRUCTURE = frozenset({*_HEADINGS, "table", "ul", "ol", "dl", "pre", "div", "section", "article", "blockquote"})
"""What makes the cell that holds it a part of a page's layout, not of a table."""
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w:-]+)", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\v\xa0]+")
_UNSEEN = re.compile(r"(?i)(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b")
_RAISED = re.compile(r"(?i)(?:^|;)\s*vertical-align\s*:\s*(super|sub)\b")
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_EMPTY = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)\b)"
    r"""([a-zA-Z][\w-]*)((?:\s(?:[^<>"']|"[^"<]*"|'[^'<]*')*)?)/>"""
)
"""Elements that XML closes where they open, and HTML would not: the rest of the page would lie in them."""
_CLOSED = frozenset(
    {"p", "li", "td", "th", "tr", "dt", "dd", "thead", "tbody", "tfoot", "option", "br", "img", "input", "meta", "link", "hr", "wbr",
     "source", "col", "area", "base", "embed", "param", "track"}
)  # fmt: skip
"""Elements that nobody has to close: they do not nest for being left open."""
DEPTH = 3000
"""Elements inside one another beyond which a page is read without its structure: parsers take the square of it."""


@dataclass(frozen=True, slots=True)
class HtmlReader:
    """One document a page. Headings become Markdown's, list items lines with a dash, table cells are parted by
    ``|``."""

    suffixes: tuple[str, ...] = (".html", ".htm", ".xhtml")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        parser = require("selectolax.lexbor", "documents", f"reading {source.path.name}").LexborHTMLParser
        found = _decode(content(source.path))
        if found.line is not None:
            tell_encoding(found, source, problems)
        metadata: dict[str, Any] = {} if found.encoding == "utf-8" else {"encoding": found.encoding}
        text = found.text
        if ".xhtml" in source.path.name.lower() or text.lstrip()[:5] == "<?xml":
            text = _EMPTY.sub(r"<\1\2></\1>", text)
        if _depth(text) > DEPTH:
            problems.add(
                "is nested too deeply: its words are read without headings, lists and tables", file=source.id,
                level="warning", code="too-deep",
            )  # fmt: skip
            yield Document(source.id, _bare(text), metadata)
            return
        page = parser(text)
        title = page.css_first("head title")
        if title is not None and (words := " ".join(title.text().split())):
            metadata["title"] = words
        if page.root is not None and (language := page.root.attributes.get("lang")):
            metadata["lang"] = language
        mains = [main for main in page.css("main") if _seen(main)]
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
        tag = _element(node)
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


def _element(node: Any) -> str:
    """A node's element: sup or sub for words that their style sets above or below the line."""
    tag = node.tag or "-"
    if tag in ("span", "font", "small") and (found := _RAISED.search(node.attributes.get("style") or "")):
        return "sup" if found[1].lower() == "super" else "sub"
    return str(tag)


def _seen(node: Any) -> bool:
    attributes = node.attributes
    if "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found":  # that is shown when searched
        return False
    return not (attributes.get("style") and _UNSEEN.search(attributes["style"]))


@dataclass(slots=True)
class _List:
    """A list that is open, and the mark of its next item."""

    ordered: bool
    node: Any
    next: int = 1
    step: int = 1

    def __post_init__(self) -> None:
        if self.ordered:
            start = _whole(self.node.attributes.get("start"))
            if "reversed" in self.node.attributes:
                self.step = -1
                start = sum(child.tag == "li" for child in self.node.iter()) if start is None else start
            self.next = 1 if start is None else start

    def mark(self, item: Any) -> str:
        if not self.ordered:
            return "-"
        value = _whole(item.attributes.get("value"))
        number = self.next if value is None else value
        self.next = number + self.step
        return f"{spell(number, _TYPES.get(self.node.attributes.get('type') or '', 'decimal'))}."


_TYPES = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_FORMULA = {"mfrac": "/", "msup": "^", "msub": "_", "msubsup": "_^", "munder": "_", "mover": "^", "munderover": "_^",
            "mi": "", "mn": "", "mo": "", "mtext": "", "mrow": "", "msqrt": "", "mroot": ","}  # fmt: skip
"""Pieces of a formula, and what stands between the parts of each."""
_SUM = re.compile(r"\w\s*[-+−±=]\s*\w")
_STRUCK = frozenset({"s", "strike"})
"""What is seen and no longer holds: marked as Markdown does."""


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d{1,8}", text.strip()) else None


def _fraction(node: Any) -> bool:
    """Whether a raised number is the upper part of a fraction: a slash and a lowered one follow."""
    slash = node.next
    below = slash.next if slash is not None and (slash.text_content or "").strip() in ("/", "⁄") else None
    return below is not None and _element(below) == "sub"


class _Spans:
    """Cells of a table that reach into the rows below (repeated there) or over several columns."""

    ROOM = 10_000
    """Cells that are repeated in a table at most."""

    def __init__(self) -> None:
        self._column, self._begin, self._wide, self._high = 0, 0, 1, 1
        self._left: dict[int, tuple[int, str]] = {}
        self._room = self.ROOM

    def row(self) -> None:
        self._column = 0

    def above(self) -> list[str]:
        """What stands in the next columns from rows above."""
        out = []
        while (found := self._left.get(self._column)) is not None and self._room:
            rows, text = found
            out += [text, " | "]
            self._room -= 1
            if rows > 1:
                self._left[self._column] = rows - 1, text
            else:
                del self._left[self._column]
            self._column += 1
        return out

    def open(self, cell: Any, begin: int) -> None:
        self._begin = begin
        self._wide = min(_whole(cell.attributes.get("colspan")) or 1, 100)
        self._high = min(_whole(cell.attributes.get("rowspan")) or 1, 1000)

    def close(self, out: list[str]) -> None:
        text = "".join(out[self._begin :])
        for _ in range(max(self._wide, 1)):
            if self._high > 1 and len(text) <= 200:
                self._left[self._column] = self._high - 1, text
            self._column += 1
        if self._wide > 1 and self._room >= self._wide:
            self._room -= self._wide
            out.append(" | " * (self._wide - 1))
        self._wide = self._high = 1


class _Writer:
    """Text with marks for breaks: \\0 for a line, two for a paragraph, \\1 around what stands as it is, \\2 behind a
    list's mark."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._pre = 0
        self._lists: list[_List] = []
        self._cells: list[bool] = []  # whether each open cell is written in one line
        self._headings: list[int] = []  # where each open one begins
        self._tables: list[_Spans] = []
        self._after: list[str] = []  # what stands behind each open sup or sub
        self._math: list[
            tuple[str, str]
        ] = []  # what stands between the parts of each open piece of a formula, and behind it

    def write(self, words: str) -> None:
        if "\1" in words or "\2" in words:
            words = words.replace("\1", "").replace("\2", "")
        if not self._pre:
            words = _SPACE.sub(" ", words)
        self.out.append(words)

    def open(self, tag: str, node: Any) -> None:
        if tag in ("td", "th"):
            self._cell(node)
        elif tag == "tr" and self._tables:
            self._tables[-1].row()
            self._break(1)
        elif tag in ("sup", "sub"):
            self._raise(tag, node)
        elif tag in _FORMULA:
            self._part(tag, node)
        elif tag == "img":
            self.out.append(" ".join(("", *(node.attributes.get("alt") or "").split(), "")))
        elif tag in _STRUCK:
            self.out.append("~~")
        elif tag == "li":
            self._break(1)
            self.out.append(f"{self._lists[-1].mark(node) if self._lists else '-'} \2")
        elif tag in ("ul", "ol", "menu"):
            self._lists.append(_List(tag == "ol", node))
            self._break(2)
        elif tag == "pre":
            self._pre += 1
            self.out.append("\0\0```\0\1")
        elif tag in _HEADINGS:
            self._break(2)
            self._headings.append(len(self.out))
            self.out.append("#" * _HEADINGS[tag] + " \2")
        else:
            if tag == "table":
                self._tables.append(_Spans())
            self._break(1 if tag in _LINES or tag == "br" else 2 if tag in _BLOCKS else 0)

    def _cell(self, node: Any) -> None:
        inside = node.first_child
        line = True
        while inside is not None and line:
            line, inside = inside.tag not in _STRUCTURE, inside.next
        if line and self._tables:
            self.out += self._tables[-1].above()
            self._tables[-1].open(node, len(self.out))
        self._cells.append(line)

    def _raise(self, tag: str, node: Any) -> None:
        inner = node.first_child
        words = node.text().strip()
        before, after = "", ""
        if inner is not None and inner.tag == "a":  # a note's mark
            before, after = ("", "") if words[:1] in "[(" else ("[", "]")
        elif _fraction(node):
            before = " " if "".join(self.out[-1:])[-1:].isalnum() else ""
        else:
            last = next((piece[-1] for piece in reversed(self.out) if piece), "")
            before, after = raised({"sup": "superscript", "sub": "subscript"}[tag], last, words)
        self.out.append(before)
        self._after.append(after)

    def _part(self, tag: str, node: Any) -> None:
        """A piece of a formula (MathML): a sum that is a part of a fraction, a power or a root stands in
        parentheses."""
        if self._math and self._math[-1][0]:  # a space for the first part, then what stands before each
            signs, after = self._math[-1]
            self._math[-1] = signs[1:], after
            self.out.append(signs[0].strip())
        signs, after = f" {_FORMULA[tag]}" if _FORMULA[tag] else "", ""
        if tag in ("msqrt", "mroot") or (tag == "mrow" and self._math and _SUM.search(node.text()[:200])):
            self.out.append("(" if tag == "mrow" else "√(")
            after = ")"
        self._math.append((signs, after))

    def _break(self, lines: int) -> None:
        if lines:
            self.out.append(" " if self._headings or (self._cells and self._cells[-1]) else "\0" * lines)

    def _close_cell(self) -> None:
        line = self._cells.pop() if self._cells else True
        if line and self._tables:
            self._tables[-1].close(self.out)
        self.out.append(" | " if line else "\0\0")

    def close(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._close_cell()
        elif tag in ("sup", "sub"):
            self.out.append(self._after.pop() if self._after else "")
        elif tag in _FORMULA:
            self.out.append(self._math.pop()[1] if self._math else "")
        elif tag in _STRUCK:
            self.out.append("~~")
        elif tag in ("ul", "ol", "menu"):
            if self._lists:
                self._lists.pop()
            self._break(2)
        elif tag == "pre":
            self._pre -= 1
            self.out.append("\1\0```\0\0")
        elif tag in _HEADINGS:
            begin = self._headings.pop() if self._headings else len(self.out)
            if not "".join(self.out[begin + 1 :]).strip(" \0"):  # nothing in it
                del self.out[begin:]
            self._break(2)
        elif tag in _BLOCKS:
            if tag == "table" and self._tables:
                self._tables.pop()
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
