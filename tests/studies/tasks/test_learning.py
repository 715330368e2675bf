from __future__ import annotations

import numpy as np
import pytest

from rung.core.types import Example
from rung.studies.tasks import learning


def test_power_law_is_found_again() -> None:
    sizes = np.asarray([50.0, 100, 200, 400])
    for ceiling, scale, slope in ((0.9, 2.0, 0.5), (0.7, 5.0, 1.0)):
        values = ceiling - scale * sizes**-slope
        assert learning.extrapolate(sizes, values, 800.0) == pytest.approx(ceiling - scale * 800**-slope, abs=0.005)
    flat = np.full(4, 0.5)
    assert learning.extrapolate(sizes, flat, 800.0) == pytest.approx(0.5, abs=1e-6)
    falling = np.asarray([0.8, 0.7, 0.6, 0.5])
    assert learning.extrapolate(sizes, falling, 800.0) == pytest.approx(falling.mean())


def test_parts_are_nested_and_balanced() -> None:
    examples = [
        Example(f"{label}{n}", {"text": str(n)}, label) for label, count in (("a", 40), ("b", 10)) for n in range(count)
    ]
    order = learning.balanced(examples, 0)
    assert sorted(e.id for e in order) == sorted(e.id for e in examples)
    assert [e.id for e in learning.balanced(examples, 0)] == [e.id for e in order]
    for n in (10, 25):
        assert sum(e.reference == "b" for e in order[:n]) == pytest.approx(n / 5, abs=1)
