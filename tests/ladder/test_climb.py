from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from rung.core.errors import InputError, RungError
from rung.core.parts import program as programs
from rung.core.parts import registry
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Program, Resources, Traits
from rung.core.settings import Settings
from rung.core.types import Answer, Budget, Input, RungChoice, Task
from rung.ladder.climb import Climber
from rung.ladder.history import compare_runs, read_results, read_run
from rung.ladder.prepare.fit import fit_key
from rung.ladder.prepare.plan import plan
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.store import Store


async def climb(task: Task, store: Store, pool: Pool, settings: Settings, **options: bool):  # type: ignore[no-untyped-def]
    return await Climber(task, store, pool, settings, early=options.get("early", True)).climb()


async def test_a_climb_measures_every_rung_and_recommends(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    run = await climb(task, store, pool, settings)
    assert [record.title for record in run.rungs] == ["rules", "linear", "zero-shot", "persona", "few-shot-knn"]
    assert run.status == "done"
    linear, persona = run.rung("linear"), run.rung("persona")
    assert linear is not None
    assert linear.metrics["accuracy"].value == 1.0
    assert linear.online is not None
    assert linear.online.alone == 12
    assert linear.online.p50 is not None
    assert persona is not None
    assert persona.status == "skipped"
    assert "no persona" in persona.reason
    assert run.recommendation is not None
    assert run.recommendation.rung in ("rules", "linear", "zero-shot", "few-shot-knn")
    assert read_run(store, run.id) == run


async def test_climbing_again_answers_from_the_journal(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    first = await climb(task, store, pool, settings)
    model = Fake()
    fresh = Pool(settings, default="fake:echo")
    fresh.add(model, "fake:echo")
    second = await climb(task, store, fresh, settings)
    assert model.calls == []
    for one, two in zip(first.rungs, second.rungs, strict=True):
        assert one.metrics == two.metrics
        assert one.online == two.online


async def test_a_climb_cut_off_goes_on_where_it_was(task: Task, store: Store, pool: Pool, settings: Settings) -> None:
    one = replace(task, rungs=(RungChoice("zero-shot"),))
    slow = Fake(latency=0.02)
    broken = Pool(settings, default="fake:echo")
    broken.add(slow, "fake:echo")
    running = asyncio.create_task(climb(one, store, broken, settings))
    while len(slow.calls) < 8:
        await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert read_run(store, "last").status == "stopped"
    again = Fake()
    whole = Pool(settings, default="fake:echo")
    whole.add(again, "fake:echo")
    run = await climb(one, store, whole, settings)
    assert run.rungs[0].n == len(task.test)
    assert 0 < len(again.calls) <= len(task.test) - 5


async def test_the_budget_stops_and_says_so(task: Task, store: Store, pool: Pool, settings: Settings) -> None:
    run = await climb(replace(task, budget=Budget(tokens=300)), store, pool, settings)
    zero, last = run.rung("zero-shot"), run.rung("few-shot-knn")
    assert zero is not None
    assert zero.status == "budget"
    assert "300 tokens" in zero.reason
    assert last is not None
    assert last.status == "budget"
    assert last.n == 0
    assert run.usage.tokens < 700
    assert run.recommendation is not None
    assert run.recommendation.rung in ("rules", "linear")


async def test_no_seconds_left_means_no_model_rung(task: Task, store: Store, pool: Pool, settings: Settings) -> None:
    run = await climb(replace(task, budget=Budget(seconds=0.0)), store, pool, settings)
    assert all(record.status in ("budget", "skipped") for record in run.rungs)
    assert run.recommendation is not None
    assert run.recommendation.rung == ""


@dataclass(frozen=True)
class Peeking:
    """Looks at the test split."""

    traits: ClassVar[Traits] = Traits()

    def obstacle(self, task: Task, resources: Resources) -> str:
        return ""

    async def fit(self, task: Task, context: Context) -> Program:
        program = await make_rung(RungChoice("rules")).fit(task, context)
        await context.evaluate(program, task.test[:1])
        return program


class Broken:
    kind = "broken"
    model = None

    def spec(self) -> dict[str, object]:
        return {}

    def files(self) -> dict[str, Path]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        raise KeyError("a defect")

    @classmethod
    def load(cls, spec: object, folder: Path, resources: Resources) -> Broken:
        return cls()


@dataclass(frozen=True)
class Breaks:
    """Makes a program that raises."""

    traits: ClassVar[Traits] = Traits()

    def obstacle(self, task: Task, resources: Resources) -> str:
        return ""

    async def fit(self, task: Task, context: Context) -> Program:
        return Broken()


@dataclass(frozen=True)
class Fills(Breaks):
    """Finds no room for what it fits."""

    async def fit(self, task: Task, context: Context) -> Program:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "tests.ladder.test_climb"
    rungs = {
        **registry.table("rung"),
        "peeking": f"{here}:Peeking",
        "breaks": f"{here}:Breaks",
        "fills": f"{here}:Fills",
        "trains": f"{here}:Trains",
    }
    programs = {**registry.table("program"), "broken": f"{here}:Broken"}
    monkeypatch.setattr(
        registry, "table", lambda kind: {"rung": rungs, "program": programs}.get(kind) or registry.TABLES[kind]
    )
    from rung.metrics.names import METRICS

    monkeypatch.setitem(registry.TABLES, "metric", METRICS)


@pytest.mark.usefixtures("extra")
async def test_a_rung_that_peeks_at_the_test_split_is_refused(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    run = await climb(replace(task, rungs=(RungChoice("peeking"), RungChoice("rules"))), store, pool, settings)
    assert run.rungs[0].status == "failed"
    assert "test example" in run.rungs[0].reason
    assert run.rungs[1].status == "done"


@pytest.mark.usefixtures("extra")
async def test_a_program_that_raises_is_counted_failures(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    run = await climb(replace(task, rungs=(RungChoice("breaks"),)), store, pool, settings)
    assert run.rungs[0].failures == {"program": len(task.test)}
    assert run.rungs[0].metrics["accuracy"].value == 0.0


@pytest.mark.usefixtures("extra")
async def test_a_full_disk_ends_the_climb_and_is_no_fault_of_a_rung(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    """The others would be recommended as if all had been tried."""
    with pytest.raises(OSError, match="No space left"):
        await climb(replace(task, rungs=(RungChoice("rules"), RungChoice("fills"))), store, pool, settings)


async def test_a_hopeless_rung_is_stopped_and_what_was_skipped_is_said(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    wide = replace(
        task,
        test=tuple(
            replace(e, id=f"{e.id}{i}", input={"text": f"{e.input['text']} {i}"}) for e in task.test for i in range(4)
        ),
    )
    liar = Pool(settings, default="fake:echo")
    liar.add(Fake({"": "parcel"}, capabilities=replace(Fake().capabilities, score=False)), "fake:echo")
    chosen = (RungChoice("linear"), RungChoice("zero-shot"), RungChoice("few-shot-random"))
    run = await climb(replace(wide, rungs=chosen), store, liar, settings)
    zero, few = run.rung("zero-shot"), run.rung("few-shot-random")
    assert zero is not None
    assert zero.status == "done"
    assert few is not None
    assert few.status == "stopped"
    assert f"of {len(wide.test)} test examples were not asked" in few.reason
    whole = await climb(replace(wide, rungs=chosen), store, liar, settings, early=False)
    assert all(record.n == len(wide.test) for record in whole.rungs)


async def test_results_can_be_read_back_with_the_exact_messages(
    task: Task, store: Store, pool: Pool, settings: Settings
) -> None:
    run = await climb(task, store, pool, settings)
    results = await read_results(store, run, "zero-shot", pool)
    assert len(results) == len(task.test)
    assert results[0].answer.steps[0].messages[0].content.startswith("Say the intent.")
    assert results[0].scores["accuracy"].value in (0.0, 1.0)
    with pytest.raises(InputError, match="has no rung 'nothing'"):
        await read_results(store, run, "nothing", pool)


async def test_two_runs_are_compared_rung_by_rung(task: Task, store: Store, pool: Pool, settings: Settings) -> None:
    first = await climb(task, store, pool, settings)
    second = await climb(replace(task, instruction="Which intent is it?"), store, pool, settings)
    comparison = await compare_runs(store, first.id, second.id, pool)
    by_title = {change.title: change for change in comparison.changes}
    assert by_title["rules"].note == "the same program and examples"
    zero = by_title["zero-shot"].difference
    assert zero is not None
    assert zero.n == len(task.test)
    assert zero.value == 0


def test_options_are_checked(task: Task) -> None:
    assert make_rung(RungChoice("few-shot-knn", {"ks": [3]})).ks == (3,)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no option 'depth'"):
        make_rung(RungChoice("few-shot-knn", {"depth": 3}))
    with pytest.raises(InputError, match="expected int"):
        make_rung(RungChoice("few-shot-knn", {"dev": "many"}))
    with pytest.raises(RungError, match="unknown rung"):
        make_rung(RungChoice("zero-shoot"))
    for ks in ([], [-3], ["a"]):
        with pytest.raises(InputError, match="expected numbers of demonstrations"):
            make_rung(RungChoice("few-shot-knn", {"ks": ks}))
    with pytest.raises(InputError, match="expected numbers of neighbours"):
        make_rung(RungChoice("nearest", {"ks": [0]}))


def test_the_fit_key_ignores_test_and_sees_everything_else(task: Task) -> None:
    choice = RungChoice("linear")
    rung = make_rung(choice)
    key = fit_key(choice, rung, task, "m", 0)
    assert fit_key(choice, rung, replace(task, test=task.test[:3]), "m", 0) == key
    changed = [
        fit_key(choice, rung, replace(task, train=task.train[1:]), "m", 0),
        fit_key(choice, rung, replace(task, instruction="x"), "m", 0),
        fit_key(choice, rung, task, "n", 0),
        fit_key(choice, rung, task, "m", 1),
        fit_key(choice, make_rung(RungChoice("linear", {"strengths": [2.0]})), task, "m", 0),
    ]
    assert len({key, *changed}) == 6


def test_a_changed_default_is_another_fit(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from rung.foundations.baselines.linear import Linear

    choice = RungChoice("linear")
    key = fit_key(choice, make_rung(choice), task, "m", 0)
    monkeypatch.setattr(Linear.__init__, "__defaults__", ((2.0, 20.0), *(Linear.__init__.__defaults__ or ())[1:]))
    assert fit_key(choice, make_rung(choice), task, "m", 0) != key


def test_several_models_repeat_only_the_rungs_that_use_them(task: Task, settings: Settings) -> None:
    entries = plan(replace(task, models=("fake:echo", "fake:slow")), settings)
    titles = [entry.title for entry in entries]
    assert titles.count("rules") == 1
    assert "zero-shot@echo" in titles
    assert "zero-shot@slow" in titles


async def test_a_program_is_hashed_once_a_rung(
    task: Task, store: Store, pool: Pool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counted(program: Program) -> str:
        hashed.append(program.kind)
        return programs.fingerprint(program)

    monkeypatch.setattr(
        "rung.ladder.measure.evaluate.programs", SimpleNamespace(fingerprint=counted, attempt=programs.attempt)
    )
    task = replace(task, rungs=(RungChoice("zero-shot"), RungChoice("rules")), test=task.test * 3)
    run = await climb(task, store, pool, settings)
    assert all(record.n == len(task.test) for record in run.rungs)
    assert hashed == ["prompt", "rules"]


class Resting(Fake):
    """A model that holds memory; ``asked`` is how many calls it had when it was told to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def rest(self) -> None:
        self.asked.append(len(self.calls))


@dataclass(frozen=True)
class Trains:
    """A rung that trains; its program asks the same model."""

    traits: ClassVar[Traits] = Traits(tuned=True)

    def obstacle(self, task: Task, resources: Resources) -> str:
        return ""

    async def fit(self, task: Task, context: Context) -> Program:
        return await make_rung(RungChoice("zero-shot")).fit(task, context)


@pytest.mark.usefixtures("extra")
async def test_models_give_their_memory_back_for_a_training_and_after_it(
    task: Task, store: Store, settings: Settings
) -> None:
    model, pool = Resting(), Pool(settings, default="fake:echo")
    pool.add(model, "fake:echo")
    chosen = replace(task, rungs=(RungChoice("zero-shot"), RungChoice("trains")))
    run = await climb(chosen, store, pool, settings, early=False)
    assert [record.status for record in run.rungs] == ["done", "done"]
    before, after = model.asked
    assert 0 < before <= after == len(model.calls)
