from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import Request, ResponseFormat, Task
from rung.metrics.mean import pass_all, pass_at
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.program import Options, PromptProgram, Reasoning
from rung.prompts.template.prompt import Prompt
from rung.store import Store
from rung.studies.study import Lab
from rung.studies.tasks.sweep import Sweep, agreement, distinct, read_grid, varied


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (5, 0, 2), (5, 5, 4), (6, 4, 3), (4, 1, 4)])
def test_pass_is_the_share_of_subsets(n: int, c: int, k: int) -> None:
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at(n, c, k) == pytest.approx(sum(any(s) for s in subsets) / len(subsets))
    assert pass_all(n, c, k) == pytest.approx(sum(all(s) for s in subsets) / len(subsets))


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, 2, 6), (5, 2, 0), (5, -1, 2)])
def test_impossible_counts(n: int, c: int, k: int) -> None:
    for function in (pass_at, pass_all):
        with pytest.raises(InputError):
            function(n, c, k)


def test_agreement_and_diversity() -> None:
    assert agreement(["a", "a", "b", "b"]) == pytest.approx(2 / 6)
    assert agreement(["a"] * 3) == 1
    assert distinct(["a b", "a b"], 1) == 0.5
    assert distinct(["a b c", "a b d"], 2) == 0.75
    assert distinct(["a"], 2) == 0
    with pytest.raises(InputError):
        agreement(["a"])


def test_the_grid_is_read() -> None:
    assert read_grid(["temperature=0.1,0.8", "top-p=0.9"]) == {"temperature": (0.1, 0.8), "top_p": (0.9,)}


@pytest.mark.parametrize(
    "texts",
    [["temperature"], ["heat=1"], ["temperature=hot"], ["top_p=0"], ["top_p=1.5"], ["temperature=-1"], ["top_k=1.5"],
     ["top_k=1", "top_k=2"], ["temperature="]],
)  # fmt: skip
def test_a_wrong_grid(texts: list[str]) -> None:
    with pytest.raises(InputError):
        read_grid(texts)


def test_the_setting_reaches_every_call() -> None:
    program = PromptProgram(Prompt("x"), Fake(), Options(reasoning=Reasoning(votes=3)))
    changed = varied(program, {"temperature": 0.3, "top_k": 7.0}).options
    assert (changed.sampling.temperature, changed.sampling.top_k) == (0.3, 7)
    assert changed.reasoning is not None
    assert changed.reasoning.temperature == 0.3


async def test_repeats_are_asked_anew_and_journalled(task: Task, settings: Settings, store: Store) -> None:
    """Wrong in every fifth repeat when it is hot; always right when it is cold."""

    def rule(request: Request) -> str:
        text = request.messages[-1].content
        label = next(name for name in ("parcel", "refund", "login") if name in text)
        return "nonsense" if request.sampling.temperature > 0.5 and request.repeat == 4 else label

    model = Fake(rule, name="counted", capabilities=replace(CAPABILITIES, forms=frozenset(), score=False))
    pool = Pool(settings, default=model.name)
    pool.add(model)
    lab, sweep = Lab(settings, pool, store), Sweep(("temperature=0.1,1",), repeat=5, limit=6)
    found = await sweep.measure(task, lab)
    assert len(model.calls) == 2 * 5 * 6
    assert len({(call.repeat, call.sampling.seed) for call in model.calls if isinstance(call, Request)}) == 5
    cold, hot = found.points
    assert (cold.quality.value, cold.agreement.value, cold.failures) == (1.0, 1.0, 0)
    assert hot.quality.value == pytest.approx(0.8)
    assert hot.failures == 6
    assert hot.single == (0.0, 1.0)
    assert hot.agreement.value == pytest.approx(6 / 10)
    assert hot.pass_at[2].value == pytest.approx(1.0)
    assert hot.pass_all[2].value == pytest.approx(6 / 10)
    assert hot.pass_all[5].value == 0
    again = await sweep.measure(task, lab)
    assert len(model.calls) == 2 * 5 * 6
    assert again.points == found.points
    assert "temperature=1 (6 failed)" in sweep.table(found)


async def test_what_cannot_be_swept(task: Task, lab: Lab) -> None:
    for changed, grid, repeat in ((task, ("top_p=1",), 1), (task, (), 2), (replace(task, dev=()), ("top_p=1",), 2)):
        with pytest.raises(InputError, match="repeats"):
            await Sweep(grid, repeat).measure(changed, lab)
    with pytest.raises(InputError, match="mean"):
        await Sweep(("top_p=1",)).measure(replace(task, metrics=("macro-f1",)), lab)
    with pytest.raises(InputError, match="more than one prompt"):
        await Sweep(("top_p=1",), parts="question-refinement").measure(replace(task, form=ResponseFormat()), lab)
