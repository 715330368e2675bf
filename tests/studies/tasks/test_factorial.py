from __future__ import annotations

from dataclasses import replace

from rung.core.settings import Settings
from rung.core.types import Progress, Task
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.store import Store
from rung.studies.study import Lab
from rung.studies.tasks.factorial import RunFactorial


async def test_a_second_run_asks_nothing_and_says_the_same(task: Task, settings: Settings, store: Store) -> None:
    pool = Pool(settings, default="fake:counted")
    model = Fake(name="counted")
    pool.add(model)
    task = replace(task, persona="a clerk", models=("fake:counted",))
    told: list[Progress] = []
    lab = Lab(settings, pool, store, told.append)
    first = await RunFactorial("persona, few-shot=2").measure(task, lab)
    asked = len(model.calls)
    assert asked == 4 * len(task.dev)
    assert [item.done for item in told] == [1, 2, 3, 4]
    again = await RunFactorial("few-shot=2,persona").measure(task, lab)
    assert len(model.calls) == asked
    assert again.main == first.main
    text = RunFactorial("persona").table(first)
    assert "main effects" in text
    assert "persona+few-shot=2" in text
    assert f"over {len(task.dev)} examples" in text
