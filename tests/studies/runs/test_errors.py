from __future__ import annotations

import numpy as np

from rung.core.types import Answer, Example, Failure, Result, Score
from rung.studies.runs.errors import ErrorAnalysis, analyse


def result(id: str, text: str, reference: str, output: str, failure: Failure | None = None) -> Result:
    example = Example(id, {"text": text}, reference)
    return Result(example, Answer(output, failure=failure), {"accuracy": Score(float(reference == output))})


def test_failures_fall_into_the_planted_clusters() -> None:
    draw = np.random.default_rng(0)
    rows = []
    for n in range(40):
        rows.append(result(f"refund{n}", f"refund money back card {draw.integers(99)}", "refund", "other"))
        rows.append(result(f"parcel{n}", f"parcel delivery late courier {draw.integers(99)}", "parcel", "other"))
        rows.append(result(f"fine{n}", f"hello thanks bye {draw.integers(99)}", "chat", "chat"))
    rows.append(result("broken", "x", "chat", "", Failure("parse", "no label in it")))
    found = analyse(rows, "accuracy")
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
    assert "of 121 items" in ErrorAnalysis().table(found)
    assert ErrorAnalysis().table(analyse(rows[2::3], "accuracy")).startswith(": no failure")
