"""Harmful text: the content rules of rung.safety.filter, words of the user's own, or a classifier learnt from examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rung.safety.filter import RULES, Filter, RuleFilter, TrainedFilter

ABUSE = (
    r"\b(?:kill|hang|shoot|hurt) your ?self\b|\bkys\b|\b(?:i(?:'ll| will| am going to)|gonna) (?:kill|rape|stab|shoot|beat) (?:you|u|him|her|them)\b"
    r"|\byou(?:'re| are)? (?:a |an |such a )?(?:(?:fucking|stupid|dumb|worthless|pathetic|ugly) )+(?:idiot|moron|bitch|whore|cunt|bastard|loser|pig|retard)\b"
    r"|(?<!the )\b(?:fuck|screw) (?:you|yourself)\b|\b(?:you|all) [\w ]{0,20}should (?:die|be (?:killed|exterminated|gassed|shot))\b"
)
"""Threats and insults to somebody; single coarse words are not harmful by themselves."""


def _said(filters: Sequence[Filter]) -> Callable[[str], str]:
    def judge(text: str) -> str:
        return next((verdict.why for check in filters if (verdict := check(text)).blocked), "")

    return judge


def rules(words: Sequence[str] = ()) -> Callable[[str], str]:
    """Says which rule a text breaks, or nothing: asking how to do harm, threats and insults, and ``words`` wherever they stand."""
    return _said([RuleFilter({"harm": RULES["harm"], "abuse": ABUSE}, words)])


def trained(harmful: Sequence[str], harmless: Sequence[str], words: Sequence[str] = ()) -> Callable[[str], str]:
    """A classifier learnt from both kinds, beside ``words``. Raises InputError with fewer than two of either."""
    own: list[Filter] = [RuleFilter({}, words)] if words else []
    return _said([*own, TrainedFilter.fit(harmful, harmless)])
