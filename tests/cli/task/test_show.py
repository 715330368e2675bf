"""``rung show`` on a real climb, and that it closes what it opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.models import Pool


def test_a_run_its_rung_and_one_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    closed = 0
    close = Pool.close

    async def counted(self: Pool) -> None:
        nonlocal closed
        closed += 1
        await close(self)

    def shown(*words: str) -> str:
        done = CliRunner().invoke(app, ["show", *words])
        assert done.exit_code == 0, done.output
        return done.output

    done = CliRunner().invoke(app, ["climb", "support-intent", "-r", "rules", "--limit", "20", "-m", "fake:echo", "-q"])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(Pool, "close", counted)
    assert "rules" in shown("last")
    assert closed == 0  # a run is a row of the store: nothing is opened
    rows = json.loads(shown("last", "rules", "--json"))
    assert len(rows) == 20
    assert closed == 1
    missed = json.loads(shown("last", "rules", "--failed", "--json"))
    assert [r["example"]["id"] for r in missed] == [
        r["example"]["id"]
        for r in rows
        if r["answer"].get("failure") or next(iter(r["scores"].values())).get("value", 0) < 1
    ]
    one = json.loads(shown("last", "rules", rows[3]["example"]["id"], "--json"))
    assert one == rows[3]
    shown("last", "--report", "out.html")
    assert closed == 4
    assert (tmp_path / "out.html").stat().st_size > 10_000
    for words in (("runs", "--json"), ("runs", "--looks", "--json"), ("diff", "last", "last", "--json")):
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        found = json.loads(done.output)
        assert (found["first"]["id"] if words[0] == "diff" else found[0].get("id") or found[0]["run"]) in shown("last")
