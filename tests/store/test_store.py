"""The contract of a store, over every database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rung.core.errors import InputError, StoreError
from rung.store import Entry, Store, open_store
from rung.store.engine.database import metadata
from rung.store.engine.journal import Batch
from tests.child import FORK


def entries(count: int, *, program: str = "p", run: str = "r", text: str = "x") -> list[Entry]:
    return [Entry(program, f"e{i}", json.dumps({"n": i, "text": text}), 0, run) for i in range(count)]


def age(store: Store, table: sa.Table, seconds: float, *columns: str) -> None:
    with store.database.pool.begin() as link:
        link.execute(sa.update(table).values({name: table.c[name] - seconds for name in columns}))


def answered(store: Store, batch: Batch) -> int:
    return len(batch.rows.get(store.answers._rows, ()))


# ---------------------------------------------------------------- journal


async def test_a_recorded_answer_is_recalled_and_others_are_left_out(store: Store) -> None:
    await store.answers.record([Entry("p", "a", '{"v":1}', 0, "r"), Entry("p", "b", '{"v":2}', 1, "r")])
    await store.answers.record([Entry("q", "a", '{"v":3}', 0, "r")])
    assert store.answers.recall("p", ["a", "b", "c", "a"]) == {"a": '{"v":1}'}
    assert store.answers.recall("p", ["a", "b"], repeat=1) == {"b": '{"v":2}'}
    assert store.answers.recall("q", ["a"]) == {"a": '{"v":3}'}
    assert store.answers.recall("p", []) == {}


async def test_the_first_answer_stays_and_keeps_its_run(store: Store) -> None:
    await store.answers.record([Entry("p", "a", '"first"', 0, "r1"), Entry("p", "a", '"same call"', 0, "r1")])
    await store.answers.record([Entry("p", "a", '"second"', 0, "r2")])
    assert store.answers.recall("p", ["a"]) == {"a": '"first"'} or store.answers.recall("p", ["a"]) == {
        "a": '"same call"'
    }
    with store.database.pool.connect() as link:
        assert link.execute(sa.select(metadata.tables["answers"].c.run)).scalars().all() == ["r1"]
        assert abs(link.execute(sa.select(metadata.tables["answers"].c.created)).scalar_one() - time.time()) < 60


async def test_record_returns_only_when_another_connection_sees_the_row(store: Store, url: str) -> None:
    with open_store(url) as other:
        for i in range(20):
            await store.answers.record([Entry("p", str(i), "{}", 0, "r")])
            assert other.answers.recall("p", [str(i)]) == {str(i): "{}"}


async def test_many_concurrent_callers_share_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = store.database.journal._write
    monkeypatch.setattr(
        store.database.journal,
        "_write",
        lambda batch: (sizes.append(answered(store, batch)), write(batch))[1],  # type: ignore[func-returns-value]
    )
    rows = entries(3000)
    await asyncio.gather(*(store.answers.record([row]) for row in rows))
    assert sum(sizes) == 3000
    assert len(sizes) <= 3
    assert store.answers.recall("p", [row.example for row in rows]) == {row.example: row.payload for row in rows}


async def test_a_lone_caller_does_not_wait_for_company(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.answers.record([Entry("p", "warm", "{}", 0, "r")])
    sizes: list[int] = []
    write = store.database.journal._write
    took: list[float] = []

    def timed(batch: Any) -> None:
        begun = time.perf_counter()
        write(batch)
        took.append(time.perf_counter() - begun)
        sizes.append(answered(store, batch))

    monkeypatch.setattr(store.database.journal, "_write", timed)
    waits = []
    for i in range(30):
        begun = time.perf_counter()
        await store.answers.record([Entry("p", str(i), "{}", 0, "r")])
        waits.append(time.perf_counter() - begun)
    assert sizes == [1] * 30
    extra = sorted(wait - write_time for wait, write_time in zip(waits, took, strict=True))
    assert extra[len(extra) // 2] < 0.005


@pytest.mark.parametrize(
    "text",
    ["", "é ß 漢字 🙂", "\u0000 \x1f \x7f", "lone \ud83d half", '"quotes" \\ back', "x" * 3_000_000],
    ids=["empty", "unicode", "control", "surrogate", "quotes", "huge"],
)
async def test_any_text_survives(store: Store, text: str) -> None:
    raw = json.dumps({"text": text}, ensure_ascii=False)
    await store.answers.record([Entry("p", "a", raw, 0, "r")])
    store.fits.put("k", raw)
    assert json.loads(store.answers.recall("p", ["a"])["a"]) == {"text": text}
    fit = store.fits.get("k")
    assert fit is not None
    assert json.loads(fit) == {"text": text}


async def test_a_row_that_no_database_takes_spoils_only_its_own_call(store: Store) -> None:
    good = [store.answers.record([row]) for row in entries(10)]
    outcomes = await asyncio.gather(
        store.answers.record([Entry("p", "bad", '"\0"', 0, "r")]), *good, return_exceptions=True
    )
    assert isinstance(outcomes[0], ValueError)
    assert outcomes[1:] == [None] * 10
    assert len(store.answers.recall("p", [f"e{i}" for i in range(10)])) == 10


async def test_odd_keys_are_kept_apart(store: Store) -> None:
    await store.answers.record([Entry("p\0", "a\ud800", "1", 0, "r\0"), Entry("p", "a", "2", 0, "r")])
    assert store.answers.recall("p", ["a"]) == {"a": "2"}


async def test_a_cancelled_caller_takes_nobody_along(store: Store) -> None:
    calls = [asyncio.create_task(store.answers.record([row])) for row in entries(50)]
    await asyncio.sleep(0)
    calls[7].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
    assert outcomes.count(None) == 49


def test_two_event_loops_in_two_threads_share_a_store(store: Store) -> None:
    def climb(program: str) -> None:
        async def main() -> None:
            await asyncio.gather(*(store.answers.record([row]) for row in entries(300, program=program)))

        asyncio.run(main())

    threads = [threading.Thread(target=climb, args=(name,)) for name in ("p", "q")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for name in ("p", "q"):
        assert len(store.answers.recall(name, [f"e{i}" for i in range(300)])) == 300


async def test_close_writes_what_is_queued_and_then_refuses(url: str) -> None:
    store = open_store(url)
    call = asyncio.create_task(store.answers.record([Entry("p", "a", "{}", 0, "r")]))
    await asyncio.sleep(0)
    store.close()
    await call
    with pytest.raises(StoreError, match="closed"):
        await store.answers.record([Entry("p", "b", "{}", 0, "r")])
    store.close()
    with open_store(url) as again:
        assert again.answers.recall("p", ["a", "b"]) == {"a": "{}"}


# ---------------------------------------------------------------- fits, runs, rungs, responses


def test_fits(store: Store) -> None:
    assert store.fits.get("k") is None
    store.fits.put("k", '{"folder":"a"}')
    store.fits.put("k", '{"folder":"b"}')
    store.fits.put("l", '{"folder":"c"}')
    assert store.fits.get("k") == '{"folder":"b"}'
    assert store.fits.get("l") == '{"folder":"c"}'


def test_runs_from_start_to_end(store: Store) -> None:
    before = time.time()
    ids = [store.runs.start(f"task{i}", "hash", json.dumps({"n": i})) for i in range(40)]
    assert len(set(ids)) == 40
    assert sorted(ids) == ids
    assert all(len(id) == 10 and id.isalnum() for id in ids)
    assert [run.id for run in store.runs.newest(3)] == ids[:-4:-1]
    run = store.runs.find("last")
    assert (run.id, run.task, run.task_hash, run.status, run.spec) == (
        ids[-1],
        "task39",
        "hash",
        "running",
        '{"n": 39}',
    )
    assert before <= run.started <= time.time()
    store.runs.update(ids[0], status="done", summary='{"best":"zero"}')
    store.runs.update(ids[1], status="stopped")
    store.runs.update(ids[2], summary='{"half":1}')
    assert (store.runs.find(ids[0]).status, store.runs.find(ids[0]).summary) == ("done", '{"best":"zero"}')
    assert (store.runs.find(ids[1]).status, store.runs.find(ids[1]).summary) == ("stopped", "{}")
    assert (store.runs.find(ids[2]).status, store.runs.find(ids[2]).summary) == ("running", '{"half":1}')


def test_a_run_is_found_by_a_unique_prefix(store: Store) -> None:
    with pytest.raises(InputError, match="no runs yet"):
        store.runs.find("last")
    one = store.runs.start("t", "h", "{}")
    assert store.runs.find(one[:3]).id == one
    assert store.runs.find(one.upper()).id == one
    two = store.runs.start("t", "h", "{}")
    with pytest.raises(InputError, match=f"(?s)several runs: {one}, {two}"):
        store.runs.find(one[:3])
    for name in ("", "%", "_" * 10, "zzzzzz", one + "0", "é", "a\0b"):
        with pytest.raises(InputError, match="no run"):
            store.runs.find(name)
    with pytest.raises(InputError, match="no run"):
        store.runs.update("nothing", status="done")
    with pytest.raises(ValueError, match="interrupted"):
        store.runs.update(one, status="interrupted")


def test_ids_of_one_millisecond_do_not_collide(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.store.tables.runs.time.time", lambda: 1_800_000_000.0)
    draws = iter([7, 7, 7, 8, 9, 10])
    monkeypatch.setattr("rung.store.tables.runs.random.getrandbits", lambda _: next(draws))
    first = store.runs.start("t", "h", "{}")
    store.runs._last_ms = 0  # as another process would
    second = store.runs.start("t", "h", "{}")
    assert first != second


def test_rungs_are_replaced_in_place(store: Store) -> None:
    run = store.runs.start("t", "h", "{}")
    store.runs.put_rung(run, 1, "few-shot", '{"v":1}')
    store.runs.put_rung(run, 0, "zero-shot", '{"v":2}')
    store.runs.put_rung(run, 1, "few-shot", '{"v":3}')
    store.runs.put_rung("other", 0, "zero-shot", "{}")
    assert [(rung.position, rung.name, rung.payload) for rung in store.runs.rungs(run)] == [
        (0, "zero-shot", '{"v":2}'),
        (1, "few-shot", '{"v":3}'),
    ]


async def test_responses_count_their_hits(store: Store, url: str) -> None:
    assert store.responses.get("k") is None
    await store.responses.put("k", '{"text":"a"}')
    await store.responses.put("k", '{"text":"b"}')
    for _ in range(5):
        assert store.responses.get("k") == '{"text":"a"}'
    deadline = time.monotonic() + 10
    while store.responses.hits("k") < 5 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert store.responses.hits("k") == 5
    store.responses.get("k")
    store.close()
    with open_store(url) as again:
        assert again.responses.hits("k") == 6
        assert again.responses.hits("none") == 0


def test_a_run_whose_process_was_killed_reads_as_interrupted(store: Store, url: str) -> None:
    code = (
        "import sys, time; from rung.store import open_store; s = open_store(sys.argv[1]);"
        "print(s.runs.start('t', 'h', '{}'), flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)  # a zombie of ours
    assert child.stdout is not None
    run = child.stdout.readline().strip()
    assert store.runs.find(run).status == "running"
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet reaped: a zombie counts as dead
    assert store.runs.find(run).status == "interrupted"
    child.wait()
    assert store.runs.find(run).status == "interrupted"
    assert store.runs.newest()[0].status == "interrupted"
    store.runs.update(run, status="running")  # this process resumes it
    assert store.runs.find(run).status == "running"
    child.stdout.close()


def test_a_finished_run_stays_finished_when_its_process_ends(store: Store) -> None:
    run = store.runs.start("t", "h", "{}")
    store.runs.update(run, status="failed")
    with store.database.pool.begin() as link:
        link.execute(sa.update(metadata.tables["runs"]).values(born="another", boot="another/pid"))
    assert store.runs.find(run).status == "failed"


# ---------------------------------------------------------------- gc


async def test_gc_forgets_the_old_and_keeps_what_a_kept_run_uses(store: Store, url: str) -> None:
    old = store.runs.start("old", "h", "{}")
    store.runs.put_rung(old, 0, "zero", "{}")
    store.runs.update(old, status="done")
    await store.answers.record(
        entries(30, program="old", run=old, text="x" * 2000) + entries(5, program="both", run=old)
    )
    store.fits.put("old", '{"folder":"old"}')
    await store.responses.put("old", "{}")
    for table, columns in (
        (metadata.tables["runs"], ("started", "changed")),
        (metadata.tables["answers"], ("created",)),
        (metadata.tables["fits"], ("created", "used")),
        (metadata.tables["responses"], ("created", "used")),
    ):
        age(store, table, 40 * 86400, *columns)
    store.close()
    with open_store(url) as store:
        age(store, metadata.tables["programs"], 40 * 86400, "used")
        new = store.runs.start("new", "h", "{}")
        assert len(store.answers.recall("both", [f"e{i}" for i in range(5)])) == 5  # all this does to `both` is read it
        await store.answers.record(entries(3, program="new", run=new))
        store.fits.put("new", '{"folder":"new"}')
        await store.responses.put("new", "{}")
        cutoff = time.time() - 30 * 86400
        foreseen = store.gc(before=cutoff, dry=True)
        assert (foreseen.runs, foreseen.answers, foreseen.fits, foreseen.responses) == (
            (old,),
            30,
            ('{"folder":"old"}',),
            1,
        )
        assert len(store.runs.newest()) == 2
        swept = store.gc(before=cutoff)
        assert (swept.runs, swept.answers, swept.fits, swept.responses) == (
            foreseen.runs,
            foreseen.answers,
            foreseen.fits,
            foreseen.responses,
        )
        if url.startswith("sqlite"):
            assert swept.bytes > 30 * 1000
        assert [run.id for run in store.runs.newest()] == [new]
        assert store.runs.rungs(old) == []
        assert store.answers.recall("old", [f"e{i}" for i in range(30)]) == {}
        assert len(store.answers.recall("both", [f"e{i}" for i in range(5)])) == 5
        assert len(store.answers.recall("new", [f"e{i}" for i in range(3)])) == 3
        assert (store.fits.get("old"), store.fits.get("new")) == (None, '{"folder":"new"}')
        assert (store.responses.get("old"), store.responses.get("new")) == (None, "{}")
        assert store.gc(before=cutoff).runs == ()


async def test_gc_leaves_a_run_that_is_being_driven_and_its_answers(store: Store) -> None:
    run = store.runs.start("long", "h", "{}")
    await store.answers.record(entries(4, run=run))
    for table, columns in (
        (metadata.tables["runs"], ("started",)),
        (metadata.tables["answers"], ("created",)),
        (metadata.tables["programs"], ("used",)),
    ):
        age(store, table, 40 * 86400, *columns)
    swept = store.gc(before=time.time() - 30 * 86400)
    assert (swept.runs, swept.answers) == ((), 0)
    assert len(store.answers.recall("p", ["e0", "e1", "e2", "e3"])) == 4


async def test_a_fit_that_is_used_is_kept(store: Store) -> None:
    store.fits.put("k", "{}")
    age(store, metadata.tables["fits"], 40 * 86400, "created", "used")
    assert store.fits.get("k") == "{}"
    assert store.gc(before=time.time() - 30 * 86400).fits == ()


# ---------------------------------------------------------------- two processes at once


def _climb(url: str, run: str, count: int, gate: Any) -> None:
    async def main() -> None:
        with open_store(url) as store:
            gate.wait(60)
            id = store.runs.start(run, "h", "{}")
            order = entries(count, run=run) if run == "r1" else entries(count, run=run)[::-1]
            for start in range(0, count, 100):
                await asyncio.gather(*(store.answers.record([row]) for row in order[start : start + 100]))
                store.runs.put_rung(id, start, run, "{}")
            store.runs.update(id, status="done")

    asyncio.run(main())


def _in_two_processes(work: Callable[..., None], *arguments: Any) -> None:
    gate = FORK.Barrier(2)
    children = [FORK.Process(target=work, args=(arguments[0], run, *arguments[1:], gate)) for run in ("r1", "r2")]
    for child in children:
        child.start()
    for child in children:
        child.join(90)
    assert [child.exitcode for child in children] == [0, 0]


def test_two_processes_climb_on_one_store_at_once(url: str) -> None:
    _in_two_processes(_climb, url, 600)
    with open_store(url) as store:
        assert len(store.answers.recall("p", [f"e{i}" for i in range(600)])) == 600
        assert {run.status for run in store.runs.newest()} == {"done"}
        assert all(len(store.runs.rungs(run.id)) == 6 for run in store.runs.newest())
        with store.database.pool.connect() as link:
            assert link.execute(sa.select(sa.func.count()).select_from(metadata.tables["answers"])).scalar_one() == 600


def _only_open(url: str, run: str, gate: Any) -> None:
    gate.wait(60)
    with open_store(url) as store:
        store.runs.start(run, "h", "{}")


def test_two_processes_make_a_new_store_at_once(url: str) -> None:
    _in_two_processes(_only_open, url)
    with open_store(url) as store:
        assert len(store.runs.newest()) == 2


def test_two_threads_make_a_new_store_at_once(url: str) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            open_store(url).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


async def test_many_readers_while_one_writes(store: Store, url: str) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []
    sizes: list[int] = []

    def read() -> None:
        try:
            with open_store(url) as reader:
                while not stop.is_set():
                    sizes.append(len(reader.answers.recall("p", [f"e{i}" for i in range(120)])))
                    reader.runs.newest()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for row in entries(120):
        await store.answers.record([row])
    stop.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sizes
    assert len(store.answers.recall("p", [f"e{i}" for i in range(120)])) == 120


def test_a_forked_child_is_refused_instead_of_hanging(store: Store) -> None:
    asyncio.run(store.answers.record([Entry("p", "a", "{}", 0, "r")]))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(store.answers.record([Entry("p", "b", "{}", 0, "r")]))
        except StoreError as error:
            code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------- schema


def test_migrations_build_exactly_the_tables_of_the_schema(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from rung.store.migrations import VERSION_TABLE

    with store.database.pool.connect() as link:
        context = MigrationContext.configure(link, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_migrations_are_linear_and_named_by_their_revision() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from rung.store import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    steps = list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    assert [step.revision for step in steps] == list(migrations.revisions())
    assert [step.down_revision for step in steps] == [None, *migrations.revisions()[:-1]]
    assert [step.revision for step in steps] == [f"{number + 1:04d}" for number in range(len(steps))]


def test_a_store_of_a_newer_rung_is_refused_and_left_alone(store: Store, url: str) -> None:
    with store.database.pool.begin() as link:
        link.exec_driver_sql("UPDATE rung_schema SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"schema 9999.*newer rung wrote it") as caught:
        open_store(url)
    assert "pip install -U rung" in caught.value.remedy
    with store.database.pool.begin() as link:
        assert link.exec_driver_sql("SELECT version_num FROM rung_schema").scalar_one() == "9999"


def test_an_older_store_is_brought_up_to_date(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later migration is one file: simulate having it by hiding that the first was enough."""
    from rung.store import migrations

    with open_store(url) as store:
        run = store.runs.start("t", "h", "{}")
    calls: list[str] = []

    def upgrade(link: sa.Connection) -> None:
        calls.append("upgrade")
        link.exec_driver_sql("ALTER TABLE runs ADD COLUMN later TEXT")
        link.exec_driver_sql("UPDATE rung_schema SET version_num = '9000'")

    known = migrations.revisions()
    monkeypatch.setattr(migrations, "revisions", lambda: (*known, "9000"))
    monkeypatch.setattr(migrations, "upgrade", upgrade)
    for _ in range(2):
        with open_store(url) as store:
            assert store.runs.find(run).task == "t"
    assert calls == ["upgrade"]


