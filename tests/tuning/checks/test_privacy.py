"""The gate before training on records about people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rung import tasks
from rung.core.errors import FitError, InputError
from rung.core.protocols import Context, Embedder, Model
from rung.core.settings import Settings
from rung.core.types import Capabilities, Example, Guard, ResponseFormat, Task
from rung.tuning.checks import privacy
from rung.tuning.file import job
from rung.tuning.file.config import read
from rung.tuning.tune import Tune
from rung.tuning.weights import Base

EASY = ["Seen by Dr [[NAME|Okafor]] on [[DATE|3 May 2021]].", "Mrs [[NAME|Lund]] lives at [[PLACE|12 Mill Lane]]."]
HARD = "his friend [[NAME|zed]], the one with [[ID|a dog]], and [[DATE|that day]]"


def check(folder: Path, *texts: str) -> str:
    file = folder / "check.jsonl"
    file.write_text("".join(json.dumps({"marked": text}) + "\n" for text in texts), encoding="utf-8")
    return str(file)


def rows(*texts: str) -> list[tuple[str, Sequence[str]]]:
    return [(f"r{number}", [text]) for number, text in enumerate(texts)]


def test_low_recall_refuses_even_rows_that_hold_nothing(tmp_path: Path) -> None:
    file = check(tmp_path, *EASY, HARD)
    why = privacy.refuse(rows("a cough for two weeks"), Guard(file, 0.9))
    assert "of 7 private pieces in check.jsonl only 4 are found (recall 0.571, wanted 0.9)" in why
    assert privacy.refuse(rows("a cough for two weeks"), Guard(file, 0.5)) == ""


def test_a_row_that_is_not_masked_is_named(tmp_path: Path) -> None:
    guard = Guard(check(tmp_path, *EASY), 1.0)
    assert privacy.refuse(rows("Seen by Dr [NAME] on [DATE].", "fever"), guard) == ""
    why = privacy.refuse(rows("fever", "Seen by Dr Brandt on [DATE].", "Call on 4 June 2020"), guard)
    assert why == "2 rows hold what is private: r1 (NAME), r2 (DATE)"
    with pytest.raises(FitError, match="not trained: 2 rows hold") as error:
        privacy.demand(rows("fever", "Seen by Dr Brandt on [DATE].", "Call on 4 June 2020"), guard)
    assert "rung data clean" in error.value.remedy
    privacy.demand(rows("Seen by Dr Brandt"), None)


def test_only_the_kinds_that_are_marked_count(tmp_path: Path) -> None:
    guard = Guard(check(tmp_path, "Dr [[NAME|Okafor]] rang."), 1.0)
    assert privacy.refuse(rows("born on 4 June 2020"), guard) == ""
    assert "(NAME)" in privacy.refuse(rows("Dr Okafor was born on 4 June 2020"), guard)


class Weights:
    capabilities = Capabilities(score=True)

    def __init__(self, name: str) -> None:
        self.name = name
        self.fingerprint = "f"


class Shelf:
    def __init__(self, default: Path) -> None:
        self.default = f"openvino:{default}"

    def model(self, name: str | None = None) -> Model:
        return Weights(name or self.default)  # type: ignore[return-value]

    def embedder(self, name: str | None = None) -> Embedder:
        raise AssertionError("no embedder is needed")


async def test_a_rung_neither_fits_nor_trains(tiny: Base, tmp_path: Path) -> None:
    assert tiny.gguf is not None
    shelf = Shelf(tiny.gguf)
    train = tuple(Example(str(n), {"text": f"case {n} of Dr Okafor"}, "red" if n % 2 else "blue") for n in range(6))
    task = Task(
        "t", "Say.", ResponseFormat("labels", ("red", "blue")), ("text",), train, train[:2], (), ("accuracy",), "h",
        private=Guard(check(tmp_path, *EASY), 0.9),
    )  # fmt: skip
    assert "not trained: 8 rows hold" in Tune().obstacle(task, shelf)
    assert Tune().obstacle(replace(task, private=None), shelf) == ""

    async def evaluate(program: Any, items: Sequence[Example]) -> list[Any]:
        raise AssertionError("nothing is to be evaluated")

    with pytest.raises(FitError, match="not trained"):
        await Tune().fit(task, Context(shelf, tmp_path / "rung" / "a", evaluate))
    assert not (tmp_path / "rung").exists()


@pytest.mark.parametrize("key", ["data", "texts"])
def test_rung_tune_is_held_back_too(tiny: Base, tmp_path: Path, key: str) -> None:
    check(tmp_path, *EASY)
    name = "rows.jsonl" if key == "data" else "rows.txt"

    def config(text: str) -> Path:
        content = json.dumps({"prompt": "What is it?", "completion": text}) if key == "data" else text
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
        document = {"model": str(tiny.gguf), key: name, "private": {"check": "check.jsonl", "recall": 0.9}}
        (tmp_path / "tune.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        return tmp_path / "tune.yaml"

    with pytest.raises(FitError, match=r"1 row holds what is private: .*\(NAME\)"):
        job.gather(read(config("fever, said Dr Brandt")), Settings())
    job.gather(read(config("fever, said Dr [NAME]")), Settings())


@pytest.mark.parametrize(
    "value", [{"recall": 0.9}, "check.jsonl", {"check": "c", "recall": 0}, {"check": "c", "bar": 1}]
)
def test_a_wrong_private_key(value: Any) -> None:
    with pytest.raises(InputError, match="private is"):
        privacy.read_guard(value, Path())


def test_the_shipped_notes_pass_and_one_name_stops_them(tmp_path: Path) -> None:
    task = tasks.load("clinic-qa")
    assert task.private is not None
    everything = (*task.train, *task.dev)
    assert privacy.refuse(privacy.examples((*everything, *task.test)), task.private) == ""
    assert "recall" in privacy.refuse(privacy.examples(everything), replace(task.private, recall=0.99))
    first = everything[0]
    spoilt = replace(first, input={**first.input, "note": first.input["note"] + " Signed by Dr Ashworth."})
    assert f"{first.id} (NAME)" in privacy.refuse(privacy.examples((spoilt, *everything[1:])), task.private)
    path = tasks.init(tmp_path / "own", kind="clinic-qa")
    (tmp_path / "own" / "check.jsonl").unlink()
    assert any("check.jsonl" in problem.message for problem in tasks.validate(path) if problem.level == "error")
