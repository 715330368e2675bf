"""Looks at a test split: each is noted, parts of a split count with the whole, and a second one after a change is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung import front
from rung.core.settings import Settings
from rung.core.types import RungChoice
from rung.ladder.export import export_program
from rung.ladder.history import read_results, read_run
from rung.ladder.measure.looks import SEEN, count, sketch
from rung.ladder.records import RunRecord
from rung.models import Pool
from rung.store import Store, StoredLook, open_store
from rung.studies.study import Lab
from rung.studies.tasks.learning import LearningCurve
from tests import desk

RULES, LINEAR = RungChoice("rules"), RungChoice("linear")


def climb(settings: Settings, *rungs: RungChoice, **changes: Any) -> RunRecord:
    limit = changes.pop("limit", None)
    return front.climb(replace(desk.task(**changes), rungs=rungs), settings=settings, limit=limit)


def test_a_second_look_after_a_change_is_told_and_a_repetition_is_none(settings: Settings) -> None:
    first = climb(settings, RULES)
    assert (first.look, first.notes) == (1, ())
    same = climb(settings, RULES)
    assert (same.look, same.notes) == (1, ())
    more = climb(settings, RULES, LINEAR)
    assert more.look == 2
    assert more.notes == (
        f"The test examples were looked at 2 times, before by {first.id}; 1 of 2 programs are new since. "
        "Choosing by test scores again and again makes them too good: choose on dev, or bring new test examples before a release.",
    )
    with open_store(settings.store_url) as store:
        assert read_run(store, more.id).look == 2
        looks = store.looks.all()
        assert [look.run for look in looks if look.what == "climb"] == [first.id, same.id, more.id, more.id]
        assert {look.program for look in looks} == {rung.program for rung in more.rungs}
        # The numbers of earlier runs do not change by later ones.
        assert [count(store, run.id).number for run in (first, same, more)] == [1, 1, 2]
        assert store.looks.all()[-1].who
    page = (settings.home / "reports" / f"{more.id}.html").read_text()
    assert "test looked at 2 times" in page
    assert "choose on dev" in page
    page = (settings.home / "reports" / f"{first.id}.html").read_text()
    assert "test looked at once" in page


def test_a_part_of_the_split_counts_and_other_examples_do_not(settings: Settings) -> None:
    part = climb(settings, RULES, limit=11)
    whole = climb(settings, LINEAR)
    assert (part.look, whole.look) == (1, 2)
    assert whole.notes[0].startswith("The test examples were looked at 2 times")
    task = desk.task()
    others = climb(settings, LINEAR, test=task.dev, dev=task.test)
    assert (others.look, others.notes) == (1, ())
    # Another name does not make the examples new.
    again = climb(settings, LINEAR, name="another", train=task.train[:12])
    assert again.look == 3


def test_what_reads_results_is_noted_and_no_look_of_its_own(settings: Settings, tmp_path: Path) -> None:
    run = climb(settings, RULES)

    async def read() -> None:
        with open_store(settings.store_url) as store:
            async with Pool(settings) as pool:
                await read_results(store, run, "rules", pool)
                await read_results(store, run, "rules", pool, what="errors")

    import asyncio

    asyncio.run(read())
    with open_store(settings.store_url) as store:
        assert [look.what for look in store.looks.all()] == ["climb", "report", "show", "errors"]
        assert count(store, run.id).number == 1
        exported = asyncio.run(export_program(store, run.id, "rules", tmp_path / "out"))
    assert exported.run.look == 1
    notes = json.loads((tmp_path / "out" / "program.json").read_text())["notes"]
    assert (notes["run"], notes["look"]) == (run.id, 1)


async def test_a_learning_curve_looks_too(settings: Settings) -> None:
    task = desk.task()
    with open_store(settings.store_url) as store:
        async with Pool(settings) as pool:
            await LearningCurve("rules", "12,24").measure(task, Lab(settings, pool, store))
        (run,) = {look.run for look in store.looks.all()}
        assert run.startswith("curve-")
        assert count(store, run).number == 1


def test_a_look_survives_its_run_and_a_store_that_cannot_be_written_to(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rung.core.errors import StoreError
    from rung.ladder.measure import looks

    run = climb(settings, RULES)
    with open_store(settings.store_url) as store:
        store.gc(before=1e11)
        assert store.runs.newest() == []
        assert [look.run for look in store.looks.all() if look.what in SEEN] == [run.id]

        def broken(look: StoredLook) -> None:
            raise StoreError("the disk is full")

        monkeypatch.setattr(store.looks, "put", broken)
        looks.show(store, desk.task().test, StoredLook("", "t", "h", "r", "p", "show"))


def test_a_tenth_of_a_split_shares_its_mark(store: Store) -> None:
    import random

    draw = random.Random(0)
    names = [f"{draw.getrandbits(128):032x}" for _ in range(2000)]
    whole = set(sketch(names).split())
    met = sum(bool(whole & set(sketch(draw.sample(names, 200)).split())) for _ in range(300))
    assert met >= 280
    assert not whole & set(sketch([name[::-1] for name in names]).split())


def test_the_verbs_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from rung.cli.main import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_MODEL", "fake:echo")
    monkeypatch.setenv("COLUMNS", "200")

    def rung(*said: str) -> str:
        result = CliRunner().invoke(app, list(said))
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    rung("climb", "support-intent", "--rung", "rules", "--limit", "20", "--quiet")
    out = rung("climb", "support-intent", "--rung", "linear", "--limit", "20", "--quiet")
    assert "The test examples were looked at 2 times" in out
    assert "look" in rung("runs").split()
    assert rung("runs", "--looks").count("climb") == 2
    assert "Its scores are of look 2 at the test examples" in rung("export", "last", "linear", "out")
