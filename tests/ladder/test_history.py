"""What two runs are told to differ in besides their scores."""

from __future__ import annotations

from dataclasses import replace

from rung.ladder.history import _apart
from rung.ladder.records import RunRecord

ONE = RunRecord(
    "r", "t", "h", "", "m", ("accuracy",), 0.02, None, {}, machine="A", kind="avx2", threads=2, precision={"m": "f32"}
)


def test_runs_of_one_machine_are_not_apart() -> None:
    assert list(_apart(ONE, ONE)) == []


def test_kind_threads_and_precision_are_told() -> None:
    two = replace(ONE, machine="B", kind="avx512-bf16", threads=8, precision={"m": "bf16"})
    kinds, threads, precision = _apart(ONE, two)
    assert "avx2, then avx512-bf16" in kinds
    assert "2, then 8" in threads
    assert "f32, then in bf16" in precision
    (machine,) = _apart(ONE, replace(ONE, machine="B"))
    assert "different machines" in machine
