"""Mail folders (mbox, RFC 4155): threads become conversations, what is quoted from earlier mails is left out."""

from __future__ import annotations

import email.policy
import email.utils
import mailbox
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.data.rows.records import Record
from rung.data.sources.talk import Turn, converse

_ATTRIBUTION = re.compile(
    r"^(?:On\b.{4,200}\bwrote|Am\b.{4,200}\bschrieb.{0,80}|Le\b.{4,200}\ba écrit|El\b.{4,200}\bescribió)\s*:?\s*$",
    re.DOTALL,
)
_ORIGINAL = re.compile(
    r"^\s*-{2,}\s*(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Message d'origine)\s*-{2,}", re.I
)
_HEADER = re.compile(r"^\*?(?:From|Von|De)\*?:\s.+")
_SENT = re.compile(r"^\*?(?:Sent|Date|To|Gesendet|An|Envoyé|À|Subject)\*?:\s")


def unquoted(text: str) -> str:
    """What somebody wrote themselves: without quoted lines, the line that introduces them, copies of whole mails below, and the
    signature after ``-- ``."""
    lines = text.replace("\r\n", "\n").split("\n")
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.rstrip("\r") in ("-- ", "--"):
            break
        if _ORIGINAL.match(line) or (
            _HEADER.match(line) and at + 1 < len(lines) and any(map(_SENT.match, lines[at + 1 : at + 4]))
        ):
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


class _Words(HTMLParser):
    """The text of an HTML mail; quotations and what is not shown are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.out: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "script", "head", "blockquote"):
            self._hidden += 1
        elif tag in ("br", "p", "div", "tr", "li"):
            self.out.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "head", "blockquote"):
            self._hidden = max(0, self._hidden - 1)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.out.append(" ".join(data.split()) if data.strip() else " ")


def _body(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    try:
        content = part.get_content()
    except (LookupError, UnicodeError, KeyError):  # an unknown charset
        raw = part.get_payload(decode=True)
        content = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    if not isinstance(content, str):
        return ""
    if part.get_content_subtype() == "html":
        words = _Words()
        words.feed(content)
        content = "".join(words.out)
    return unquoted(content)


def _ids(value: Any) -> list[str]:
    return re.findall(r"<[^<>\s]+>", str(value or ""))


@dataclass(frozen=True, slots=True)
class _Mail:
    id: str
    sender: str
    time: float | None
    subject: str
    number: int
    key: Any


def read(path: Path, me: Sequence[str], faults: list[str]) -> Iterator[Record]:
    """Conversations of a mail folder, by thread (Message-ID, In-Reply-To, References) in the order of their dates.

    ``me``: the addresses whose mails are learnt. A thread that they did not answer in goes to ``faults``. Raises InputError for a file
    that holds no mail.
    """
    if not me:
        raise InputError(f"whose mails are to be learnt from {path.name}?", remedy="say who you are: --me ADDRESS")
    try:
        with path.open("rb") as stream:
            head = stream.read(5)
        if head != b"From ":
            raise InputError("is no mail folder: an mbox begins with `From `", file=path, remedy="export it as mbox")
        box = mailbox.mbox(path, create=False)
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", file=path, remedy="correct the path") from None
    parser = BytesParser(policy=email.policy.default)
    parents: dict[str, str] = {}

    def root(id: str) -> str:
        while parents.setdefault(id, id) != id:
            parents[id] = parents[parents[id]]
            id = parents[id]
        return id

    mails: list[_Mail] = []
    seen: set[str] = set()
    try:
        for number, key in enumerate(box.iterkeys(), 1):
            try:
                headers = parser.parsebytes(box.get_bytes(key), headersonly=True)
                own = (_ids(headers["Message-ID"]) or [f"<{path.name}:{number}>"])[0]
                related = _ids(headers["References"]) + _ids(headers["In-Reply-To"])
                sender = email.utils.parseaddr(str(headers["From"] or ""))[1]
                when = _moment(headers["Date"])
                subject = str(headers["Subject"] or "")
            except Exception as error:  # the parser raises whatever a broken header makes it stumble over
                faults.append(f"{path}: mail {number}: cannot be read: {type(error).__name__}: {error}")
                continue
            if own in seen:
                faults.append(f"{path}: mail {number}: {own} is there twice; the first is kept")
                continue
            seen.add(own)
            for other in related:
                one, two = root(own), root(other)
                if one != two:
                    parents[one] = two
            root(own)
            mails.append(_Mail(own, sender, when, subject, number, key))
        threads: dict[str, list[_Mail]] = {}
        for mail in mails:
            threads.setdefault(root(mail.id), []).append(mail)
        for thread in threads.values():
            if all(mail.time is not None for mail in thread):
                thread.sort(key=lambda mail: mail.time or 0.0)
            turns = []
            for mail in thread:
                try:
                    message = parser.parsebytes(box.get_bytes(mail.key))
                    assert isinstance(message, EmailMessage)
                    turns.append(Turn(mail.sender, _body(message), mail.id, mail.time))
                except Exception as error:  # see above
                    faults.append(f"{path}: mail {mail.number}: cannot be read: {type(error).__name__}: {error}")
            messages, why = converse(turns, me)
            if not messages:
                faults.append(f"{path}: thread {thread[0].id} ({thread[0].subject[:60]!r}): {why}")
                continue
            source = {
                "file": path.name,
                "thread": thread[0].id,
                "mails": [turn.place for turn in turns],
                "subject": thread[0].subject,
            }
            yield Record(f"{path.name}:{thread[0].number}", messages, source=source)
    finally:
        box.close()


def _moment(value: Any) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(str(value)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
