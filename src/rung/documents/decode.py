"""Bytes to text, whatever wrote them: UTF-8, UTF-16 and UTF-32 by their mark, else by what the bytes look like."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cache

from rung.core.errors import InputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE = 1 << 16
"""Bytes that an encoding is guessed from."""
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HIGH = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the encoding it was read as, and the 1-based line of the first byte that is not UTF-8 (None: all is)."""

    text: str
    encoding: str = "utf-8"
    line: int | None = None


def decode(raw: bytes) -> Decoded:
    """The text of a file, line breaks as ``\\n``.

    A byte order mark decides; then UTF-8; then, for what is not, the bytes: bytes of the Windows Latin code page strewn
    over a text that is UTF-8 elsewhere are read as that code page, and a text without any UTF-8 is given to
    charset-normalizer where its high bytes come in runs (as Cyrillic or Japanese do), else read as cp1252. Raises
    InputError for what is not text.
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            try:
                return Decoded(lines(str(raw, name)), "utf-8" if name == "utf-8-sig" else name)
            except UnicodeDecodeError as error:
                if name != "utf-8-sig":
                    raise InputError(f"begins like {name.upper()} and is not: {error.reason}") from None
                raw = raw[len(mark) :]
    guessed = _wide(raw)
    if guessed:
        return Decoded(lines(str(raw, guessed, "replace")), guessed)
    if is_binary(raw):
        raise InputError("is not text: it holds bytes that no text has (a picture, an archive, a program?)")
    try:
        return Decoded(lines(str(raw, "utf-8")))
    except UnicodeDecodeError as error:
        start = error.start
    line = raw.count(b"\n", 0, start) + 1
    name = _legacy(raw[max(0, start - 1024) : start + SAMPLE])
    if name == "mixed":
        return Decoded(lines(str(raw, "utf-8", patch())), "utf-8 and cp1252", line)
    try:
        return Decoded(lines(str(raw, name)), name, line)
    except UnicodeDecodeError:
        return Decoded(lines(str(raw, "utf-8", patch())), "utf-8 and cp1252", line)


def is_binary(raw: bytes) -> bool:
    """Whether the first bytes have a NUL or more than one control character in fifty."""
    head = raw[:SAMPLE]
    return b"\0" in head or 50 * len(_CONTROL.findall(head)) > len(head) + 50


def lines(text: str) -> str:
    """The text with every line break as ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _wide(raw: bytes) -> str:
    """UTF-16 without a mark: every second byte of mostly Latin text is NUL."""
    head = raw[: SAMPLE & ~1]
    if len(head) < 4 or b"\0" not in head:
        return ""
    pairs = len(head) // 2
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * pairs and even < 0.02 * pairs:
        return "utf-16-le"
    if even > 0.4 * pairs and odd < 0.02 * pairs:
        return "utf-16-be"
    return ""


def _legacy(sample: bytes) -> str:
    """The code page of bytes that are not UTF-8, or ``mixed`` where much of them is."""
    runs = _HIGH.findall(sample)
    good = 0
    for run in runs:
        try:
            run.decode("utf-8")
        except UnicodeDecodeError:
            continue
        good += 1
    if good * 4 > len(runs):
        return "mixed"
    high = sum(map(len, runs))
    if high >= 24 and high > 1.8 * len(runs):
        try:
            from charset_normalizer import from_bytes
        except ImportError:  # comes with the extra `documents`
            return "cp1252"
        best = from_bytes(sample).best()
        if best is not None:
            return str(best.encoding)
    return "cp1252"


@cache
def patch() -> str:
    """The name of an error handler that reads what is not UTF-8 as cp1252 (and what cp1252 lacks as Latin-1)."""

    def read(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        bad = error.object[error.start : error.end]
        return "".join(bytes((byte,)).decode("cp1252", "ignore") or chr(byte) for byte in bad), error.end

    codecs.register_error("rung-cp1252", read)
    return "rung-cp1252"