def test_a_migration_that_fails_leaves_the_store_as_it_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rung.store import migrations

    with open_store(url) as store:
        store.runs.start("t", "h", "{}")

    def upgrade(link: sa.Connection) -> None:
        link.exec_driver_sql("CREATE TABLE half (a INTEGER)")
        raise RuntimeError("power cut")

    known = migrations.revisions()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "revisions", lambda: (*known, "9000"))
        patch.setattr(migrations, "upgrade", upgrade)
        with pytest.raises(RuntimeError, match="power cut"):
            open_store(url)
    with open_store(url) as store, store.database.pool.connect() as link:
        assert len(store.runs.newest()) == 1
        assert not sa.inspect(link).has_table("half")


def test_a_database_of_another_program_is_not_touched(url: str) -> None:
    raw = url.replace("postgresql://", "postgresql+psycopg://")
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    engine = sa.create_engine(raw)
    with engine.begin() as link:
        link.exec_driver_sql("CREATE TABLE runs (theirs TEXT)")
    engine.dispose()
    with pytest.raises(StoreError, match="'runs' that rung did not make"):
        open_store(url)


def test_opening_a_store_that_is_up_to_date_does_not_load_alembic(url: str) -> None:
    open_store(url).close()
    code = (
        "import sys; from rung.store import open_store; open_store(sys.argv[1]).close();"
        "sys.exit(sorted(name for name in sys.modules if name.partition('.')[0] in ('alembic', 'mako')) or 0)"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_new_store_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    made = tmp_path / ".rung"
    made.mkdir(mode=0o755)  # by another verb
    for file in (made / "rung.db", tmp_path / "deep" / "down" / "rung.db"):
        with open_store(f"sqlite:///{file}") as store:
            store.runs.start("t", "h", "{}")
            assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}
        assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_store_from_before_the_first_release_is_refused_and_left_alone(url: str) -> None:
    with open_store(url) as store, store.database.pool.begin() as link:
        link.exec_driver_sql("ALTER TABLE rung_schema RENAME TO rung_version")
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert caught.value.code == "old-store"
    assert ".old" in caught.value.remedy or "RUNG_STORE" in caught.value.remedy
