"""Which language a text is in (py3langid, 97 languages: Lui and Baldwin 2012), and whether that can be told at all."""

from __future__ import annotations

import re

from rung.core.extras import require

LETTERS = 20
"""Letters below which nothing is said: a word or two fit several languages."""
MARGIN = 3.0
"""How many nats of log-likelihood the wanted language may be behind the best: closer ones are not told apart."""

_CODE = re.compile(r"```.*?(?:```|\Z)|https?://\S+|\[[A-Z-]+\]", re.DOTALL)


def tell(text: str, wanted: frozenset[str] = frozenset()) -> str:
    """The code (ISO 639-1) of the text's language: a wanted one where it is nearly as likely as the best; empty where the text is
    too short to tell. Code in fences and addresses are not looked at."""
    said = _CODE.sub(" ", text)
    if sum(map(str.isalpha, said[:4000])) < LETTERS:
        return ""
    langid = require("py3langid", "text", "telling the language of a text")
    ranked: list[tuple[str, float]] = langid.rank(said[:4000].lower())
    best, score = ranked[0]
    near = [code for code, other in ranked if code in wanted and score - other <= MARGIN]
    return near[0] if near else best
