"""A few mutated inputs of every kind; bench/fuzz.py runs thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz_documents import KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_mutated_inputs_end_in_a_result_or_a_clear_error(kind: str, tmp_path: Path) -> None:
    outcome = run(KINDS[kind], 40, tmp_path)
    assert outcome.faults == []
    assert len(outcome.ends) > 1  # some are still good, some are not
