"""Parameters that a server refuses by name: left out or renamed, asked again, and remembered for the model.

Servers that speak one vendor's API differ in what they take (a JSON schema, a seed, a temperature other than 1). They say so
with status 400 or 422 and the parameter's name; a value out of its range, or a prompt that is too long, is no such refusal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Set

logger = logging.getLogger("rung.models")

STATUSES = (400, 422)

_REFUSES = re.compile(
    r"unsupported|unavailable|unknown|unrecogni[sz]ed|unexpected|deprecat|disabled|removed|no such|no longer|only the default"
    r"|(not|n't|never)\s+(\w+\s+){0,2}(support|allow|permit|avail|recogni|implement|accept|enabled|exist|valid|compatible|take|used?\b)"
    r"|extra (input|field|propert|param)|cannot (find|be used|be set|be specified)|must be (1\b|one of|omitted|unset|empty|null)"
    r"|(may|can|must) only|only \S+ (is|are)\b|invalid (\w+ )?(parameter|argument|field|key|type|value|name)|should be ['\"`]"
    r"|supported values|\binstead\b",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"too (large|long|small|high|low|many)|at (most|least)|between \S+ and|(less|greater|more|fewer) than|exceed"
    r"|maximum|minimum|out of range|must contain|invalid.{0,20}schema",
    re.IGNORECASE,
)


class Refusals:
    """What a model has refused. ``spellings`` are the patterns by which an error names what is sent, beside its own name."""

    def __init__(self, model: str, spellings: Mapping[str, str] | None = None) -> None:
        self.model = model
        self.known: Set[str] = frozenset()
        self._spellings = {name: re.compile(text, re.IGNORECASE) for name, text in (spellings or {}).items()}

    def find(self, status: int | None, said: str, param: str, sent: Set[str]) -> str | None:
        """The one of ``sent`` that an error refuses by name; None where it is another error."""
        if status not in STATUSES or _VALUE.search(said) or not _REFUSES.search(said):
            return None
        for text in (param, said):
            places = [(match.start(), name) for name in sent if (match := self._pattern(name).search(text))]
            if places:
                return min(places)[1]
        return None

    def learn(self, names: Set[str]) -> None:
        """Remember what was left out, once asking without it was not refused."""
        if new := sorted(names - self.known):
            self.known |= names
            logger.warning("%s does not take %s: it is asked without from now on", self.model, ", ".join(new))

    def _pattern(self, name: str) -> re.Pattern[str]:
        return self._spellings.get(name) or re.compile(
            rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", re.IGNORECASE
        )
