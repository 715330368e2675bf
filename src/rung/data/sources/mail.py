"""Mail folders (mbox, RFC 4155): threads become conversations, what is quoted from earlier mails is left out."""

from __future__ import annotations

import email.policy
import email.utils
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import IO, Any, cast

from rung.core.errors import InputError, MissingExtra
from rung.core.parts.problem import Problems
from rung.core.system.extras import require
from rung.data.rows.records import Record
from rung.data.sources.chat import Turn, converse
from rung.documents.decode import decode
from rung.documents.formats.html import extract

_ATTRIBUTION = re.compile(
    r"^(?:On\b.{4,200}\bwrote|Am\b.{4,200}\bschrieb.{0,80}|Le\b.{4,200}\ba écrit|El\b.{4,200}\bescribió)\s*:?\s*$"
    r"|^(?=[^\n]{0,200}(?:\d{4}|\d:\d\d))(?=[^\n]{0,200}@)[^>\n][^\n]{4,250}[:：]\s*$",
    re.DOTALL,
)
"""Who wrote what is quoted below: in some languages by its words, in any by a date and an address before a colon."""
_ORIGINAL = re.compile(
    r"^\s*-{2,}\s*(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Message d'origine|Mensaje original|Messaggio originale|"
    r"Oorspronkelijk bericht)\s*-{2,}|^Begin forwarded message:\s*$", re.I,
)  # fmt: skip
_HEADER = re.compile(r"^\*?(?:From|Von|De|Da|Van|От)\*?\s?:\*?\s.+")
_SENT = re.compile(
    r"^\*?(?:Sent|Date|To|Subject|Gesendet|An|Betreff|Envoyé|À|Objet|Enviado(?: el)?|Para|Asunto|Assunto|Inviato|A|Oggetto|Verzonden|Aan|"
    r"Onderwerp|Отправлено|Кому|Тема)\*?\s?:\*?\s"
)
_RULE = re.compile(r"[_-]{10,}\s*")


def unquoted(text: str) -> str:
    """What somebody wrote themselves: without quoted lines, the line that introduces them, copies of whole mails
    below, and the signature after ``-- ``."""
    lines = text.replace("\r\n", "\n").split("\n")
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line == "-- " or (line == "--" and not (out and out[-1])):
            break
        if _ORIGINAL.match(line) or (
            _HEADER.match(line) and at + 1 < len(lines) and any(map(_SENT.match, lines[at + 1 : at + 4]))
        ):
            if out and _RULE.fullmatch(out[-1]):
                out.pop()
            break
        if line.startswith(">"):
            at += 1
            continue
        # "On Monday, X wrote:" may be broken over three lines; what follows it is a quotation.
        for width in (1, 2, 3):
            if _ATTRIBUTION.match("\n".join(lines[at : at + width])) and _quoted(lines, at + width):
                at += width
                break
        else:
            out.append(line.rstrip())
            at += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _quoted(lines: Sequence[str], at: int) -> bool:
    rest = next((line for line in lines[at:] if line.strip()), ">")
    return rest.startswith(">")


def _text(page: str) -> str:
    """The text of an HTML mail, without what it quotes."""
    parser = require("selectolax.lexbor", "documents", "reading mails that are HTML").LexborHTMLParser(page)
    for node in parser.css("blockquote, .gmail_quote, .moz-cite-prefix, #divRplyFwdMsg"):
        node.decompose()
    return extract(parser.body) if parser.body is not None else ""


def _body(message: EmailMessage) -> str:
    """What the mail says: its texts in their order, of alternatives the plain one where it says anything."""
    return "\n\n".join(_texts(message))


def _texts(part: EmailMessage) -> list[str]:
    kind = part.get_content_type()
    if part.get_content_disposition() == "attachment":
        return []
    if part.is_multipart() and kind != "message/rfc822":
        inner = [cast(EmailMessage, way) for way in part.iter_parts()]
        if kind != "multipart/alternative":
            return [text for way in inner for text in _texts(way)]
        inner.sort(key=lambda way: way.get_content_type() != "text/plain")
        return next((found for way in inner if (found := _texts(way))), [])
    raw = part.get_payload(decode=True)
    if not kind.startswith(("text/plain", "text/html", "multipart/")) or not isinstance(raw, bytes):
        return []
    content = _decoded(raw, (part.get_content_charset() or "us-ascii").lower())
    if kind == "text/html":
        content = _text(content)
    elif str(part.get_param("format", "")).lower() == "flowed":
        content = unflowed(content, delete=str(part.get_param("delsp", "")).lower() == "yes")
    said = unquoted(content)
    return [said] if said else []


def _decoded(raw: bytes, charset: str) -> str:
    """A mail's text. Mails that say nothing, or ASCII, hold anything; those that say Latin-1 mean cp1252."""
    try:
        if charset in ("us-ascii", "ascii", "unknown-8bit"):
            return decode(raw).text
        return raw.decode("cp1252" if charset in ("iso-8859-1", "latin-1", "latin1") else charset)
    except (LookupError, ValueError):  # no such charset, or one of no text
        return decode(raw).text


def unflowed(text: str, *, delete: bool = False) -> str:
    """The paragraphs of a text whose lines flow (RFC 3676): one that ends with a space goes on in the next of the same
    depth of quotation; ``delete``: that space is no part of the text. The space that lines are stuffed with goes."""
    out: list[list[str]] = []
    depth = -1  # of the line that goes on
    for line in text.replace("\r\n", "\n").split("\n"):
        bare = line.lstrip(">")
        level = len(line) - len(bare)
        bare = bare.removeprefix(" ")
        flows = bare.endswith(" ") and bare != "-- "
        if depth == level and bare != "-- ":
            out[-1].append(bare)
        else:
            out.append([">" * level, bare])
        if flows and delete:
            out[-1][-1] = bare[:-1]
        depth = level if flows else -1
    return "\n".join("".join(pieces) for pieces in out)


