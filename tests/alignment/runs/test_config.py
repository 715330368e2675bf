"""An align.yaml as a configuration: what a name means where it could mean two things."""

from pathlib import Path

import pytest

from rung.alignment.methods.dpo import Dpo
from rung.alignment.runs.config import understand
from rung.core.errors import InputError


def test_pairs_are_files_or_how_many_a_step(tmp_path: Path) -> None:
    number = understand({"method": "dpo", "task": "task.yaml", "pairs": 4}, tmp_path)
    assert isinstance(number.method, Dpo)
    assert (number.method.pairs, number.pairs) == (4, ())
    files = understand({"method": "dpo", "pairs": "pairs.jsonl", "options": {"dpo": {"pairs": 3}}}, tmp_path)
    assert isinstance(files.method, Dpo)
    assert (files.method.pairs, files.pairs) == (3, (tmp_path / "pairs.jsonl",))


def test_one_source_is_wanted(tmp_path: Path) -> None:
    for given in ({"task": "t", "pairs": "p"}, {"pairs": 4}, {}):
        with pytest.raises(InputError, match="expected one"):
            understand({"method": "dpo", **given}, tmp_path)
