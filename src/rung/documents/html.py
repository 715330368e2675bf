"""HTML: the words of a page in their order, without scripts, styles and navigation (parsed by lexbor, through selectolax)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rung.core.errors import InputError
from rung.core.extras import require
from rung.core.problem import Problems
from rung.core.types import Document
from rung.documents.decode import Decoded, decode
from rung.documents.source import Source, content
from rung.documents.text import tell_encoding

DROPPED = frozenset(
    {"script", "style", "nav", "template", "noscript", "svg", "iframe", "object", "canvas", "head", "select", "button", "dialog",
     "audio", "video"}
)  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "main", "header", "footer", "aside", "ul", "ol", "dl", "dt", "dd", "table", "thead",
     "tbody", "tfoot", "tr", "blockquote", "pre", "figure", "figcaption", "form", "fieldset", "address", "details", "summary",
     "hr", "body"}
)  # fmt: skip
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w:-]+)", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\v\xa0]+")


@dataclass(frozen=True, slots=True)
class HtmlReader:
    """One document a page. Headings become Markdown's, list items lines with a dash, table cells are parted by ``|``."""

    suffixes: tuple[str, ...] = (".html", ".htm", ".xhtml")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        parser = require("selectolax.lexbor", "documents", f"reading {source.path.name}").LexborHTMLParser
        found = _decode(content(source.path))
        if found.line is not None:
            tell_encoding(found, source, problems)
        page = parser(found.text)
        metadata: dict[str, Any] = {} if found.encoding == "utf-8" else {"encoding": found.encoding}
        title = page.css_first("head title")
        if title is not None and (words := " ".join(title.text().split())):
            metadata["title"] = words
        if page.root is not None and (language := page.root.attributes.get("lang")):
            metadata["lang"] = language
        mains = page.css("main")
        body = mains[0] if len(mains) == 1 else page.body
        yield Document(source.id, extract(body) if body is not None else "", metadata)


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
            except (LookupError, UnicodeDecodeError):
                pass
    if b"\0" in raw[:65536] and b"<" not in raw[:65536].replace(b"\0", b""):
        raise InputError("is not text: it holds bytes that no text has (a picture, an archive, a program?)")
    return decode(raw)


def extract(root: Any) -> str:
    """The text under a node. Goes down and up by hand: pages nest deeper than Python may recurse."""
    out: list[str] = []
    pre = 0
    node, descend = root.first_child, True
    while node is not None:
        tag = node.tag or "-"
        if descend:
            if tag == "-text":
                words = node.text_content or ""
                out.append(words if pre else _SPACE.sub(" ", words))
            elif tag in DROPPED or tag.startswith(("-", "!")) or "hidden" in node.attributes:
                pass
            else:
                _open(tag, out)
                if tag == "pre":
                    pre += 1
                if node.first_child is not None:
                    node = node.first_child
                    continue
                if tag == "pre":
                    pre -= 1
                _close(tag, out)
        else:
            if tag == "pre":
                pre -= 1
            _close(tag, out)
        if node.next is not None:
            node, descend = node.next, True
            continue
        node, descend = node.parent, False
        if node is None or node.mem_id == root.mem_id:
            break
    return _tidy("".join(out))


def _open(tag: str, out: list[str]) -> None:
    if tag in _HEADINGS:
        out.append("\0\0" + "#" * _HEADINGS[tag] + " ")
    elif tag == "li":
        out.append("\0- ")
    elif tag == "br":
        out.append("\0")
    elif tag == "pre":
        out.append("\0\0```\0\1")
    elif tag in ("tr", "dt", "dd"):
        out.append("\0")
    elif tag in _BLOCKS:
        out.append("\0\0")


def _close(tag: str, out: list[str]) -> None:
    if tag in ("td", "th"):
        out.append(" | ")
    elif tag == "pre":
        out.append("\1\0```\0\0")
    elif tag in ("tr", "dt", "dd"):  # the next one's beginning breaks the line
        pass
    elif tag in _HEADINGS or tag in _BLOCKS:
        out.append("\0\0")


_BREAKS = re.compile(r"[ ]*\0[\0 ]*")


def _tidy(text: str) -> str:
    """Marks to line breaks, one or two of them; the spaces around them go. What stands between \\1 is kept as it is."""
    parts = text.split("\1")
    for at in range(0, len(parts), 2):
        parts[at] = _BREAKS.sub(lambda found: "\n\n" if found[0].count("\0") > 1 else "\n", parts[at])
        parts[at] = re.sub(r" +", " ", parts[at]).replace(" |\n", "\n")
    return "".join(parts).strip()


HTML = HtmlReader()
