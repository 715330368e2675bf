from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.codec import digest
from rung.core.errors import InputError, ServerError, StoreError
from rung.core.parts import program as programs
from rung.core.types import Budget, Capabilities, ResponseFormat
from rung.models.prices import Price
from rung.models.providers.fake import Fake
from rung.models.wrap import MeteredModel
from rung.serving.endpoints.local import Opened
from rung.serving.work.etl import AnswerColumn, Etl
from rung.store import Store, StoredResult, open_store
from tests.serving.loopback import LABELS, program


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


def column(model: Fake, price: Price | None = None) -> AnswerColumn:
    made = program(MeteredModel(model, price or Price(0, 0), None), ResponseFormat("labels", labels=LABELS))
    opened = Opened("intent", Path("nowhere"), made, ("text",), programs.fingerprint(made), {}, None)
    return AnswerColumn("intent", opened)


def source(folder: Path, texts: list[str]) -> Path:
    path = folder / "asks.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text"])
        writer.writerows((f"n{at}", text) for at, text in enumerate(texts))
    return path


def read(folder: Path, query: str) -> list[tuple[object, ...]]:
    link = sqlite3.connect(folder / "out.db")
    try:
        return link.execute(query).fetchall()
    finally:
        link.close()


async def test_rows_get_their_column_and_equal_ones_are_asked_once(store: Store, tmp_path: Path) -> None:
    model = Fake()
    path = source(tmp_path, ["my card", "a refund", "my card", "delivery when"] * 300)
    job = Etl(store, [column(model)], f"sqlite:///{tmp_path / 'out.db'}", "asks")
    report = await job.run(path)
    assert (report.rows, report.asked, report.failed) == (1200, 3, 0)
    assert len(model.calls) == 3
    assert read(tmp_path, 'SELECT "row", id, intent FROM asks ORDER BY "row" LIMIT 2') == [
        (1, "n0", "card"),
        (2, "n1", "refund"),
    ]
    again = await Etl(store, [column(model)], f"sqlite:///{tmp_path / 'out.db'}", "asks").run(path)
    assert (again.rows, again.asked, again.kept) == (1200, 0, 1200)
    assert len(model.calls) == 3


