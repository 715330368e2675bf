"""Numeric answers: is the final number the expected one, as gsm8k counts?"""

from __future__ import annotations

import math
import re
from typing import Any

from rung.core.types import Case, Score
from rung.metrics.mean import Mean, references, shown

_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|(?<![\w.])[-+−]?\$?\.\d+"
)
_FINAL = re.compile(r"####\s*(.+)")


def final_number(value: Any) -> float | None:
    """The number an answer ends in, None without one.

    A number is itself. In text: the last number after the last ``####`` where that mark is (gsm8k's own form), else the
    last number at all. Thousands commas, a dollar sign and a leading sign are read; units and a final full stop are not
    part of it.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    text = str(value)
    marked = _FINAL.findall(text)
    found = _NUMBER.findall(marked[-1]) if marked else []
    found = found or _NUMBER.findall(text)
    if not found:
        return None
    number = float(found[-1].replace(",", "").replace("$", "").replace("−", "-"))
    return number if math.isfinite(number) else None


class Number(Mean):
    """1 when the final number equals a reference's (relative difference up to 1e-6), else 0."""

    name = "number"

    def grade(self, case: Case) -> Score:
        got = final_number(case.output)
        wanted = [number for option in references(case) if (number := final_number(option)) is not None]
        expected = " or ".join(f"{number:g}" for number in wanted) or f"no number ({shown(case.reference)})"
        if got is None:
            return Score(0.0, f"expected {expected}, found no number in {shown(case.output)}")
        if any(math.isclose(got, number, rel_tol=1e-6, abs_tol=1e-9) for number in wanted):
            return Score(1.0, f"{got:.10g} as expected")
        return Score(0.0, f"expected {expected}, got {got:.10g}")


NUMBER = Number()
