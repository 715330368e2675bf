"""``rung ask`` from the shell, over a collection built from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from tests.documents.material import pdf

LAMP = "# Lamps\n\nThe safety lamp was invented in 1815 by Humphry Davy. It saved many lives in the mines.\n"
OTTER = "The sea otter eats sea urchins on the coast of the Pacific. It weighs 30 kg.\n"


def rung(*said: str, code: int = 0, typed: str = "") -> str:
    result = CliRunner().invoke(app, list(said), input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(autouse=True)
def _collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/lamp.md").write_text(LAMP)
    Path("docs/otter.txt").write_text(OTTER)
    rung("index", "build", "docs", "--to", "docs", "--embedder", "none")


ASK = ("ask", "docs", "-m", "fake:echo", "--mode", "keyword")


def test_an_answer_leads_to_the_characters_of_a_file() -> None:
    out = rung(*ASK, "Who invented the safety lamp?")
    answer, source, *_ = out.splitlines()
    assert answer.endswith("[1]")
    place, quote = source.removeprefix("[1] docs/lamp.md:").split("  ")
    start, end = map(int, place.split("-"))
    assert LAMP[start:end].split() == quote.strip("“”").split()
    assert "safety lamp was invented" in quote


def test_a_citation_of_a_pdf_says_the_page() -> None:
    Path("docs/rivers.pdf").write_bytes(pdf("The safety lamp is old.", "The river Danube flows through Vienna."))
    rung("index", "build", "docs", "--to", "paged", "--embedder", "none", "--chunk", "sentences:8")
    out = rung("ask", "paged", "-m", "fake:echo", "--mode", "keyword", "-k", "1", "Which river flows through Vienna?")
    assert "docs/rivers.pdf:" in out
    assert ", page 2  “" in out


def test_what_was_sent_and_how_long_it_took() -> None:
    out = rung(*ASK, "Who invented the safety lamp?", "--show")
    assert "--- answer: system" in out
    assert "passage 1: " in out
    assert "retrieve " in out
    assert "answerable " in out


def test_everything_as_json() -> None:
    found = json.loads(rung(*ASK, "Who invented the safety lamp?", "--json", "-k", "1"))
    assert found["citations"][0]["document"] == "docs/lamp.md"
    assert [step["name"] for step in found["answer"]["steps"]] == ["retrieve", "answer", "cite"]
    assert len(found["hits"]) == 1


def test_what_the_passages_do_not_hold_is_refused() -> None:
    assert "do not hold" in rung(*ASK, "Which team won the lamp trophy of Italy in 1990?", code=3)
    assert "do not hold" in rung(*ASK, "xyzzy", code=3)
    assert "[1]" in rung(*ASK, "Which team won the lamp trophy of Italy in 1990?", "--refuse", "0")


@pytest.mark.parametrize(
    "options", [("--reader", "mark"), ("--reader", "write"), ("--refine", "hypothetical"), ("--rerank", "model")]
)
def test_ways_to_read(options: tuple[str, ...]) -> None:
    out = rung(*ASK, "Who invented the safety lamp?", *options, "--refuse", "0")
    assert "docs/lamp.md" in out


def test_wrong_questions_are_told() -> None:
    with pytest.raises(InputError, match="question is empty"):
        rung(*ASK, "-", typed=" \n")
    with pytest.raises(InputError, match="no reader"):
        rung(*ASK, "Who?", "--reader", "loud")
    with pytest.raises(InputError, match="no collection"):
        rung("ask", "nowhere", "Who?")
