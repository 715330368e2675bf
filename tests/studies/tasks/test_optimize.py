"""The search outside a climb: through the journal, the test split looked at once, a program that runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.settings import Settings
from rung.core.types import Progress, RungChoice, Task
from rung.ladder.climb import Climber
from rung.models import Pool
from rung.prompts.template.files import read_file
from rung.store import Store
from rung.studies.study import Lab
from rung.studies.tasks.optimize import Optimize, summary


@pytest.fixture
def wide(task: Task) -> Task:
    """Enough dev to search on: the fake model reads labels off the words, so that some are missed and edits may help."""
    dev = tuple(replace(example, id=f"d{example.id}") for example in task.dev)
    return replace(task, dev=dev, metrics=("accuracy",), rungs=(RungChoice("optimized", {"calls": 120, "dev": 9}),))


async def test_test_is_looked_at_once_and_a_second_time_from_the_journal(
    wide: Task, settings: Settings, store: Store, pool: Pool, tmp_path: Path
) -> None:
    told: list[Progress] = []
    lab, study = Lab(settings, pool, store, told.append), Optimize(calls=120, dev=9, out=tmp_path / "out")
    found = await study.measure(wide, lab)
    model = pool.model("fake:echo")
    calls = model.inner.calls  # type: ignore[attr-defined]
    tested = found.tested
    assert tested is not None
    same = found.end["start"] == found.end["best"] and not any(step["kept"] for step in found.steps)
    assert found.end["calls"] <= 120
    assert len(calls) == found.end["calls"] + len(wide.test) * (1 if same else 2)
    assert tested.n == len(wide.test)
    assert told[0].total == 120
    assert all(one.done <= 120 for one in told if one.stage.startswith(("start", "step", "race")))
    assert "test (looked at once)" in summary(found)
    before = len(calls)
    again = await study.measure(wide, lab)
    assert len(calls) == before
    assert again.tested == tested
    assert again.usage.calls == 0
    assert list(again.steps) == list(found.steps)


async def test_the_folder_holds_a_program_a_template_and_the_steps(
    wide: Task, lab: Lab, pool: Pool, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = await Optimize(calls=90, dev=9, out=out, no_test=True).measure(wide, lab)
    assert found.tested is None
    program = programs.load(out, pool)
    answer = await program(wide.test[0].input)
    assert answer.output in wide.form.labels
    template = read_file(out / "prompt.md").flat().check()
    assert template.name == "desk"
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert len(list(out.glob("step-*.diff"))) == len(steps) - 1 == len(found.steps)


async def test_what_is_wrong_is_said_before_anything_is_asked_or_written(
    wide: Task, lab: Lab, pool: Pool, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="one step needs") as error:
        await Optimize(calls=10, dev=9, out=tmp_path / "out").measure(wide, lab)
    assert "--calls" in error.value.remedy
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("keep me")
    with pytest.raises(InputError, match="not a program folder"):
        await Optimize(calls=90, dev=9, out=tmp_path / "full").measure(wide, lab)
    assert not (tmp_path / "out").exists()
    assert not pool.model("fake:echo").inner.calls  # type: ignore[attr-defined]


async def test_it_is_a_rung_of_a_climb(wide: Task, settings: Settings, store: Store, pool: Pool) -> None:
    run = await Climber(wide, store, pool, settings).climb()
    (record,) = run.rungs
    assert record.status == "done"
    assert record.n == len(wide.test)
    assert record.offline is not None
    assert 0 < record.offline.usage.calls <= 120
    small = replace(wide, rungs=(RungChoice("optimized", {"calls": 9, "dev": 9}),))
    (record,) = (await Climber(small, store, pool, settings).climb()).rungs
    assert record.status == "skipped"
    assert "one step needs" in record.reason
