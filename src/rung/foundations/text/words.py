"""The words of a text in any script. Where a script writes no spaces between words (Chinese, Japanese, Thai, ...) each
character, with the marks that belong to it, is taken for a word: that needs no dictionary, and two texts that say the
same share most of them."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

UNSPACED = (
    "\u0e01-\u0e30\u0e32-\u0e33\u0e40-\u0e46\u0e50-\u0e59"  # Thai, without its marks
    "\u0e81-\u0eb0\u0eb2-\u0eb3\u0ebd-\u0ec6\u0ed0-\u0edf"  # Lao
    "\u0f40-\u0f6c\u1000-\u102a\u103f-\u1049\u1780-\u17b3\u17e0-\u17e9"  # Tibetan, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"  # Kana, Han
)
"""Letters of scripts without spaces between words, as the inside of a regular expression's class. Korean has spaces."""


INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Unicode's Default_Ignorable_Code_Point, signs that are not seen: soft hyphen, zero-width space and joiners, byte
order mark, marks of direction, variation selectors. They neither belong to a word nor end one (a joiner between two
letters of a Persian or Indic word leaves it one word, as in UAX 29)."""
_UNSEEN = re.compile(f"[{INVISIBLE}]+")


def visible(text: str) -> str:
    """The text without signs that are not seen, its accents composed (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", _UNSEEN.sub("", text))


def is_invisible(sign: str) -> bool:
    return _UNSEEN.match(sign) is not None


def origins(text: str) -> tuple[str, list[int]] | None:
    """The text without signs that are not seen, and where each character left of it stands in the text, and its end;
    None where it has no such sign."""
    if text.isascii() or _UNSEEN.search(text) is None:
        return None
    kept = [at for at, sign in enumerate(text) if not is_invisible(sign)]
    return "".join(text[at] for at in kept), [*kept, len(text)]


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(
        rf"[{UNSPACED}][{_marks()}]*|(?:(?![{UNSPACED}])[^\W_][{_marks()}]*)+(?:['’](?:(?![{UNSPACED}])[^\W_])+)?"
    )


@cache
def _marks() -> str:
    """Vowel signs and accents that stand on a letter: part of its word, though no letters by themselves."""
    codes = range(0x300, min(sys.maxunicode, 0xFFFF))
    return "".join(re.escape(chr(code)) for code in codes if unicodedata.category(chr(code)) in ("Mn", "Mc"))


def words(text: str) -> list[str]:
    """The words in their order, in small letters, as they are seen (see ``visible``); "don't" is one."""
    return _pattern().findall(visible(text).lower())


@cache
def _alone() -> re.Pattern[str]:
    return re.compile(f"([{UNSPACED}][{_marks()}]*)")


def spaced(text: str) -> str:
    """The text with spaces around each letter, with its marks, of a script that has none between its words."""
    return text if text.isascii() else _alone().sub(r" \1 ", text)


def standing(word: str) -> str:
    """The regular expression of a word or phrase where it stands by itself: no letter of its script goes on before or
    behind it (in scripts without spaces any may), a number is no part of another (5 stands in neither -5, 1.5 nor
    5,000), and C is neither C++ nor C#."""
    first, last = word[:1], word[-1:]
    letter = rf"[^\W{UNSPACED}]"
    before = "" if _alone().match(first) else rf"(?<!{letter})"
    after = "" if _alone().match(last) or unicodedata.combining(last or " ") else rf"(?!{letter})"
    if first.isdecimal():
        before += r"(?<!\d[.,])(?<![\s(=:][-−])(?<!\A[-−])"
    if last.isdecimal():
        after += r"(?![.,]\d)"
    elif last.isalpha():
        after += r"(?!\+\+|#)"
    return f"{before}{re.escape(word)}{after}"


def is_latin(text: str) -> bool:
    """Whether at least nine in ten of the text's letters are Latin, with accents or without (a text without letters
    too)."""
    letters = [letter for letter in text if letter.isalpha()]
    return 10 * sum(letter < "\u0250" or "\u1e00" <= letter < "\u1f00" for letter in letters) >= 9 * len(letters)
