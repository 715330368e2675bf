"""Agents from the command line: scenarios played and kept, and a signal answered at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.agents.environments.desk.tickets import ticket_id
from rung.cli.main import app
from tests.agents.environments.test_desk import scenario_of

SLOW = """
import time
from pathlib import Path

def nap(name: str) -> str:
    "Sleep."
    Path(name).touch()
    time.sleep(60 if name == "long" else 0)
    return "slept"
"""
AGENT = """
policy: {name: scripted, calls: [{tool: nap, arguments: {name: short}}, {tool: nap, arguments: {name: long}}], output: done}
tools: ["python:slow.py:nap"]
"""


@pytest.mark.slow
def test_a_signal_within_a_long_step_is_answered_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "agent.yaml").write_text(AGENT)
    command = [sys.executable, "-m", "rung", "agent", "run", "agent.yaml", "go", "--store", "sqlite:///s.db"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if (tmp_path / "long").exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    id = said.partition("episode ")[2].split()[0]
    assert f"rung agent resume {id}" in said
    assert "Traceback" not in said


def test_scenarios_are_played_once_and_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_STORE", f"sqlite:///{tmp_path}/store.db")
    runner = CliRunner()
    words = ["agent", "play", "desk", "--policy", "scripted", "--count", "3"]
    for _ in range(2):
        played = runner.invoke(app, words)
        assert played.exit_code == 0, played.output
        assert "solved 3 of 3" in played.stdout
    made = runner.invoke(app, ["agent", "rows", "--to", str(tmp_path / "rows.jsonl")])
    assert "of 3 episodes" in made.stdout
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["messages"][-1]["role"] for row in rows} == {"assistant"}
    assert runner.invoke(app, [*words, "--split", "tset"]).exit_code != 0


def test_a_failure_is_corrected_and_becomes_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An episode that failed is listed, one call of it is changed, it goes on from there, and is learnt from."""
    monkeypatch.setenv("RUNG_STORE", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.chdir(tmp_path)
    scenario = scenario_of("spam")
    wrong = {"ticket": ticket_id(scenario), "queue": "general", "reason": "the <b>reason</b>"}
    calls = [
        {"tool": "read_ticket", "arguments": {"ticket": ticket_id(scenario)}},
        {"tool": "escalate", "arguments": wrong},
    ]
    policy = {"name": "scripted", "calls": calls, "output": "done"}
    Path("agent.yaml").write_text(json.dumps({"policy": policy, "environment": "desk"}))
    runner = CliRunner()
    assert runner.invoke(app, ["agent", "run", "agent.yaml", "--scenario", scenario]).exit_code == 0
    (failed,) = json.loads(runner.invoke(app, ["agent", "failures", "--json"]).stdout)
    assert "closed without an answer" in failed["verdict"]["missing"][0]
    shown = runner.invoke(app, ["agent", "failures"]).stdout
    seq = failed["calls"][-1]["seq"]
    assert f"rung replay {failed['episode']} --from {seq}" in shown
    page = tmp_path / "pages" / "failures.html"
    assert runner.invoke(app, ["agent", "failures", "--to", str(page)]).exit_code == 0
    text = page.read_text()
    assert failed["episode"] in text
    assert "the &lt;b&gt;reason&lt;/b&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    changed = ["--set", "tool=close_ticket", "--set", f"arguments={{ticket: {ticket_id(scenario)}}}"]
    again = runner.invoke(app, ["replay", failed["episode"], "--from", str(seq), *changed])
    assert again.exit_code == 0, again.output
    assert "no episode" in runner.invoke(app, ["agent", "failures"]).stdout
    made = runner.invoke(app, ["agent", "rows", "--way", "turns", "--to", "rows.jsonl"])
    assert made.exit_code == 0, made.output
    (row,) = [json.loads(text) for text in Path("rows.jsonl").read_text().splitlines()]
    assert row["messages"][-1]["content"].startswith("close_ticket")
