"""Numeric answers: is the final number the expected one, as gsm8k counts?"""

from __future__ import annotations

import math
from typing import Any

from rung.core.text.number import read_number
from rung.core.types import Case, Score
from rung.metrics.mean import Mean, references, shown


def final_number(value: Any) -> float | None:
    """The number that an answer gives, None without one: a number is itself, a text is read as core.number reads it."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    number, _ = read_number(str(value))
    return float(number) if number else None


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
