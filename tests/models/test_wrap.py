from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import (
    AuthError,
    BudgetExceeded,
    ContextOverflow,
    InputError,
    ModelError,
    RateLimited,
    ServerError,
)
from rung.core.parts.meter import metered
from rung.core.settings import Settings
from rung.core.types import Budget, Chunk, Message, Reply, Request, Sampling, ScoreRequest, Usage
from rung.models import Pool, prices
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.models.wrap import MeteredModel, Policy, wrap

HOSTED = replace(CAPABILITIES, local=False)
QUICK = Policy(timeout=5, retries=3, deadline=10, base=0.01, cap=0.02)


def ask(text: str = "one two three") -> Request:
    return Request((Message("user", text),))


def hosted(fake: Fake, policy: Policy = QUICK) -> MeteredModel:
    return wrap(fake, Settings(), policy=policy)


def down(retry_after: float | None = None) -> ServerError:
    return ServerError("down", status=503, retry_after=retry_after)


async def test_retryable_errors_are_tried_again_and_others_not() -> None:
    fake = Fake(failures=[down(), RateLimited("slow"), None], capabilities=HOSTED)
    assert (await hosted(fake).generate([ask()]))[0].text == "one two three"
    assert len(fake.calls) == 3
    fake = Fake(failures=[ContextOverflow("too long")], capabilities=HOSTED)
    with pytest.raises(ContextOverflow):
        await hosted(fake).generate([ask()])
    assert len(fake.calls) == 1


async def test_no_more_tries_than_were_allowed() -> None:
    fake = Fake(failures=[down()] * 20, capabilities=HOSTED)
    with pytest.raises(ServerError):
        await hosted(fake).generate([ask()])
    assert len(fake.calls) == 1 + QUICK.retries


async def test_scores_are_tried_again_too() -> None:
    fake = Fake(failures=[down()], capabilities=HOSTED)
    scores = await hosted(fake).score([ScoreRequest((Message("user", "red"),), ("red", "blue"))])
    assert scores[0].best == 0
    assert len(fake.calls) == 2


async def test_waits_grow_are_random_and_keep_to_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    policy = Policy(retries=6, base=1.0, cap=8.0, deadline=10_000)
    model = hosted(Fake(failures=[down()] * 7, capabilities=HOSTED), policy)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    ceilings: list[tuple[float, float]] = []
    monkeypatch.setattr("random.uniform", lambda low, high: ceilings.append((low, high)) or high)  # type: ignore[func-returns-value]
    with pytest.raises(ServerError):
        await model.generate([ask()])
    assert ceilings == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0), (0.0, 8.0), (0.0, 8.0)]
    waits.clear()
    model = hosted(Fake(failures=[down(retry_after=7.0)], capabilities=HOSTED), policy)
    await model.generate([ask()])
    assert waits == [8.0]


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    fake = Fake(failures=[RateLimited("slow", retry_after=3600)], capabilities=HOSTED)
    started = time.monotonic()
    with pytest.raises(RateLimited):
        await hosted(fake).generate([ask()])
    assert time.monotonic() - started < 60


async def test_one_429_holds_back_the_others() -> None:
    fake = Fake(failures=[RateLimited("slow", retry_after=0.3)], capabilities=HOSTED)
    model = hosted(fake, replace(QUICK, concurrency=1))
    started = time.monotonic()
    await model.generate([ask("a"), ask("b"), ask("c")])
    assert time.monotonic() - started >= 0.3
    assert len(fake.calls) == 4


async def test_no_more_calls_at_once_than_allowed() -> None:
    now, most = 0, 0

    class Busy(Fake):
        async def generate(self, requests: Sequence[Request]) -> list[Reply]:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            return await super().generate(requests)

    model = hosted(Busy(capabilities=HOSTED), replace(QUICK, concurrency=3))
    await asyncio.gather(*(model.generate([ask()] * 5) for _ in range(4)))
    assert most == 3


async def test_the_time_in_the_queue_is_not_the_calls_time() -> None:
    model = hosted(Fake(latency=0.05, capabilities=HOSTED), Policy(timeout=0.3, deadline=0.3, concurrency=1, retries=0))
    replies = await model.generate([ask()] * 10)
    assert [reply.finish for reply in replies] == ["stop"] * 10


async def test_the_rate_is_kept() -> None:
    fake = Fake(capabilities=HOSTED)
    model = hosted(fake, replace(QUICK, rate=20.0))
    started = time.monotonic()
    await model.generate([ask()] * 30)
    elapsed = time.monotonic() - started
    assert elapsed >= 0.45  # 20 at once from a full bucket, then 10 at 20 a second


async def test_a_batch_keeps_its_good_answers() -> None:
    def rule(request: Request) -> str:
        if "bad" in request.messages[-1].content:
            raise ModelError("cannot")
        return "fine"

    replies = await hosted(Fake(rule, capabilities=HOSTED)).generate([ask("a"), ask("bad"), ask("c")])
    assert [(reply.text, reply.finish) for reply in replies] == [
        ("fine", "stop"),
        ("cannot", "error"),
        ("fine", "stop"),
    ]
    with pytest.raises(ModelError):
        await hosted(Fake(rule, capabilities=HOSTED)).generate([ask("bad"), ask("bad")])


async def test_a_wrong_key_ends_the_batch_at_once() -> None:
    fake = Fake(failures=[AuthError("no")] * 100, capabilities=HOSTED)
    with pytest.raises(AuthError):
        await hosted(fake, replace(QUICK, concurrency=2)).generate([ask()] * 100)
    assert len(fake.calls) <= 2


