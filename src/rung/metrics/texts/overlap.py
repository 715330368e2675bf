"""Token F1 and exact match as SQuAD defines them (Rajpurkar et al. 2016, evaluate-v1.1), the best over the
references."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Any

from rung.core.types import Case, Score
from rung.foundations.text.words import spaced, visible
from rung.metrics.mean import Mean, references, shown

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_form(value: Any) -> str:
    """SQuAD's normal form: lower case, without ASCII punctuation, without a/an/the, single spaces; signs that are not
    seen are left out."""
    text = "" if value is None else visible(str(value))
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(got: Any, wanted: Any) -> float:
    """F1 of the bags of tokens; a letter of a script without spaces between words is a token (as in MLQA, Lewis et al.
    2020). Two empty answers agree (as in SQuAD 2.0); an empty one against words is 0."""
    a, b = spaced(squad_form(got)).split(), spaced(squad_form(wanted)).split()
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


class TokenF1(Mean):
    """SQuAD token F1, the best over the references."""

    name = "token-f1"

    def grade(self, case: Case) -> Score:
        value, wanted = max(
            ((token_f1(case.output, option), option) for option in references(case)), key=lambda pair: pair[0]
        )
        return Score(value, f"token F1 {value:.2f}: expected {shown(wanted)}, got {shown(case.output)}")


class SquadMatch(Mean):
    """1 when the answer equals a reference in SQuAD's normal form, else 0."""

    name = "squad-em"

    def grade(self, case: Case) -> Score:
        got = squad_form(case.output)
        options = references(case)
        if any(got == squad_form(option) for option in options):
            return Score(1.0, f"{shown(case.output)} as expected")
        return Score(0.0, f"expected {shown(options[0])}, got {shown(case.output)}")


TOKEN_F1 = TokenF1()
SQUAD_EM = SquadMatch()
