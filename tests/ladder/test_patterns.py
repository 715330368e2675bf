"""What holds for every pattern that is a rung: it says why it does not fit, or makes a program that answers and is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.parts import program as programs
from rung.core.parts import registry
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Rung
from rung.core.settings import Settings
from rung.core.types import Example, ResponseFormat, RungChoice, Task
from rung.ladder.prepare.plan import plan
from rung.models import Pool

PATTERNS = sorted(name for name in registry.table("rung") if make_rung(RungChoice(name)).traits.optional)
TRAIN = tuple(Example(f"t{i}", {"text": f"{i} and {i}"}, str(2 * i)) for i in range(12))
FORMS = {
    "text": ResponseFormat(),
    "number": ResponseFormat("number"),
    "labels": ResponseFormat("labels", labels=("2", "4")),
    "json": ResponseFormat("json"),
}


FEWER = {"optimized": {"calls": 150}}
"""Options that make a search end sooner."""


def task(form: ResponseFormat) -> Task:
    return Task("t", "Say.", form, ("text",), TRAIN, TRAIN, (), ("exact",), "h", passages={"a": "One and one is two."})


def test_the_patterns_are_known_and_only_climbed_by_name() -> None:
    assert {
        "react",
        "question-refinement",
        "cognitive-verifier",
        "output-template",
        "combined",
        "audience",
        "recipe",
        "quiz",
        "peer-grading",
    } <= set(PATTERNS)
    climbed = {entry.choice.name for entry in plan(task(ResponseFormat()), Settings())}
    assert not climbed & set(PATTERNS)
    named = Task("t", "Say.", ResponseFormat(), ("text",), (), (), (), ("exact",), "h", rungs=(RungChoice("react"),))
    assert [entry.title for entry in plan(named, Settings())] == ["react"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PATTERNS)
async def test_it_fits_and_answers_or_says_why_not(name: str, form: str, tmp_path: Path) -> None:
    from rung.ladder.measure.evaluate import Evaluator
    from rung.metrics import load_metric
    from rung.store import open_store

    pool = Pool(default="fake:echo")
    rung: Rung = make_rung(RungChoice(name, FEWER.get(name, {})))
    this = task(FORMS[form])
    if why := rung.obstacle(this, pool):
        assert len(why) > 20
        return
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        evaluator = Evaluator(store, "", [load_metric("exact", pool)])
        program = await rung.fit(this, Context(pool, tmp_path, evaluator.fitting))
    programs.save(program, tmp_path / "program")
    loaded = programs.load(tmp_path / "program", pool)
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    first, second = await program("3 and 3"), await loaded("3 and 3")
    assert (first.output, first.failure) == (second.output, second.failure)
    assert first.steps
