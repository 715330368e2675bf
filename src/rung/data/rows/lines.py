"""The file that the data verbs hand to one another: JSON Lines, a conversation or a text a line, its provenance
beside it.

``{"messages": [...], "rung": {"id": ..., "source": {...}, ...}}``: other programs read the messages, ``read`` gives
the record as it was."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.system.files import FULL, atomic_write
from rung.core.types import Message
from rung.data.rows.records import Record, RowError
from rung.data.rows.turns import read_tools, write_tools

KEY = "rung"


def pack(record: Record) -> dict[str, Any]:
    """A record as one JSON object; ``unpack`` gives it back."""
    row: dict[str, Any]
    if record.messages:
        row = {
            "messages": [
                {"role": message.role, "content": message.content, **({} if message.learn else {"weight": 0})}
                for message in record.messages
            ]
        }
        if record.tools:
            row["tools"] = write_tools(record.tools)
    else:
        row = {"text": record.text}
    about: dict[str, Any] = {"id": record.id, "shape": record.shape, "source": encode(record.source)}
    if record.extra:
        about["extra"] = encode(record.extra)
    if record.rejected is not None:
        about["rejected"] = record.rejected
    return {**row, KEY: about}


def packed(row: Mapping[str, Any]) -> bool:
    """Whether a row was written by ``pack``."""
    about = row.get(KEY)
    return isinstance(about, Mapping) and "id" in about and "shape" in about and ("messages" in row or "text" in row)


def unpack(row: Mapping[str, Any]) -> Record:
    """The record of a packed row. Raises RowError for one that was damaged by hand."""
    about = row[KEY]
    messages = []
    for place, turn in enumerate(row.get("messages") or ()):
        if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant", "tool"):
            raise RowError(f"message {place + 1} has no role of system, user, assistant or tool", "speaker")
        if not isinstance(turn.get("content"), str):
            raise RowError(f"content of message {place + 1} is not text", "type")
        messages.append(Message(turn["role"], turn["content"], learn=turn.get("weight") != 0))
    text, rejected = row.get("text", ""), about.get("rejected")
    if not isinstance(text, str) or not (rejected is None or isinstance(rejected, str)):
        raise RowError("text or rejected is not text", "type")
    return Record(
        id=str(about["id"]),
        messages=tuple(messages),
        text=text,
        rejected=rejected,
        shape=str(about["shape"]),
        tools=read_tools(row.get("tools")),
        extra=about.get("extra") or {},
        source=about.get("source") or {},
    )


def line(row: Mapping[str, Any]) -> bytes:
    """One line of JSON. Half surrogate pairs, which UTF-8 cannot hold, are escaped; dates and bytes become text."""
    try:
        return (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(row, default=str) + "\n").encode()


def write(path: Path, records: Iterable[Record]) -> int:
    """Replace ``path`` by these records in one step; how many there were."""
    count = 0
    with replacing(path) as out:
        for record in records:
            out.write(line(pack(record)))
            count += 1
    return count


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write aside, and take the place of ``path`` when the block has ended well: a full disk leaves the old file as
    it was."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part, part.open("wb") as out:
            yield out


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A disk that is full, or a place that cannot be written, as InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (*FULL, errno.EFBIG):
            raise InputError(
                "the disk is full: the file is as it was before",
                file=path,
                remedy="free some space, then type the same again",
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise InputError(f"cannot write it: {error.strerror}", file=path, remedy="name another file") from None
        raise
