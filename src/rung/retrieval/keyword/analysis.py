"""How text becomes the terms of a keyword index."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from rung.core.types import Span
from rung.foundations.text.stem import stem
from rung.foundations.text.words import is_invisible

STOP_WORDS = frozenset(
    """a about above after again against all also am an and any are aren as at be because been before being below between both
    but by can cannot could couldn did didn do does doesn doing don during each few for from further had hadn has hasn have
    haven having he her here hers herself him himself his how i if in into is isn it its itself just ll me more most my myself
    no nor not of off on once only or other our ours ourselves out over own s same she should shouldn so some such t than that
    the their theirs them themselves then there these they this those through to too under until up ve very was wasn we were
    weren what when where which while who whom why will with would wouldn you your yours yourself yourselves""".split()  # noqa: SIM905
)
"""English function words, and what apostrophes leave of them."""

LONGEST = 64
"""Characters of a token that count: a text without spaces must not become one endless word."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)

PLAIN = bytes(ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256))


class _Folding(dict[int, str]):
    """For str.translate: lower case, compatibility forms and Latin, Greek and Cyrillic diacritics folded, nothing
    for a sign that is not seen, a space for what is no letter or digit, and spaces around each character of a script
    that writes no spaces between words."""

    def __missing__(self, code: int) -> str:
        if is_invisible(chr(code)):
            self[code] = ""
            return ""
        # Twice, as Unicode's caseless compatibility match (its D146) does: what a form stands for may be a capital.
        parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code).casefold()).casefold())
        folded = unicodedata.normalize("NFC", "".join(char for char in parts if not 0x300 <= ord(char) <= 0x36F))
        text = "".join(self._piece(char) for char in folded)
        self[code] = text
        return text

    @staticmethod
    def _piece(char: str) -> str:
        if any(low <= ord(char) <= high for low, high in _UNSPACED):
            return f" {char} " if unicodedata.category(char)[0] in "LNM" else " "
        return char if char.isalnum() or unicodedata.category(char)[0] == "M" else " "


_FOLDING = _Folding()


def fold(char: str) -> str:
    return _FOLDING[ord(char)]


@dataclass(frozen=True, slots=True)
class Analysis:
    """How text becomes terms: lower case without diacritics, split at everything that is no letter or digit; then
    ``stop`` leaves out English function words and ``stem`` takes English endings off (Porter) words of the letters a
    to z."""

    stop: bool = True
    stem: bool = True

    def tokens(self, text: str) -> list[str]:
        """The text's words, before function words and endings are dealt with."""
        if text.isascii():
            return text.encode("ascii").translate(PLAIN).decode("ascii").split()
        return text.translate(_FOLDING).split()

    def term(self, token: str) -> str:
        """The term of a token, empty for one that is left out."""
        if self.stop and token in STOP_WORDS:
            return ""
        token = token[:LONGEST]
        return stem(token) if self.stem and token.isascii() and token.isalpha() else token

    def terms(self, text: str) -> list[str]:
        """The text's terms in order."""
        return [term for token in self.tokens(text) if (term := self.term(token))]

    def places(self, text: str) -> list[tuple[str, Span]]:
        """The text's terms in order, each with the characters of ``text`` that it came from."""
        pieces = [_FOLDING[ord(char)] for char in text]
        origin = [index for index, piece in enumerate(pieces) for _ in piece]
        folded = "".join(pieces)
        found = []
        end = 0
        for token in folded.split():
            start = folded.index(token, end)
            end = start + len(token)
            if term := self.term(token):
                found.append((term, Span(origin[start], origin[end - 1] + 1)))
        return found
