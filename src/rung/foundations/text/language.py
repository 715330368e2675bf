"""Which language a text is in (py3langid, 97 languages: Lui and Baldwin 2012)."""

from __future__ import annotations

from rung.core.system.extras import require


def rank(text: str) -> list[tuple[str, float]]:
    """Every language as its code (ISO 639-1) and its log-likelihood, likeliest first; the case of letters plays no
    part. Raises MissingExtra without py3langid."""
    ranked: list[tuple[str, float]] = require("py3langid", "text", "telling the language of a text").rank(text.lower())
    return ranked


def language(text: str) -> str:
    """The code of the likeliest language. Raises MissingExtra without py3langid."""
    return str(rank(text)[0][0])
