"""Answers by Ray's workers are those of this process. Without Ray the step runs here, table by table."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError, MissingExtra
from rung.core.parts import program as programs
from rung.core.parts.meter import metered
from rung.core.system.ray import RayStep, apply, packed, unpacked
from rung.core.types import Budget, ResponseFormat
from rung.models import Pool
from rung.serving.endpoints.local import Opened, open_folder
from rung.serving.work import answering, etl
from rung.serving.work.answering import Answered, answer_here, answer_on_ray
from rung.serving.work.etl import AnswerColumn, Etl
from rung.store import open_store
from tests.serving.loopback import LABELS, program

TODO = {f"k{at}": {"text": f"{LABELS[at % 3]} number {at}"} for at in range(20)}


def apply_all(value: Any, step: RayStep) -> list[Any]:
    return list(apply(packed(value), step.work))


def here(groups: Sequence[Sequence[Any]], steps: Sequence[RayStep]) -> Generator[Any]:
    """What ``spread`` does, without Ray: in a thread, since a worker has no event loop and no meter of ours."""
    with ThreadPoolExecutor(1) as worker:
        for value in (value for group in groups for value in group):
            for done in worker.submit(apply_all, value, steps[0]).result():
                yield from unpacked(done)


@pytest.fixture(
    params=[
        "here",
        pytest.param("ray", marks=pytest.mark.skipif(not find_spec("ray"), reason="needs: pip install 'rung[ray]'")),
    ]
)
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "here":
        monkeypatch.setattr(answering, "spread", here)
        monkeypatch.setattr(etl, "running", nullcontext)
        yield "here"
        return
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():  # one for all tests of this module
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200 << 20,
            _node_ip_address="127.0.0.1",
        )
        request.session.addfinalizer(ray.shutdown)
    yield "ray"


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    made = program(Pool().model("fake:echo"), ResponseFormat("labels", labels=LABELS))
    return open_folder(programs.save(made, tmp_path / "program"), Pool())


async def test_the_answers_and_their_usage_are_those_of_this_process(opened: Opened, runner: str) -> None:
    async def take(way: Any) -> tuple[list[tuple[str, Any]], int]:
        with metered() as meter:
            found: Answered = [one async for some in way(opened, TODO, 6) for one in some]
        return [(key, answer.output) for key, answer in found], meter.total.tokens

    near, far = await take(answer_here), await take(answer_on_ray)
    assert near == far
    assert [key for key, _ in far[0]] == list(TODO)
    assert {output for _, output in far[0]} == set(LABELS)
    assert far[1] > 0


async def test_a_spent_budget_fails_what_is_left(opened: Opened, runner: str) -> None:
    with metered(Budget(tokens=1)):
        found = [one async for some in answer_on_ray(opened, TODO, 6) for one in some]
    assert [key for key, _ in found] == list(TODO)
    assert [answer.failure is None for _, answer in found] == [True] * 6 + [False] * 14
    assert {answer.failure.where for _, answer in found if answer.failure} == {"budget"}


async def test_another_program_at_the_workers_is_refused(opened: Opened, runner: str) -> None:
    other = Opened(opened.name, opened.folder, opened.program, opened.fields, "another", {}, None)
    with pytest.raises(InputError, match="is not the one that was opened here"):
        _ = [one async for one in answer_on_ray(other, TODO, 6)]


async def test_a_table_by_ray_goes_on_from_the_journal(opened: Opened, tmp_path: Path, runner: str) -> None:
    source = tmp_path / "asks.csv"
    source.write_text("text\n" + "".join(f"{one['text']}\n" for one in TODO.values()))
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:

        def job(name: str, on: str) -> Etl:
            column = AnswerColumn("intent", opened)
            return Etl(store, [column], f"sqlite:///{tmp_path / name}", "asks", concurrency=6, on=on)

        far = await job("far.db", "ray").run(source)
        assert (far.rows, far.asked, far.failed) == (20, 20, 0)
        near = await job("near.db", "local").run(source)
        assert (near.rows, near.asked, near.kept) == (20, 0, 20)


async def test_without_ray_it_is_said_what_to_type(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MissingExtra) as raised:
        _ = [one async for one in answer_on_ray(opened, TODO, 6)]
    assert "rung[ray]" in raised.value.remedy
