"""Splits of rows: what is alike stays together, labels keep their shares, and what was drawn stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.types import Message
from rung.data.read import stream
from rung.data.rows.records import Record
from rung.data.split.options import SplitPlan
from rung.data.split.split import split
from rung.tasks.identity import identity


def _row(number: int, question: str, answer: str = "yes", **source: str) -> Record:
    return Record(f"r{number}", (Message("user", question), Message("assistant", answer)), source=source)


WORDS = ["lamp", "train", "soup", "bridge", "river", "paper", "cloud", "stone", "garden", "letter", "window", "silver"]


def _rows(count: int) -> list[Record]:
    out = []
    for n in range(count):
        name = f"{WORDS[n % 12]} {WORDS[n // 12 % 12]} {n * 7919 % 1000} {WORDS[n * 5 % 12]}"
        out.append(_row(n, f"About the {name}?", "ab"[n % 4 == 0]))
    return out


def _places(folder: Path) -> dict[str, str]:
    return {r.id: name for name in ("train", "dev", "test") for _, r in stream(folder / f"{name}.jsonl")}


def test_shares_labels_and_frozen(tmp_path: Path) -> None:
    rows = _rows(240)
    found = split(rows, tmp_path)
    assert sum(found.counts.values()) == 240
    assert 18 <= found.counts["test"] <= 30
    places = _places(tmp_path)
    for name in ("dev", "test"):
        share = [row.answer for row in rows if places[row.id] == name]
        assert 0.1 < share.count("b") / len(share) < 0.45
    before = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in ("train", "dev", "test")}
    again = split(rows, tmp_path)
    assert again.frozen == 240
    assert before == {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in ("train", "dev", "test")}
    assert json.loads((tmp_path / "hashes.json").read_text())["sha256"] == dict(found.hashes)
    more = _rows(300)
    split(more, tmp_path)
    later = _places(tmp_path)
    assert {id: later[id] for id in places} == places
    with pytest.raises(InputError, match="another seed"):
        split(rows, tmp_path, SplitPlan(seed=1))


def test_what_is_alike_stays_together(tmp_path: Path) -> None:
    rows = _rows(100)
    rows += [_row(1000 + n, f"{row.question.upper()}!", row.answer) for n, row in enumerate(rows)]
    split(rows, tmp_path)
    places = _places(tmp_path)
    by_text: dict[str, set[str]] = {}
    for row in rows:
        by_text.setdefault(identity(row.question), set()).add(places[row.id])
    assert all(len(found) == 1 for found in by_text.values())
    threads = [_row(n, f"{WORDS[n % 12]} {n * 31} {WORDS[n // 12]}", thread=f"t{n % 20}") for n in range(100)]
    split(threads, tmp_path / "threads")
    places = _places(tmp_path / "threads")
    for name in range(20):
        assert len({places[f"r{n}"] for n in range(100) if n % 20 == name}) == 1


def test_little_and_wrong(tmp_path: Path) -> None:
    assert split([_row(1, "only")], tmp_path / "one").counts == {"train": 1, "dev": 0, "test": 0}
    with pytest.raises(InputError, match="no row"):
        split([], tmp_path)
    with pytest.raises(InputError, match="add up to 1"):
        split(_rows(3), tmp_path, SplitPlan(shares={"train": 0.5, "test": 0.1}))
    (tmp_path / "splits.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        split(_rows(3), tmp_path)
