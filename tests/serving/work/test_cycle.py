"""The whole life: a version, what people taught about its answers, the next version, its approval, and the way back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from rung.alignment.people.feedback import review
from rung.alignment.values.release import approve, read_guidelines
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.system.lock import file_lock
from rung.serving.work.cycle import CURRENT, JOB, PROGRAM, RELEASE, Cycle, CycleState, open_cycle, read_lessons
from rung.serving.work.lineage import read_versions, trace
from rung.store import Store
from rung.store.people.forgetting import forget_old

KNOWN = {"billing": ("invoice", "refund", "payment", "charge"), "login": ("password", "account", "signin", "locked")}
NEW = {"billing": ("surcharge", "iban"), "login": ("passkey", "authenticator")}
FILLER = [
    "please",
    "could",
    "you",
    "tell",
    "me",
    "today",
    "what",
    "about",
    "our",
    "old",
    "new",
    "blue",
    "green",
    "happened",
    "with",
    "mine",
    "yesterday",
    "again",
    "soon",
]


def say(draw: random.Random, words: tuple[str, ...]) -> str:
    return " ".join([*draw.sample(FILLER, 5), draw.choice(words), *draw.sample(FILLER, 4)])


@pytest.fixture
def task(tmp_path: Path) -> Path:
    draw = random.Random(3)
    rows = [{"text": say(draw, words), "label": label} for _ in range(60) for label, words in KNOWN.items()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {"name": "inbox", "instruction": "Sort it.", "data": "rows.jsonl", "answer": "labels",
                "columns": {"input": ["text"], "reference": "label"}, "metrics": ["accuracy"]}  # fmt: skip
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


async def serve(store: Store, program: str, count: int, first: int = 0) -> None:
    """Requests with words that the task does not know, answered wrongly and corrected; and some that nobody looked at."""
    draw = random.Random(first)
    for at in range(count):
        label = ("billing", "login")[at % 2]
        other = ("login", "billing")[at % 2]
        said = {"role": "user", "content": f"{say(draw, NEW[label])} {first + at}"}
        store.served.note(
            f"a{first + at}",
            "rung/inbox",
            json.dumps({"program": program, "messages": [said], "answers": [{"text": other}]}),
        )
    store.served.note(
        f"x{first}", "rung/inbox", json.dumps({"program": program, "messages": [said], "answers": [{"text": "login"}]})
    )
    await store.settle()
    for at in range(count):
        store.served.judge(f"a{first + at}", correction=("billing", "login")[at % 2])


async def go(folder: Path, task: Path, store: Store, settings: Settings) -> CycleState:
    return await Cycle(
        folder, open_cycle(folder, {"task": str(task), "authors": ("ada",), "loss": 0.3}), store, settings
    ).advance()


async def test_from_served_answers_to_the_next_version_and_back(
    task: Path, store: Store, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "inbox"
    state = await go(folder, task, store, settings)
    assert (state.number, state.served, state.comparison) == (1, False, None)
    assert not (folder / CURRENT).exists()
    rules = read_guidelines(folder / "1" / RELEASE)
    with pytest.raises(InputError) as caught:
        approve(rules, folder / "1" / PROGRAM, store, "ada", "")
    assert caught.value.code == "author"
    approve(rules, folder / "1" / PROGRAM, store, "bob", "looked at it")
    assert (await go(folder, task, store, settings)).served

    state = await go(folder, task, store, settings)
    assert state.note
    first = read_versions(folder, store)[0].program
    await serve(store, first, 41)
    review(store, "a40", "ann", consent=False)
    store.served.judge("x0", correction="nonsense")  # no label of the task
    state = await go(folder, task, store, settings)
    assert (state.number, state.served, state.lessons) == (2, False, 40)
    assert any("nonsense" in problem for problem in state.problems)
    assert state.comparison is not None
    assert state.comparison.fresh is not None
    assert state.comparison.n == (30, sum(lesson.held for lesson in read_lessons(folder / "2")))
    assert state.comparison.test.low >= -0.3
    lessons = read_lessons(folder / "2")
    assert 3 <= sum(lesson.held for lesson in lessons) <= 20
    assert (folder / CURRENT).resolve() == (folder / "1" / PROGRAM).resolve()
    approve(read_guidelines(folder / "2" / RELEASE), folder / "2" / PROGRAM, store, "bob", "")
    assert (await go(folder, task, store, settings)).served
    assert (folder / CURRENT).resolve() == (folder / "2" / PROGRAM).resolve()

    one, two = read_versions(folder, store)
    assert (one.learnt, two.approved, two.current) == ((), ("bob",), True)
    assert {*two.learnt, *two.held} == {f"a{at}" for at in range(40)}
    found = trace(two.learnt[0], folder, store)
    assert found.version is not None
    assert found.version.number == 1  # the answer that was corrected came from the version before
    forget_old(store.database, before=10**10)
    assert len(read_versions(folder, store)[1].gone) == 40


async def test_a_job_to_retrain_makes_a_version_of_less_and_is_kept_with_it(
    task: Path, store: Store, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "inbox"
    await go(folder, task, store, settings)
    approve(read_guidelines(folder / "1" / RELEASE), folder / "1" / PROGRAM, store, "bob", "")
    await go(folder, task, store, settings)
    await serve(store, "p", 3)
    assert (await go(folder, task, store, settings)).note
    (folder / "2").mkdir()
    (folder / "2" / JOB).write_text(json.dumps({"why": "drift"}))
    cycle = Cycle(folder, open_cycle(folder, {}), store, settings)
    assert "job to retrain" in cycle._idle(2, [])  # a process was killed before the lessons were there
    (folder / "2" / JOB).replace(folder / JOB)
    with file_lock(folder / ".lock", lambda _: None), pytest.raises(InputError) as busy:
        await go(folder, task, store, settings)
    assert busy.value.code == "cycle-busy"
    state = await go(folder, task, store, settings)
    assert (state.number, state.lessons) == (2, 3)
    assert not (folder / JOB).exists()
    assert read_versions(folder, store)[1].why == "drift"


def test_a_cycle_keeps_what_it_was_begun_with(task: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        open_cycle(tmp_path / "none", {})
    plan = open_cycle(tmp_path / "inbox", {"task": str(task), "rung": "linear"})
    assert open_cycle(tmp_path / "inbox", {"rung": ""}) == plan
    with pytest.raises(InputError) as caught:
        open_cycle(tmp_path / "inbox", {"rung": "majority"})
    assert caught.value.code == "other-cycle"
