"""One contract for every program without a language model: it answers, fits the split, and survives saving."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rung.core.codec import digest_file, encode
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.protocols import Context, Program, Rung
from rung.core.system.arrays import read_arrays
from rung.core.types import Answer, Example, ResponseFormat, Result, Score, Task, Usage
from rung.foundations.baselines.linear import Linear
from rung.foundations.baselines.nearest import Nearest
from rung.foundations.baselines.rules import FieldRulesProgram, Rules
from rung.foundations.text.tfidf import save_arrays
from rung.models import Pool

TEXTS = {
    "parcel": ["where is my parcel", "the parcel has not arrived", "parcel lost in the post", "my parcel is late"],
    "refund": ["I want my money back", "please refund the order", "when do I get the refund", "refund my money"],
    "login": ["I cannot log in", "forgot my password", "the password does not work", "log in fails every time"],
}
ROWS = [Example(f"{label}{i}", {"text": text}, label) for label, texts in TEXTS.items() for i, text in enumerate(texts)]
TASK = Task(
    name="t",
    instruction="Say the intent.",
    form=ResponseFormat("labels", labels=tuple(TEXTS)),
    fields=("text",),
    train=tuple(row for i, row in enumerate(ROWS) if i % 4),
    dev=tuple(row for i, row in enumerate(ROWS) if i % 4 == 0),
    test=(),
    metrics=("accuracy",),
    hash="h",
)


async def evaluate(program: Program, examples: Sequence[Example]) -> list[Result]:
    out = []
    for example in examples:
        answer = await program(example.input)
        out.append(Result(example, answer, {"accuracy": Score(float(answer.output == example.reference))}))
    return out


def context(folder: Path) -> Context:
    return Context(Pool(default="fake:echo"), folder, evaluate)


@pytest.mark.parametrize(
    "rung", [Rules(), Linear(), Linear(features="onehot"), Nearest()], ids=["rules", "linear", "onehot", "nearest"]
)
async def test_contract(rung: Rung, tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    assert rung.obstacle(TASK, pool) == ""
    program = await rung.fit(TASK, context(tmp_path))
    answers = [await program(example.input) for example in TASK.train]
    assert sum(a.output == e.reference for a, e in zip(answers, TASK.train, strict=True)) >= 8
    assert all(answer.confidence is not None and 0 <= answer.confidence <= 1 for answer in answers)
    strange = await program("\x00 ☃ " * 50)
    assert strange.output in TEXTS
    programs.save(program, tmp_path / "saved")
    loaded = programs.load(tmp_path / "saved", pool)
    assert [encode(await loaded(example.input)) for example in TASK.train] == [encode(answer) for answer in answers]
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    again = await rung.fit(TASK, context(tmp_path))
    assert programs.fingerprint(again) == programs.fingerprint(program)
    assert answers[0].usage == Usage()


async def test_linear_over_an_embedder_is_bound_to_its_vectors(tmp_path: Path) -> None:
    vectors = tmp_path / "words.vec"
    known = ["parcel 1 0 0", "refund 0 1 0", "money 0 1 0.2", "password 0 0 1", "log 0 0.1 1", "where 0.5 0 0"]
    vectors.write_text("\n".join(known) + "\n")
    pool = Pool(default="fake:echo")
    program = await Linear(features=f"words:{vectors}").fit(TASK, context(tmp_path))
    assert program.spec()["embedder"] == f"words:{vectors}"
    assert (await program("my money!")).output == "refund"
    programs.save(program, tmp_path / "saved")
    loaded = programs.load(tmp_path / "saved", pool)
    assert encode(await loaded("the password")) == encode(await program("the password"))
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    vectors.write_text("\n".join(known[::-1]) + "\n")
    with pytest.raises(InputError, match="fitted with another"):
        programs.load(tmp_path / "saved", Pool(default="fake:echo"))


@pytest.mark.parametrize("rung", [Linear(), Rules()], ids=lambda rung: type(rung).__name__)
def test_free_text_does_not_fit(rung: Rung) -> None:
    from dataclasses import replace

    assert rung.obstacle(replace(TASK, form=ResponseFormat()), Pool(default="fake:echo"))


async def test_two_labels_are_predicted_like_three(tmp_path: Path) -> None:
    from dataclasses import replace

    two = tuple(row for row in TASK.train if row.reference != "login")
    task = replace(TASK, train=two, dev=(), form=ResponseFormat("labels", labels=("parcel", "refund")))
    program = await Linear().fit(task, context(tmp_path))
    assert [(await program(row.input)).output for row in two] == [row.reference for row in two]


async def test_field_rules_fill_a_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "order": {"type": ["string", "null"]},
            "count": {"type": "integer"},
            "urgent": {"type": "boolean"},
            "items": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}},
            },
        },
    }
    rules = {
        "order": (r"#(\d+)",),
        "count": (r"(\d+) pieces",),
        "urgent": ("asap",),
        "items": (r"(?P<n>\d+) x (?P<name>\w+)",),
    }
    program = FieldRulesProgram(rules, schema)
    answer = await program("order #77, 3 pieces asap: 2 x tent and 1 x lamp")
    assert answer.output == {
        "order": "77",
        "count": 3,
        "urgent": True,
        "items": [{"n": 2, "name": "tent"}, {"n": 1, "name": "lamp"}],
    }
    empty: Answer = await program("hello")
    assert empty.output == {"order": None, "count": None, "urgent": False, "items": []}


async def test_damaged_weights_are_told_when_the_program_is_opened(tmp_path: Path) -> None:
    program = await Linear(strengths=(1.0,)).fit(TASK, Context(Pool(), tmp_path, evaluate))
    whole = read_arrays(tmp_path / "linear.npz")
    for name, value in (
        ("coef", whole["coef"][:, :-1]),
        ("coef", whole["coef"] * np.nan),
        ("intercept", whole["intercept"][:1]),
        ("labels", np.frombuffer(b"one", np.uint8)),
        ("idf0", whole["idf0"][:-1]),
        ("terms1", np.frombuffer(b"a\na", np.uint8)),
    ):
        folder = tmp_path / f"damaged-{name}"
        programs.save(program, folder)
        save_arrays(folder / "linear.npz", {**whole, name: value})
        document = json.loads((folder / "program.json").read_text())
        document["files"]["linear.npz"] = digest_file(folder / "linear.npz")
        (folder / "program.json").write_text(json.dumps(document))
        with pytest.raises(InputError):
            programs.load(folder, Pool())
