from __future__ import annotations

from dataclasses import replace

from rung.core.settings import Settings
from rung.core.types import Progress, Task
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.studies.factorial import run_factorial, table


async def test_a_second_run_asks_nothing_and_says_the_same(task: Task, settings: Settings) -> None:
    pool = Pool(settings, default="fake:counted")
    model = Fake(name="counted")
    pool.add(model)
    task = replace(task, persona="a clerk", models=("fake:counted",))
    told: list[Progress] = []
    first = await run_factorial(task, ["persona", "few-shot=2"], task.dev, settings, pool, told.append)
    asked = len(model.calls)
    assert asked == 4 * len(task.dev)
    assert [item.done for item in told] == [1, 2, 3, 4]
    again = await run_factorial(task, ["few-shot=2", "persona"], task.dev, settings, pool, told.append)
    assert len(model.calls) == asked
    assert again.main == first.main
    text = table(first)
    assert "main effects" in text
    assert "persona+few-shot=2" in text
    assert f"over {len(task.dev)} examples" in text
