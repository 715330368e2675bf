"""One question, put to a share of those who got an answer."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from rung.core.errors import InputError

QUESTION = "Did this answer help you?"


@dataclass(frozen=True, slots=True)
class AnswerSurvey:
    """``share`` of the answers (0 to 1) carry ``question`` in the header ``x-rung-survey`` (percent-encoded); the
    client that shows it says so (feedback of the kind survey-shown), and what was answered (survey, value 0 or 1)."""

    share: float
    question: str = QUESTION

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"got --survey {self.share:g}, expected a share above 0, at most 1", remedy="--survey 0.1")

    def headers(self, id: str) -> list[tuple[bytes, bytes]]:
        """What the answer ``id`` carries: drawn by its id, whose last digits are random."""
        drawn = int(id[-8:], 16) / 2**32
        return [(b"x-rung-survey", quote(self.question).encode())] if drawn < self.share else []
