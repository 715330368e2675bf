"""A few mutated program folders and templates; bench/fuzz.py runs thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz_programs import KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_comes_from_elsewhere_ends_in_a_result_or_a_clear_error(kind: str, tmp_path: Path) -> None:
    outcome = run(KINDS[kind], 60, tmp_path)
    assert outcome.faults == []
    assert len(outcome.ends) > 1