def _ids(value: Any) -> list[str]:
    return re.findall(r"<[^<>\s]+>", str(value or ""))


@dataclass(frozen=True, slots=True)
class _Mail:
    id: str
    sender: str
    time: float | None
    subject: str
    number: int
    span: tuple[int, int]


_SEPARATOR = re.compile(rb"From (?:\S+@\S+\s*$|.{0,200}\d:\d\d.{0,60}\d{4})")
"""The line before each mail (RFC 4155): an address, and a date in ctime's form. Others that begin so are text that
was not escaped."""
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
"""``>From `` at the beginning of a line is the mbox format's, not a quotation (mboxrd and mboxo)."""


def _spans(path: Path) -> Iterator[tuple[int, int]]:
    """Where the mails of an mbox lie in the file, without the lines between them. Raises InputError for a file that
    is none."""
    begin = at = 0
    blank = True
    with path.open("rb") as box:
        for line in box:
            if not at and not line.startswith(b"From "):
                raise InputError(
                    "is not an mbox: those begin with `From `", file=path, remedy="export the mails as mbox",
                    code="not-an-mbox",
                )  # fmt: skip
            if line.startswith(b"From ") and (not at or (blank and _SEPARATOR.match(line))):
                if begin:
                    yield begin, at
                begin = at + len(line)
            blank = not line.strip()
            at += len(line)
    if not at:
        raise InputError("is empty, expected an mbox", file=path, remedy="export the mails as mbox", code="not-an-mbox")
    yield begin, at


def _parse(box: IO[bytes], span: tuple[int, int], *, headers: bool = False) -> EmailMessage:
    box.seek(span[0])
    raw = _ESCAPED.sub(rb"\1", box.read(span[1] - span[0]))
    message = BytesParser(policy=email.policy.default).parsebytes(raw, headersonly=headers)
    assert isinstance(message, EmailMessage)
    return message


def read(path: Path, me: Sequence[str], problems: Problems) -> Iterator[Record]:
    """Conversations of a mail folder, by thread (Message-ID, In-Reply-To, References) in the order of their dates.

    ``me``: the addresses whose mails are learnt. A mail that cannot be read, and a thread that they did not answer
    in, go to ``problems``. Raises InputError for a file that holds no mail."""
    if not me:
        raise InputError(
            f"whose mails are to be learnt from {path.name}?", remedy="say who you are: --me ADDRESS", code="no-author"
        )
    try:
        with path.open("rb") as box:
            for thread in _threads(path, box, problems):
                yield from _record(path, box, thread, me, problems)
    except OSError as error:
        raise InputError(
            f"cannot read it: {error.strerror}", file=path, remedy="correct the path", code="unreadable"
        ) from None


def _threads(path: Path, box: IO[bytes], problems: Problems) -> list[list[_Mail]]:
    """The mails of a folder by their threads; of each the headers alone are read."""
    parents: dict[str, str] = {}

    def root(id: str) -> str:
        while parents.setdefault(id, id) != id:
            parents[id] = parents[parents[id]]
            id = parents[id]
        return id

    mails: dict[str, _Mail] = {}
    for number, span in enumerate(_spans(path), 1):
        try:
            headers = _parse(box, span, headers=True)
            own = (_ids(headers["Message-ID"]) or [f"<{path.name}:{number}>"])[0]
            related = _ids(headers["References"]) + _ids(headers["In-Reply-To"])
            sender = email.utils.parseaddr(str(headers["From"] or ""))[1]
            mail = _Mail(own, sender, _moment(headers["Date"]), str(headers["Subject"] or ""), number, span)
        except Exception as error:  # the parser raises whatever a broken header makes it stumble over
            _unread(path, number, error, problems)
            continue
        if own in mails:
            problems.add(
                f"mail {number}: there was a mail with the id {own} before; the first is kept",
                file=path, level="warning", code="id-twice",
            )  # fmt: skip
            continue
        mails[own] = mail
        for other in related:
            one, two = root(own), root(other)
            if one != two:
                parents[one] = two
        root(own)
    threads: dict[str, list[_Mail]] = {}
    for mail in mails.values():
        threads.setdefault(root(mail.id), []).append(mail)
    return list(threads.values())


def _record(path: Path, box: IO[bytes], thread: list[_Mail], me: Sequence[str], problems: Problems) -> Iterator[Record]:
    if all(mail.time is not None for mail in thread):
        thread.sort(key=lambda mail: mail.time or 0.0)
    turns = []
    for mail in thread:
        try:
            turns.append(Turn(mail.sender, _body(_parse(box, mail.span)), mail.id, mail.time))
        except MissingExtra:
            raise
        except Exception as error:  # see above
            _unread(path, mail.number, error, problems)
    messages = converse(turns, me)
    if not messages:
        title = f"thread {thread[0].id} ({thread[0].subject[:60]!r})"
        problems.add(f"{title}: {' or '.join(me)} answered nothing in it", file=path, code="no-answer")
        return
    source = {
        "file": path.name,
        "thread": thread[0].id,
        "mails": [turn.place for turn in turns],
        "subject": thread[0].subject,
    }
    yield Record(f"{path.name}:{thread[0].number}", messages, source=source)


def _unread(path: Path, number: int, error: Exception, problems: Problems) -> None:
    problems.add(f"mail {number} cannot be read: {type(error).__name__}: {error}", file=path, code="not-a-mail")


def _moment(value: Any) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(str(value)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
