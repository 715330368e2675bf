"""The words of a text in any script. Where a script writes no spaces between words (Chinese, Japanese, Thai, ...) each character, with
the marks that belong to it, is taken for a word: that needs no dictionary, and two texts that say the same share most of them."""

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


@cache
def _pattern() -> re.Pattern[str]:
    marks = "".join(re.escape(chr(code)) for code in _marks())
    return re.compile(
        rf"[{UNSPACED}][{marks}]*|(?:(?![{UNSPACED}])[^\W_][{marks}]*)+(?:['’](?:(?![{UNSPACED}])[^\W_])+)?"
    )


def _marks() -> list[int]:
    """Vowel signs and accents that stand on a letter: part of its word, though no letters by themselves."""
    return [
        code for code in range(0x300, min(sys.maxunicode, 0xFFFF)) if unicodedata.category(chr(code)) in ("Mn", "Mc")
    ]


def words(text: str) -> list[str]:
    """The words in their order, in small letters, composed (NFC); "don't" is one."""
    return _pattern().findall(unicodedata.normalize("NFC", text).lower())


def is_latin(text: str) -> bool:
    """Whether at least half of the text's letters are Latin, with accents or without (a text without letters too)."""
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(letter < "\u0250" or "\u1e00" <= letter < "\u1f00" for letter in letters) >= len(letters)
