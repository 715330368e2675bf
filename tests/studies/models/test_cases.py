"""The plain evaluation loop: prompts with references, by a named model or by anything that generates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rung
from rung.cli.main import app
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.studies.models import cases

CASES: list[dict[str, Any]] = [
    {"prompt": "Say north.", "reference": "Say north."},
    {"prompt": "Count the rivers of the island", "reference": ["Four rivers", "4"]},
]


class Parrot:
    """Answers with the prompt, or with what it was told to."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self._answers = answers or {}

    def generate(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self._answers.get(prompt, prompt)


@pytest.mark.model
def test_rows_are_those_of_the_guides_and_of_the_verb(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rung.evaluate_model("fake:echo", CASES, settings=settings)
    assert [(row["prompt"], row["response"], row["reference"]) for row in rows] == [
        ("Say north.", "Say north.", "Say north."),
        ("Count the rivers of the island", "Count the rivers of the island", ["Four rivers", "4"]),
    ]
    first, second = (row["metrics"] for row in rows)
    assert first["exact_match"] is True
    assert first["rouge"] == pytest.approx(1)
    assert first["semantic_similarity"] == pytest.approx(1, abs=1e-6)
    assert second["exact_match"] is False
    assert second["rouge"] == pytest.approx(2 * 1 / (6 + 2))
    assert 0 <= second["semantic_similarity"] < 1
    assert rung.evaluate_model(Parrot(), CASES, settings=settings) == rows
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(json.dumps(case) + "\n" for case in CASES))
    monkeypatch.chdir(tmp_path)
    app(["eval", str(file), "-m", "fake:echo", "--json"], standalone_mode=False)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    app(["eval", str(file), "-m", "fake:echo", "-m", "fake:echo", "--metric", "exact"], standalone_mode=False)
    table = capsys.readouterr().out
    assert "0.500" in table
    assert "no difference" in table


async def test_somebodys_own_model_is_asked_each_time_in_order_and_its_failure_is_a_row(settings: Settings) -> None:
    class Broken(Parrot):
        def generate(self, prompt: str) -> str:
            if "rivers" in prompt:
                raise OSError("no answer today")
            return super().generate(prompt)

    own = Broken()
    given = cases.examples(CASES)
    for _ in range(2):
        _, results = await cases.evaluate(own, given, settings, metrics=("exact",))
        assert [result.scores["exact"].value for result in results] == [1, 0]
    assert own.asked == ["Say north."] * 2
    assert "no answer today" in cases.shape(results, {"exact_match": "exact"})[1]["failure"]


async def test_what_is_no_case_and_no_model(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="no test case"):
        cases.examples([])
    with pytest.raises(InputError, match="test case 1 has prompt"):
        cases.examples([CASES[0], {"prompt": "x"}])
    file = tmp_path / "cases.csv"
    file.write_text("prompt,reference\nSay north.,north\n,south\n")
    with pytest.raises(InputError, match="test case 1 has") as caught:
        cases.read(file)
    assert caught.value.line == 3
    with pytest.raises(InputError, match="got a int as model"):
        await cases.evaluate(3, cases.examples(CASES), settings)  # type: ignore[arg-type]
