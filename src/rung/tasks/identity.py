"""Whether two texts are the same: what is folded away before they are compared, and what never is.

Case, spaces (but for the indentation of Python and YAML), the encoding of accents and width, and the punctuation of
sentences do not make a text different. Signs that mean something do: operators (``<``, ``++``, ``#``), the points and
signs of numbers (1.5, -40, 5!), superscripts and subscripts (x²), fractions, emoji, and the vowel signs of scripts that
write them above and below their letters.
"""

from __future__ import annotations

import re
import unicodedata

from rung.foundations.text.words import is_invisible

_OPENING = "\"'`([{«“‘„‚¿¡「『【《〈"
_CLOSING = ".,;:!?…\"'`)]}»”’」』】》〉。、।॥؟،؛۔।"
_PROSE = frozenset(".,;:!?…\"'`«»“”‘’„‚–—。、।॥؟،؛۔¿¡")
"""A token of these alone says nothing."""
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_INSIDE = re.compile(r"(?<=[^\W\d_]{2})(?:(?:--+|[-‐–—…,;!?]+)(?=[^\W\d_]{2})|'(?=[^\W\d_]))")
"""Hyphens, apostrophes and missing spaces in and between words of two letters and more; ``x-y`` may be a
subtraction."""
_SOFT = frozenset(("wide", "narrow", "isolated", "initial", "medial", "final", "noBreak", "vertical", "compat"))
"""Kinds of compatibility characters (Unicode Standard Annex 15) that are another way to write the same. The others
are not: x² is no x2, ½ is no 1 2, ℝ is no R."""
_IDEOGRAPHIC = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ALPHABETIC = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
UNSPACED = re.compile(f"[{_IDEOGRAPHIC}{_ALPHABETIC}]")
"""A character of a script that puts no spaces between words: Chinese and Japanese; Thai, Lao, Tibetan, Burmese,
Khmer."""
IDEOGRAPH = re.compile(f"[{_IDEOGRAPHIC}]")
_GAP = re.compile(f"(?<=[{_IDEOGRAPHIC}{_ALPHABETIC}]) (?=[{_IDEOGRAPHIC}{_ALPHABETIC}])")
_BLOCK = re.compile(r":[ \t]*\n[ \t]+\S")
KNOWN = 1 << 18
"""Tokens that are remembered at most."""
_PIECES = re.compile(f"([{_IDEOGRAPHIC}]+)|([{_ALPHABETIC}]+)")


class _Fold(dict[int, str]):
    """Characters to what they are folded to, filled as they are met."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        kind = unicodedata.decomposition(sign).partition(">")[0].lstrip("<") if sign > "\x7f" else ""
        if sign in "，；：！？。、":
            folded = unicodedata.normalize("NFKC", sign) + " "
        elif is_invisible(sign):
            folded = ""
        elif kind in _SOFT:
            folded = unicodedata.normalize("NFKC", sign)
        else:
            folded = {"’": "'", "−": "-", "‑": "-"}.get(sign, sign)
        self[code] = folded
        return folded


_FOLD = _Fold()


class _Tokens(dict[str, str]):
    """Tokens to what is compared of them: most of a text are words that were met before."""

    def __missing__(self, raw: str) -> str:
        token = " ".join(filter(None, map(_bare, _INSIDE.sub(" ", raw).split())))
        if len(self) < KNOWN:
            self[raw] = token
        return token


_TOKENS = _Tokens()


def identity(text: str) -> str:
    """The text as it is compared: texts are the same when these are. Tokens with one space between them; empty for a
    text of punctuation alone."""
    if ":" in text and _BLOCK.search(text):
        text = _indented(text)
    plain = text.isascii()
    folded = text.lower() if plain else unicodedata.normalize("NFC", text.translate(_FOLD)).lower()
    said = " ".join(filter(None, map(_TOKENS.__getitem__, folded.split())))
    return said if plain else _GAP.sub("", said)


def _indented(text: str) -> str:
    """Code whose blocks are told by how far they are indented, with a mark for each level of a line."""
    lines = [line.expandtabs() for line in text.splitlines() if line.strip()]
    depths = [len(line) - len(line.lstrip()) for line in lines]
    level = {depth: number for number, depth in enumerate(sorted(set(depths)))}
    return "\n".join(f"{'>' * level[depth]} {line}" for depth, line in zip(depths, lines, strict=True))


def _bare(raw: str) -> str:
    inner = raw.lstrip(_OPENING)
    token = inner.rstrip(_CLOSING)
    if not token or not any(map(str.isalnum, token)):
        return "" if _PROSE.issuperset(raw) else raw  # :) and () and == are signs
    if (
        not any(map(str.isalpha, token))
        and raw[0] in _BRACKETS
        and inner[len(token) :][:1] == _BRACKETS[raw[0]]
        and inner == raw[1:]
    ):
        return f"{raw[0]}{token}{_BRACKETS[raw[0]]}"  # [1] is a list, (1) may be a loss
    after = inner[len(token) :][:1]  # 5! and 5' and 5" are no 5
    return f"{token}{after}" if after and after in "!'\"" and inner == raw and token[-1].isdigit() else token


def words(text: str) -> list[str]:
    """The words of a text as they are compared, for shingles. Where a script has no spaces, ideographs are words of
    their own, and letters overlapping pieces of three, so that three words in a row are about as much of a text as
    elsewhere."""
    said = identity(text)
    if said.isascii() or not UNSPACED.search(said):
        return said.split()
    out: list[str] = []
    for token in _PIECES.sub(r" \1\2 ", said).split():
        if IDEOGRAPH.match(token):
            out += token
        elif UNSPACED.match(token):
            out += [token[at : at + 3] for at in range(max(len(token) - 2, 1))]
        else:
            out.append(token)
    return out