async def test_a_target_that_takes_no_more_is_a_sentence_and_the_answers_are_kept(store: Store, tmp_path: Path) -> None:
    model, path = Fake(), source(tmp_path, ["my card", "a refund"])
    job = Etl(store, [column(model)], f"sqlite:///{tmp_path / 'out.db'}", "asks")
    await job.run(path)
    with sqlite3.connect(tmp_path / "out.db") as link:
        link.execute("CREATE TRIGGER full BEFORE INSERT ON asks BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    more = source(tmp_path, ["my card", "a refund", "a delivery"])
    with pytest.raises(StoreError, match="cannot write to the target: disk is full"):
        await job.run(more)
    with sqlite3.connect(tmp_path / "out.db") as link:
        link.execute("DROP TRIGGER full")
    report = await job.run(more)
    assert (report.rows, report.asked, len(model.calls)) == (3, 0, 3)


async def test_two_runs_at_once_write_what_was_kept_first(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, put = column(Fake()), store.results.put

    async def overtaken(rows: Sequence[StoredResult]) -> None:
        await put([StoredResult(made.scope, digest({"text": "my card"}), '"refund"')])
        await put(rows)

    monkeypatch.setattr(store.results, "put", overtaken)
    await Etl(store, [made], f"sqlite:///{tmp_path / 'out.db'}", "asks").run(source(tmp_path, ["my card", "a card"]))
    assert read(tmp_path, 'SELECT intent FROM asks ORDER BY "row"') == [("refund",), ("card",)]


async def test_it_stops_at_its_budget_and_goes_on(store: Store, tmp_path: Path) -> None:
    model, price = Fake(), Price(1000, 1000)
    path = source(tmp_path, [f"my card number {at}" for at in range(40)])

    def job(money: float | None) -> Etl:
        return Etl(
            store,
            [column(model, price)],
            f"sqlite:///{tmp_path / 'out.db'}",
            "asks",
            Budget(money=money),
            concurrency=4,
        )

    first = await job(0.05).run(path)
    assert first.stopped
    assert 0 < first.rows < 40
    assert first.usage.money < 0.1  # the cap, and what was in flight
    rest = await job(None).run(path)
    assert (rest.rows, rest.kept, rest.asked, rest.stopped) == (40, first.asked, 40 - first.asked, "")
    assert len(model.calls) == 40
    assert read(tmp_path, "SELECT count(*), count(intent) FROM asks") == [(40, 40)]


async def test_rows_that_fail_are_told_and_tried_again(store: Store, tmp_path: Path) -> None:
    path = source(tmp_path, ["my card", "nothing of these", "a refund"])
    target = f"sqlite:///{tmp_path / 'out.db'}"
    model = Fake({"nothing": "no idea at all"}, capabilities=Capabilities(local=True))
    report = await Etl(store, [column(model)], target, "asks").run(path)
    assert (report.rows, report.failed) == (3, 1)
    assert read(tmp_path, 'SELECT "row", "column", stage FROM errors') == [(2, "intent", "parse")]
    assert read(tmp_path, 'SELECT intent FROM asks WHERE "row" = 2') == [(None,)]
    broken = Fake(failures=[ServerError("gone")])
    made = await Etl(store, [column(broken)], target, "other").run(path)
    assert made.failed <= 1


async def test_a_line_that_lacks_a_field_is_one_row_that_failed(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "asks.jsonl"
    lines: list[dict[str, str]] = [{"text": "my card"}, {"text": "a refund", "who": "ann"}, {"who": "ben"}]
    lines += [{"text": "my card"}] * 500 + [{"text": "a refund", "late": "x"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = await Etl(store, [column(Fake())], f"sqlite:///{tmp_path / 'out.db'}", "asks").run(path)
    assert (report.rows, report.failed) == (504, 2)
    assert read(tmp_path, 'SELECT who, intent FROM asks WHERE "row" IN (2, 3, 504) ORDER BY "row"') == [
        ("ann", "refund"),
        ("ben", None),
        (None, "refund"),
    ]
    assert read(tmp_path, 'SELECT "row", "column", stage FROM errors ORDER BY "row"') == [
        (3, "intent", "source"),
        (504, "late", "source"),
    ]


async def test_names_that_are_taken_are_refused(store: Store, tmp_path: Path) -> None:
    path, model = source(tmp_path, ["my card"]), Fake()
    intent = column(model)
    for columns, table in ([intent], "errors"), ([intent, intent], "asks"), ([replace(intent, name="row")], "asks"):
        with pytest.raises(InputError, match="name"):
            await Etl(store, columns, f"sqlite:///{tmp_path / 'out.db'}", table).run(path)
    assert not model.calls


@pytest.mark.parametrize(
    ("text", "column_name"),
    [
        ("id,text\n", "intent"),
        ("id,words\n1,a\n", "intent"),
        ("id,text,intent\n1,a,b\n", "intent"),
        ("id,text\n1,a\x00b\n", "intent"),
    ],
)
async def test_sources_that_do_not_fit_are_refused(store: Store, tmp_path: Path, text: str, column_name: str) -> None:
    path = tmp_path / "asks.csv"
    path.write_text(text)
    model = Fake()
    with pytest.raises(InputError):
        await Etl(store, [column(model)], f"sqlite:///{tmp_path / 'out.db'}", "asks").run(path)
    assert not model.calls


async def test_targets_that_do_not_fit_are_refused(store: Store, tmp_path: Path) -> None:
    path, model = source(tmp_path, ["my card"]), Fake()
    link = sqlite3.connect(tmp_path / "out.db")
    link.execute("CREATE TABLE asks (other TEXT)")
    link.close()
    for target in (
        f"sqlite:///{tmp_path / 'out.db'}",
        "nonsense",
        "mysql://x/y",
        f"sqlite:///{tmp_path}/no/such/out.db",
    ):
        with pytest.raises(InputError):
            await Etl(store, [column(model)], target, "asks").run(path)
    assert not model.calls
