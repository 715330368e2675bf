from __future__ import annotations

import pytest

from rung.core.text.columns import align, fold


def test_cells_stand_under_one_another() -> None:
    rows = [["name", "n", ""], ["a", "10", "long one"], ["bcdef", "7", "x"]]
    assert align(rows) == "name   n\na      10  long one\nbcdef  7   x"
    assert align(rows, 1) == "name    n\na      10  long one\nbcdef   7         x"
    assert align([]) == ""
    with pytest.raises(ValueError, match="shorter"):
        align([["a", "b"], ["c"]])


def test_what_is_too_wide_goes_below_and_no_figure_is_cut() -> None:
    rows = [["rung", "accuracy [95%]", "to the best", "note"]]
    rows += [[f"rung-{i}", "0.525 [0.37, 0.68]", "+0.05 [+0.01, +0.09] p 0.004", "a sentence " * 9] for i in range(3)]
    for width in (40, 60, 80, 120, 400):
        text = align(rows, width=width)
        assert max(map(len, text.splitlines())) <= width
        for row in rows:
            assert all(cell in text for cell in row[:3])
        assert text.count("sentence") == 27
        blocks = text.split("\n\n")
        assert all(block.startswith("rung") for block in blocks)
    assert len(align(rows, width=400).split("\n\n")) == 1


def test_wide_scripts_keep_their_columns() -> None:
    lines = align([["名前", "n"], ["a", "1"]]).splitlines()
    assert lines == ["名前  n", "a     1"]


def test_sentences_are_folded_and_columns_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    columns = "a name  " + "9" * 30
    assert fold(f"one two three four five\n{columns}\n\nsix") == f"one two three four\nfive\n{columns}\n\nsix"
