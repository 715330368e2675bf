"""Rows written out: what was read comes out again, in every format that can hold it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.data.rows import shapes
from rung.data.rows.export import export
from rung.data.rows.records import Record
from tests.data.rows.test_shapes import ROWS


def _records(name: str) -> list[Record]:
    return [shapes.read(row, f"r{n}", {"file": "f"}) for n, row in enumerate(ROWS[name])]


@pytest.mark.parametrize("name", list(ROWS))
def test_lossless(name: str, tmp_path: Path) -> None:
    problems = Problems()
    assert export(_records(name), tmp_path / "x.jsonl", problems=problems) == len(ROWS[name])
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()] == ROWS[name]
    export(_records(name), tmp_path / "x.json", problems=problems)
    assert json.loads((tmp_path / "x.json").read_text()) == ROWS[name]
    assert not problems.found


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra data")
    export(_records("instruction")[:1], tmp_path / "x.parquet", problems=Problems())
    assert parquet.read_table(tmp_path / "x.parquet").to_pylist() == ROWS["instruction"][:1]
    mixed = [shapes.read({"text": "a", "x": value}, "r", {}) for value in (1, "one")]
    with pytest.raises(InputError, match="differ in type"):
        export(mixed, tmp_path / "y.parquet", problems=Problems())
    assert not (tmp_path / "y.parquet").exists()


def test_another_shape_and_what_it_cannot_say(tmp_path: Path) -> None:
    problems = Problems()
    assert export(_records("messages"), tmp_path / "x.csv", shape="prompt", provenance=True, problems=problems) == 1
    with (tmp_path / "x.csv").open(newline="") as rows:
        assert list(csv.DictReader(rows)) == [
            {"prompt": "Hi", "completion": "Hello", "id": "7", "source": '{"file": "f"}'}
        ]
    assert len(problems.found) == 1
    assert problems.found[0].code == "turns"
    (tmp_path / "z.jsonl").write_text("old")
    for name, shape, message in (
        ("x.txt", "", "says no format"),
        ("z.jsonl", "preference", "no row can be said"),
        ("z.csv", "preference", "no row"),
    ):
        with pytest.raises(InputError, match=message):
            export(_records("messages"), tmp_path / name, shape=shape, problems=Problems())
    assert (tmp_path / "z.jsonl").read_text() == "old"
