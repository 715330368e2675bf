"""A program that computes for long holds up nobody else, and its deadline fires."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from rung.core.protocols import Program
from rung.core.types import Answer, text_of
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.compute import SHORT, STUCK, Pace, compute
from rung.serving.endpoints.local import Opened
from rung.serving.endpoints.program import ProgramEndpoint
from rung.serving.http.limits import Limits
from tests.serving.loopback import serving


class Slow:
    """Computes for ``seconds``, without a model and without giving the event loop a turn."""

    kind, model = "slow", None

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.threads: set[str] = set()

    async def __call__(self, input: Any, *, repeat: int = 0) -> Answer:
        self.threads.add(threading.current_thread().name)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass
        return Answer(text_of(input)[:3])


def program(slow: Slow) -> Program:
    return cast(Program, slow)


def endpoint(program: Any, characters: int = 200_000) -> ProgramEndpoint:
    return ProgramEndpoint(Opened("slow", Path("x"), program, ("text",), "f", {}, None), 1, True, characters)


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "rung/slow", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.server
@pytest.mark.parametrize("stream", [False, True])
async def test_health_answers_while_a_program_computes_and_the_deadline_fires(stream: bool) -> None:
    async with (
        serving(endpoint(Slow(2.0)), limits=Limits(deadline=0.5, grace=1)) as url,
        httpx.AsyncClient(timeout=20) as client,
    ):
        asked = asyncio.create_task(client.post(f"{url}/chat/completions", json=body("x" * 9000, stream=stream)))
        await asyncio.sleep(0.1)
        assert (await client.get(f"{url.removesuffix('/v1')}/health")).status_code == 200
        assert not asked.done()
        assert (await asked).status_code == 504


@pytest.mark.server
async def test_an_input_that_is_too_long_is_refused() -> None:
    async with serving(endpoint(Slow(0.0), 5000)) as url, httpx.AsyncClient() as client:
        reply = await client.post(f"{url}/chat/completions", json=body("é" * 5001))
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "string_above_max_length")
        reply = await client.post(f"{url}/chat/completions", json=body("é" * 5000))
        assert reply.json()["choices"][0]["message"]["content"] == "ééé"


async def test_a_short_input_of_a_quick_program_takes_no_thread() -> None:
    quick, pace = Slow(0.0), Pace()
    await pace.answer(program(quick), {"text": "abc"})
    assert quick.threads == {"MainThread"}
    await pace.answer(program(quick), {"text": "a" * (SHORT + 1)})
    assert len(quick.threads) == 2
    slow, pace = Slow(0.02), Pace()
    for _ in range(3):
        await pace.answer(program(slow), {"text": "abc"})
    assert slow.threads == {"MainThread", "rung-compute"}
    assert pace.seconds > 0.005


async def test_what_a_thread_raises_comes_out() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        await compute(fail)


class Deaf:
    """Computes until it is let go, in C, where no exception of Python's arrives."""

    def __init__(self) -> None:
        self.free = threading.Event()

    def __call__(self) -> None:
        while not self.free.is_set():
            try:
                self.free.wait(5)
            except BaseException:  # told to stop, and does not
                continue


async def test_a_thread_whose_caller_has_gone_stops() -> None:
    ended = threading.Event()

    def endless() -> None:
        try:
            while True:
                pass
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await compute(endless)
    assert await asyncio.to_thread(ended.wait, 5)
    assert await compute(lambda: 1) == 1


async def test_threads_that_do_not_stop_are_replaced_and_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.serving.endpoints.compute.PATIENCE", 0.05)
    deaf = Deaf()
    for _ in range(STUCK):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await compute(deaf)
        await asyncio.sleep(0.1)
    with pytest.raises(Refused) as caught:
        await compute(lambda: 1)
    assert caught.value.status == 503
    deaf.free.set()
    for _ in range(100):
        await asyncio.sleep(0.05)
        with contextlib.suppress(Refused):
            assert await compute(lambda: 1) == 1
            break
    else:
        pytest.fail("its threads were not given back")
