"""What people say, from the shell: rung rate --report, rung ab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.ladder.records import RungRecord, RunRecord
from rung.store import StoredRating, open_store

URL = "sqlite:///.rung/rung.db"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_report_of_ratings() -> None:
    with open_store(URL) as store:
        id = store.runs.start("desk", "hash", "{}")
        rungs = tuple(RungRecord(name, name, "done") for name in ("rules", "linear"))
        record = RunRecord(id, "desk", "hash", "", "fake:echo", ("accuracy",), 0.02, None, {}, rungs)
        store.runs.update(id, status="done", summary=canonical(record))
    with pytest.raises(InputError, match="nobody"):
        run("rate", "last", "--report")
    with pytest.raises(InputError, match="two or more"):
        run("rate", "last", "rules")
    with open_store(URL) as store:
        for i in range(9):
            verdict = "left" if i % 3 else "right"
            store.ratings.put(StoredRating(id, "Ada", f"e{i}", "linear", "rules", "linear", verdict))
    said = run("rate", "last", "--report")
    assert "linear against rules: 66.7% [35.4%, 87.9%] over 9 examples (6 won, 3 lost" in said
    found = json.loads(run("rate", "last", "linear", "rules", "--report", "--json"))
    assert found["duels"][0]["wins"] == 6
    with pytest.raises(InputError, match="no rung 'x'"):
        run("rate", "last", "x", "--report")


def test_an_ab_test_is_shown() -> None:
    with open_store(URL) as store:
        store.ab_tests.put("desk", json.dumps({"arms": [["A", "f"], ["B", "g"]], "alpha": 0.05, "salt": "s"}))
    assert run("ab") == "desk\n"
    assert "no difference shown so far" in run("ab", "desk")
    with open_store(URL) as store:
        for i in range(40):
            arm = "AB"[i % 2]
            store.ab_tests.put_outcome(f"id{i}", "desk", arm, f"c{i}")
            store.ab_tests.score_outcome("desk", f"id{i}", float(arm == "A"))
        store.ab_tests.stop("desk", "B is worse")
    said = run("ab", "desk")
    assert "A         20      20  1.000       20  1.000" in said
    assert "B is worse\n" in said
    assert "rolled back, all traffic goes to A: B is worse" in said
    seen = json.loads(run("ab", "desk", "--json"))
    assert seen["look"]["verdict"] == "worse"
    assert seen["look"]["p"] < 0.001
    with pytest.raises(InputError, match="no A/B test 'x'"):
        run("ab", "x")
    with pytest.raises(InputError, match="two arms"):
        run("serve", "nowhere", "--split", "A=1", "--as", "x")