async def test_a_budget_that_ends_in_a_batch_keeps_what_was_paid_for() -> None:
    fake = Fake(latency=0.01, capabilities=HOSTED)
    model = hosted(fake, replace(QUICK, concurrency=1))
    with metered(Budget(tokens=20)) as meter:
        replies = await model.generate([ask()] * 10)
        assert [reply.finish for reply in replies] == ["stop"] * 3 + ["error"] * 7
        assert "budget" in replies[-1].text
        assert meter.total.tokens == 21
        with pytest.raises(BudgetExceeded):
            await model.generate([ask()])
    assert len(fake.calls) == 3


async def test_money_is_metered_by_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("models: {'fake:echo': {prompt: 1000, completion: 10000, cached: 100}}")
    monkeypatch.setenv("RUNG_PRICES", str(table))
    model = wrap(Fake(capabilities=HOSTED), Settings())
    with metered(Budget(money=0.03)) as meter:
        [reply] = await model.generate([ask()])
        assert reply.usage.money == pytest.approx((4 * 1000 + 3 * 10_000) / 1e6)
        assert meter.total.money == reply.usage.money
        with pytest.raises(BudgetExceeded, match=r"\$0\.03"):
            await model.generate([ask()])


async def test_no_price_is_said_and_counts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model = wrap(Fake(capabilities=HOSTED), Settings())
    assert not model.priced
    assert "unpriced" in caplog.text
    assert (await model.generate([ask()]))[0].usage.money == 0
    assert wrap(Fake(), Settings()).price == prices.FREE


class Torn(Fake):
    """A stream that gives two pieces and then fails, as often as it is told to."""

    def __init__(self, before: int, times: int) -> None:
        super().__init__(capabilities=HOSTED)
        self.before, self.times, self.tried = before, times, 0

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        self.tried += 1
        given = 0
        async for chunk in super().stream(request):
            if self.tried <= self.times and given == self.before:
                raise down()
            given += 1
            yield chunk


async def test_a_stream_is_begun_again_only_while_nothing_was_given_out() -> None:
    early = Torn(before=0, times=2)
    text = "".join([chunk.text async for chunk in hosted(early).stream(ask())])
    assert (text, early.tried) == ("one two three", 3)
    late = Torn(before=2, times=2)
    given: list[str] = []

    async def read() -> None:
        async for chunk in hosted(late).stream(ask()):
            given.append(chunk.text)  # noqa: PERF401 - what came before the failure is what matters

    with metered() as meter, pytest.raises(ServerError):
        await read()
    assert ("".join(given), late.tried) == ("one two", 1)
    assert (meter.total.calls, meter.total.prompt_tokens, meter.total.completion_tokens) == (1, 4, 3)


async def test_a_cancelled_call_frees_its_place() -> None:
    model = hosted(Fake(latency=10, capabilities=HOSTED), replace(QUICK, concurrency=1, timeout=30))
    task = asyncio.create_task(model.generate([ask()]))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    model.inner.latency = 0  # type: ignore[attr-defined]
    assert (await asyncio.wait_for(model.generate([ask()]), 2))[0].finish == "stop"


async def test_a_local_model_gets_the_meter_only() -> None:
    fake = Fake(failures=[down()])
    model = wrap(fake, Settings())
    with metered() as meter, pytest.raises(ServerError):
        await model.generate([ask()])
    assert len(fake.calls) == 1
    assert meter.total == Usage()


async def test_the_meter_counts_in_tasks_started_inside() -> None:
    model = wrap(Fake(), Settings())
    with metered() as outer:
        with metered() as inner:
            await asyncio.gather(*(asyncio.create_task(model.generate([ask()])) for _ in range(5)))
        await model.generate([ask()])
    assert (inner.total.calls, outer.total.calls) == (5, 6)


async def test_senseless_requests_are_refused_before_anything_is_sent() -> None:
    fake = Fake()
    model = wrap(fake, Settings())
    for request in (Request(()), replace(ask(), sampling=Sampling(temperature=float("nan")))):
        with pytest.raises(InputError):
            await model.generate([request])
        with pytest.raises(InputError):
            await anext(aiter(model.stream(request)))
    assert not fake.calls


def test_settings_make_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_TIMEOUT", "7")
    monkeypatch.setenv("RUNG_RETRIES", "2")
    monkeypatch.setenv("RUNG_RATE", "1.5")
    monkeypatch.setenv("RUNG_CONCURRENCY", "3")
    assert Policy.of(Settings()) == Policy(timeout=7, retries=2, deadline=35, concurrency=3, rate=1.5)


def test_a_model_is_wrapped_once() -> None:
    with pytest.raises(TypeError):
        wrap(wrap(Fake(), Settings()), Settings())


async def test_a_pool_opens_each_once_and_closes_all() -> None:
    async with Pool(default="fake:echo") as pool:
        assert pool.model() is pool.model("fake:echo")
        mine = Fake(name="mine")
        assert pool.add(mine) is pool.model("fake:mine")
        assert pool.add(mine, "other") is pool.model("other")
        assert not mine.closed
    assert mine.closed


async def test_a_pool_closes_its_models_when_the_work_fails() -> None:
    mine = Fake(name="mine")

    async def work() -> None:
        async with Pool() as pool:
            pool.add(mine)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert mine.closed


def test_the_log_of_retries_has_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.run(hosted(Fake(failures=[down()], capabilities=HOSTED)).generate([ask("my secret question")]))
    assert "try 1 of 4" in caplog.text
    assert "secret" not in caplog.text
