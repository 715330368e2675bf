from __future__ import annotations

import pytest

from rung.core.columns import align


def test_cells_stand_under_one_another() -> None:
    rows = [["name", "n", ""], ["a", "10", "long one"], ["bcdef", "7", "x"]]
    assert align(rows) == "name   n\na      10  long one\nbcdef  7   x"
    assert align(rows, 1) == "name    n\na      10  long one\nbcdef   7         x"
    assert align([]) == ""
    with pytest.raises(ValueError, match="shorter"):
        align([["a", "b"], ["c"]])
