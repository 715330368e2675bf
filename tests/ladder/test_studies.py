"""Learning curve, error clusters and edge cases: what they compute, and that the verbs run on a real climb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.core.types import Answer, Example, Failure, Result, Score
from rung.studies import errors, learning, stress


def result(id: str, text: str, reference: str, output: str, failure: Failure | None = None) -> Result:
    example = Example(id, {"text": text}, reference)
    return Result(example, Answer(output, failure=failure), {"accuracy": Score(float(reference == output))})


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


def test_failures_fall_into_the_planted_clusters() -> None:
    draw = np.random.default_rng(0)
    rows = []
    for n in range(40):
        rows.append(result(f"refund{n}", f"refund money back card {draw.integers(99)}", "refund", "other"))
        rows.append(result(f"parcel{n}", f"parcel delivery late courier {draw.integers(99)}", "parcel", "other"))
        rows.append(result(f"fine{n}", f"hello thanks bye {draw.integers(99)}", "chat", "chat"))
    rows.append(result("broken", "x", "chat", "", Failure("parse", "no label in it")))
    found = errors.analyse(rows, "accuracy")
    assert (found.total, found.failed) == (121, 81)
    by_name = {cluster.name: cluster for cluster in found.clusters}
    assert by_name["parse failure"].ids == ("broken",)
    large = [cluster for cluster in found.clusters if cluster.size >= 30]
    assert len(large) == 2
    for cluster in large:
        kind = cluster.ids[0].rstrip("0123456789")
        assert {id.rstrip("0123456789") for id in cluster.ids} == {kind}
        assert cluster.confusion == (kind, "other", 40)
        assert cluster.rate.value == 1.0
        assert cluster.terms
    assert "of 121 items" in errors.table(found)
    assert errors.table(errors.analyse(rows[2::3], "accuracy")).startswith("no failure")


def test_perturbations_are_steady_and_named() -> None:
    examples = [Example("e", {"text": "Where is my parcel from Monday?"}, "x")]
    for kind in stress.KINDS:
        (one,), (two,) = (stress.perturb(examples, "text", kind) for _ in range(2))
        assert one == two
        assert one.id == f"e+{kind}"
        assert one.reference == "x"
        assert one.input["text"] != examples[0].input["text"]
    text = "the quick brown fox jumps over the lazy dog " * 20
    changed = stress.typos(text, np.random.default_rng(1))
    assert 0.02 < 1 - sum(a == b for a, b in zip(text.split(), changed.split(), strict=False)) / len(text.split()) < 0.9
    with pytest.raises(InputError, match="unknown change"):
        stress.perturb(examples, "text", "upside down")
    with pytest.raises(InputError, match="no field"):
        stress.perturb(examples, "body", "typos")


@pytest.mark.slow
def test_verbs_on_a_climb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    climbed = run.invoke(
        app, ["climb", "support-intent", "--rung", "rules", "--rung", "linear", "--limit", "60", "-m", "fake:echo"]
    )
    assert climbed.exit_code == 0, climbed.output
    said = run.invoke(app, ["errors", "last", "linear"])
    assert said.exit_code == 0, said.output
    assert "of 60 items below 1" in said.output
    kept = run.invoke(app, ["errors", "last", "linear", "--slice", "1", "--to", "slice.jsonl"])
    assert kept.exit_code == 0, kept.output
    rows = [json.loads(line) for line in (tmp_path / "slice.jsonl").read_text().splitlines()]
    assert rows
    assert set(rows[0]) == {"id", "text", "reference"}
    shaken = run.invoke(app, ["stress", "last", "linear", "--limit", "30", "--kind", "typos", "--kind", "empty"])
    assert shaken.exit_code == 0, shaken.output
    assert "typos" in shaken.output
    assert [line.split(":")[0] for line in shaken.stderr.splitlines()] == ["1/2 typos", "2/2 empty"]
    curve = run.invoke(
        app, ["curve", "support-intent", "linear", "--sizes", "40,80,160", "--limit", "60", "-m", "fake:echo"]
    )
    assert curve.exit_code == 0, curve.output
    assert "expected by a power law" in curve.output
    told = [line.split(" accuracy")[0] for line in curve.stderr.splitlines()]
    assert told == ["1/3 n=40", "2/3 n=80", "3/3 n=160"]  # not what each fit tells
    wrong = run.invoke(app, ["curve", "support-intent", "linear", "--sizes", "4000"])
    assert isinstance(wrong.exception, InputError)
