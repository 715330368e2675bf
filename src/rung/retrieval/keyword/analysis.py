"""How text becomes the terms of a keyword index."""

from __future__ import annotations

import re
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


_POINTS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"
)
"""Marks of a letter that writers leave out as they please: accents, the points of Hebrew, the vowels of Arabic and
the dash that only widens an Arabic word."""
_SAME = {"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "ة": "ه", "ى": "ي", "ی": "ي", "ک": "ك"}
"""Letters that are written for one another."""
_HAMZA = re.compile("ا[\u0653-\u0655]")
_JOSA = re.compile(
    "(?<=..)(?:에서부터|으로부터|에게서|이라는|이라고|입니다|입니까|이에요|예요|였습니다|이었다|했습니다|합니다|했다|한다|하는|하고|하여|해서|하며"
    "|에서|에게|으로|까지|부터|처럼|보다|마다|조차|마저|이나|에는|에도|께서|한테|들이|들은|들을|들의|은|는|이|가|을|를|의|에|로|와|과|도|만)$"
)
"""Particles and endings that Korean writes onto a noun, as Porter's endings are in English."""
_ARTICLE = re.compile("^(?:[وفبك]?ال|لل)(?=..)")
"""Arabic's article, with what is written onto it."""
_HANGUL = re.compile("[가-힣]+")


class _Folding(dict[int, str]):
    """For str.translate: lower case, compatibility forms and diacritics folded, nothing for a sign that is not seen, a
    space for what is no letter or digit, and spaces around each character of a script that writes no spaces between
    words."""

    def __missing__(self, code: int) -> str:
        if is_invisible(chr(code)):
            self[code] = ""
            return ""
        # Twice, as Unicode's caseless compatibility match (its D146) does: what a form stands for may be a capital.
        parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code).casefold()).casefold())
        bare = unicodedata.normalize("NFC", _HAMZA.sub("ا", _POINTS.sub("", parts)))
        folded = "".join(_SAME.get(char, char) for char in bare)
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
    to z, particles off Korean ones and the article off Arabic ones."""

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
        if not self.stem:
            return token
        if token.isascii():
            return stem(token) if token.isalpha() else token
        return _JOSA.sub("", token) if _HANGUL.fullmatch(token) else _ARTICLE.sub("", token)

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
