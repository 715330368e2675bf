from __future__ import annotations

import dataclasses

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import Request, Task
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.store import Store
from rung.studies.study import Lab
from rung.studies.tasks.shots import Shots

WRITES = dataclasses.replace(CAPABILITIES, score=False)


def copycat(request: Request) -> str:
    """Answers as the last demonstration does; without one, always the same."""
    said = [message.content for message in request.messages if message.role == "assistant"]
    return said[-1] if said else "parcel"


def pool(settings: Settings, model: Fake) -> Pool:
    made = Pool(settings, default="fake:echo")
    made.add(model, "fake:echo")
    return made


async def test_accuracy_rises_with_k_where_examples_are_chosen_well(
    task: Task, settings: Settings, store: Store
) -> None:
    model = Fake(copycat, capabilities=WRITES)
    seen: list[str] = []
    lab = Lab(settings, pool(settings, model), store, lambda p: seen.append(p.note))
    found = await Shots("4,0,1", exclude=0).measure(task, lab)
    assert [(point.select, point.k) for point in found.points] == [
        ("none", 0), ("random", 1), ("random", 4), ("knn", 1), ("knn", 4)
    ]  # fmt: skip
    by = {(point.select, point.k): point for point in found.points}
    assert by["none", 0].quality.value == pytest.approx(1 / 3)
    assert by["knn", 1].quality.value == by["knn", 4].quality.value == 1.0
    assert by["none", 0].difference is None
    change = by["knn", 1].difference
    assert change is not None
    assert change.value == pytest.approx(2 / 3)
    assert change.low > 0
    assert by["knn", 4].tokens > by["knn", 1].tokens > by["none", 0].tokens
    assert found.pool == len(task.train)
    assert len(seen) == 5
    shown = Shots().table(found)
    assert "knn     1  1.000 [" in shown
    assert "+0.667" in shown
    # A second time is read from the journal.
    asked = len(model.calls)
    assert await Shots("0,1,4", exclude=0).measure(task, lab) == found
    assert len(model.calls) == asked


async def test_k_beyond_the_pool_is_the_pool(task: Task, settings: Settings, store: Store) -> None:
    small = dataclasses.replace(task, train=task.train[:3])
    found = await Shots("2,99,100", "random", limit=4).measure(small, Lab(settings, pool(settings, Fake()), store))
    assert [point.k for point in found.points] == [2, 3]
    assert found.points[0].difference is None


async def test_twins_are_not_shown(task: Task, settings: Settings, store: Store) -> None:
    model = Fake(copycat, capabilities=WRITES)
    twins = dataclasses.replace(task, dev=task.train[:3])
    await Shots("1", "knn", exclude=0.9).measure(twins, Lab(settings, pool(settings, model), store))
    assert all(call.messages[-1].content != call.messages[1].content for call in model.calls)


@pytest.mark.parametrize(("ks", "train"), [("", True), ("-1,2", True), ("1", False)])
async def test_what_cannot_be_a_curve_is_refused(
    ks: str, train: bool, task: Task, settings: Settings, store: Store
) -> None:
    given = task if train else dataclasses.replace(task, train=())
    with pytest.raises(InputError):
        await Shots(ks, "knn").measure(given, Lab(settings, pool(settings, Fake()), store))


def test_from_the_shell(settings: Settings) -> None:
    words = ["pattern", "few-shot", "support-intent", "-m", "fake:echo", "--limit", "6", "--store", settings.store_url]
    result = CliRunner().invoke(app, [*words, "--ks", "0,2", "--select", "knn,mmr"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "3/3 mmr k=2" in result.output
    assert "6 examples, demonstrations from 280 training examples" in result.output
    for wrong, said in (
        (["--ks", "a"], "whole numbers"),
        (["--select", "near"], "not chosen by near"),
        (["--split", "x"], "split"),
    ):
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(app, [*words, *wrong], catch_exceptions=False)
