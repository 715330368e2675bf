"""Approvals and memory from the command line: what waits is shown, decided once, and survives the process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rung.cli.main import main
from tests.child import Child

AGENT = """
policy: {{name: scripted, calls: [{{tool: send, arguments: {{to: {to}, amount: 7}}}}], output: done}}
tools: ["python:mine.py:SEND"]
guard: {{rules: [{{tool: send, then: ask}}]}}
memory: facts
limits: {{patience: {patience}}}
"""
TOOL = """
from pathlib import Path
from rung.agents.tools.function import tool

def send(to: str, amount: int, key: str) -> str:
    "Send money."
    with Path("sent").open("a") as file:
        file.write(f"{to} {amount}\\n")
    return "sent"

SEND = tool(send, effect="once")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_STORE", f"sqlite:///{tmp_path}/store.db")
    (tmp_path / "mine.py").write_text(TOOL)
    (tmp_path / "agent.yaml").write_text(AGENT.format(to="bob", patience=600))
    return tmp_path


def rung(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rung", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def waiting(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert rung("agent", "waiting", "--json") == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        (["approve"], "bob 7\n"),
        (["deny", "--why", "no"], None),
        (["edit", "--set", "amount=3"], "bob 3\n"),
    ],
)
def test_a_call_is_made_as_a_person_says(
    folder: Path, capsys: pytest.CaptureFixture[str], word: list[str], sent: str | None
) -> None:
    assert rung("agent", "run", "agent.yaml", "go") == 3
    (asked,) = waiting(capsys)
    assert asked["arguments"] == {"to": "bob", "amount": 7}
    digest = str(asked["digest"])
    assert rung("agent", word[0], "ffff0000") != 0
    assert rung("agent", "edit", digest, "--set", "amount=much") != 0  # a slip is no word: it still waits
    assert rung("agent", word[0], digest[:10], *word[1:], "--by", "me") == 0
    assert (folder / "sent").exists() == (sent is not None)
    if sent is not None:
        assert (folder / "sent").read_text() == sent
    assert rung("agent", "approve", digest) != 0  # each word once
    assert waiting(capsys) == []
    rung("trace", "show", "last")
    assert f"{word[0]} event" in capsys.readouterr().out
    assert rung("replay", "last") == 0


def test_what_waits_survives_the_process_that_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import os,sys;sys.argv=['rung','agent','run','agent.yaml','go']\nfrom rung.cli.agent import agent\nimport rung.cli.main as m\nagent._Shown.end=lambda *a: os.kill(os.getpid(), 9)\nm.main()"
    assert Child(code, folder=folder).wait() == -9
    assert len(waiting(capsys)) == 1
    assert not (folder / "sent").exists()
    capsys.readouterr()
    assert rung("agent", "approve", str(waiting(capsys)[0]["digest"]), "--later") == 0
    assert not (folder / "sent").exists()
    assert rung("agent", "resume", "last") == 0
    assert (folder / "sent").read_text() == "bob 7\n"


def test_what_nobody_answers_lapses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "agent.yaml").write_text(AGENT.format(to="bob", patience=0.01))
    rung("agent", "run", "agent.yaml", "go")
    rung("agent", "lapse")
    assert waiting(capsys) == []
    assert not (folder / "sent").exists()


def test_memory_is_listed_edited_and_forgotten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "plain.yaml").write_text("policy: {name: scripted, calls: [], output: fine}\nmemory: facts\n")
    rung("agent", "run", "plain.yaml", "I own a purple zeppelin.", "--user", "ada")
    capsys.readouterr()
    rung("agent", "memory", "list", "--user", "ada", "--json")
    (item,) = json.loads(capsys.readouterr().out)
    assert item["text"] == "I own a purple zeppelin."
    assert rung("agent", "memory", "edit", item["id"][:6], "I own two zeppelins.", "--user", "bob") != 0
    assert rung("agent", "memory", "edit", item["id"][:6], "I own two zeppelins.", "--user", "ada") == 0
    assert rung("agent", "memory", "forget", "--user", "ada") != 0
    assert rung("agent", "memory", "forget", item["id"][:6], "--user", "ada") == 0
    assert not any(b"zeppelin" in file.read_bytes() for file in folder.glob("store.db*"))
    assert rung("agent", "memory", "list", "--user", "ada") == 0
