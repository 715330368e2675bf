"""Chains over a real server that fails in every way, asked by the official client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.prompts.program import PromptProgram
from rung.prompts.template.prompt import Prompt
from tests.serving.gateway.opened import gateway
from tests.serving.loopback import program
from tests.serving.upstream import upstream

pytestmark = pytest.mark.server

HI: list[Any] = [{"role": "user", "content": "hello there world"}]


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


def config(url: str, *first: str, rest: str = "", route: str = "") -> str:
    endpoints = "".join(f"  {name}: {{url: {url!r}, name: {name}}}\n" for name in dict.fromkeys([*first, "ok"]))
    links = ", ".join(first)
    return f"endpoints:\n{endpoints}{rest}routes:\n  desk:\n    try: [{links}, ok]\n    retries: 0\n    timeouts: {{first: 0.2, between: 0.2, whole: 0.2}}\n{route}"


@pytest.mark.parametrize("fault", ["down", "busy", "stall", "garbage", "error200", "html", "denied", "drop", "cut"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_link_gives_way_to_the_next(tmp_path: Path, fault: str, stream: bool) -> None:
    if fault == "cut" and stream:
        return  # something was given out already: see below
    async with upstream() as server, gateway(tmp_path, config(server.url, fault)) as (url, _):
        body = {"model": "desk", "messages": HI, "stream": stream}
        async with httpx.AsyncClient() as http:
            reply = await http.post(f"{url}/chat/completions", json=body)
    assert reply.status_code == 200
    assert "said:" in reply.text
    if fault == "cut":
        assert reply.headers["x-rung-served-by"] == "cut"
        return
    assert reply.headers["x-rung-served-by"] == "ok"
    assert reply.headers["x-rung-degraded"].startswith(f"{fault}: ")
    assert "secret" not in str(reply.headers)


async def test_a_stream_that_is_cut_ends_with_an_error_and_no_second_answer(tmp_path: Path) -> None:
    async with upstream() as server, gateway(tmp_path, config(server.url, "cut")) as (url, _), client(url) as api:
        stream = await api.chat.completions.create(model="desk", messages=HI, stream=True)
        said: list[str] = []

        async def read() -> None:
            async for chunk in stream:
                said.extend(choice.delta.content or "" for choice in chunk.choices)

        with pytest.raises(openai.APIError) as caught:
            await read()
    assert "".join(said) == "said: hello"
    assert caught.value.code == "stream_cut"


async def test_a_stream_that_stalls_midway_ends_with_an_error(tmp_path: Path) -> None:
    async with upstream() as server, gateway(tmp_path, config(server.url, "halt")) as (url, _), client(url) as api:
        stream = await api.chat.completions.create(model="desk", messages=HI, stream=True)
        with pytest.raises(openai.APIError) as caught:
            [chunk async for chunk in stream]
    assert caught.value.code == "model_timeout"


async def test_the_callers_own_mistake_is_told_at_once(tmp_path: Path) -> None:
    async with upstream() as server, gateway(tmp_path, config(server.url, "refuse")) as (url, _), client(url) as api:
        with pytest.raises(openai.BadRequestError, match="no such thing"):
            await api.chat.completions.create(model="desk", messages=HI)
    assert [one["model"] for one in server.asked] == ["refuse"]


async def test_a_prompt_that_is_too_long_goes_to_a_larger_context_only(tmp_path: Path) -> None:
    text = """endpoints:
  a: {url: URL, name: ok-a, context: 20}
  b: {url: URL, name: ok-b, context: 10}
  c: {url: URL, name: ok-c, context: 5000}
routes:
  desk: {try: [a, b, c], retries: 0}
  short: {try: [a, b]}
"""
    long: list[Any] = [{"role": "user", "content": "word " * 100}]
    async with upstream() as server, gateway(tmp_path, text.replace("URL", server.url)) as (url, _), client(url) as api:
        reply = await api.chat.completions.with_raw_response.create(model="desk", messages=long)
        assert reply.headers["x-rung-served-by"] == "c"
        assert reply.headers["x-rung-degraded"] == "a: context_length_exceeded"
        with pytest.raises(openai.BadRequestError) as caught:
            await api.chat.completions.create(model="short", messages=long)
    assert caught.value.code == "context_length_exceeded"
    assert [one["model"] for one in server.asked] == ["ok-c"]  # the small ones were never sent it


async def test_an_open_circuit_is_not_asked_until_it_is_tried_again(tmp_path: Path) -> None:
    route = "    breaker: {failures: 2, seconds: 60}\n"
    async with (
        upstream() as server,
        gateway(tmp_path, config(server.url, "down", route=route)) as (url, opened),
        client(url) as api,
    ):
        for _ in range(5):
            await api.chat.completions.create(model="desk", messages=HI)
        assert [one["model"] for one in server.asked].count("down") == 2
        member = opened.chains["desk"].members[0]
        assert member.open
        member.opens_at = member.clock()  # the minute is over
        await api.chat.completions.create(model="desk", messages=HI)
        await api.chat.completions.create(model="desk", messages=HI)
        assert [one["model"] for one in server.asked].count("down") == 3
    assert member.open
    assert member.in_flight == 0


async def test_the_last_links_are_a_kept_answer_and_a_text(tmp_path: Path) -> None:
    text = """endpoints:
  a: {url: URL, name: NAME}
routes:
  desk: {try: [a, cached, refusal], cache: 1h, retries: 0, refusal: Not now.}
"""
    async with upstream() as server:
        good = text.replace("URL", server.url)
        async with gateway(tmp_path, good.replace("NAME", "ok")) as (url, opened), client(url) as api:
            asked: Any = {"model": "desk", "messages": HI, "temperature": 0}
            first = await api.chat.completions.create(**asked)
            opened.chains["desk"].members[0].failures = 99
            opened.chains["desk"].members[0].opens_at = 1e12
            object.__setattr__(opened.chains["desk"], "age", 1e-9)
            kept = await api.chat.completions.with_raw_response.create(**asked)
            other = await api.chat.completions.with_raw_response.create(
                **{**asked, "messages": [{**HI[0], "content": "else"}]}
            )
    assert kept.headers["x-rung-served-by"] == "cached"
    assert kept.headers["x-rung-degraded"]
    assert kept.parse().choices[0].message.content == first.choices[0].message.content
    assert other.parse().choices[0].message.content == "Not now."
    assert other.headers["x-rung-served-by"] == "refusal"


async def test_who_leaves_a_stream_frees_the_upstream(tmp_path: Path) -> None:
    async with (
        upstream() as server,
        gateway(
            tmp_path,
            config(server.url, "halt", route="    breaker: {failures: 9}\n").replace("between: 0.2", "between: 30"),
        ) as (url, opened),
        client(url) as api,
    ):
        stream = await api.chat.completions.create(model="desk", messages=HI, stream=True)
        await anext(stream)
        await stream.close()
        await asyncio.wait_for(server.left.wait(), 5)
        member = opened.chains["desk"].members[0]
        for _ in range(100):
            if not member.in_flight:
                break
            await asyncio.sleep(0.01)
        assert (member.in_flight, member.failures) == (0, 0)


async def test_tools_and_usage_pass_through(tmp_path: Path) -> None:
    async with upstream() as server, gateway(tmp_path, config(server.url, "tools")) as (url, _), client(url) as api:
        asked: Any = {"model": "desk", "messages": HI, "tools": [{"type": "function", "function": {"name": "look"}}]}
        whole = await api.chat.completions.create(**asked)
        chunks = [
            c
            async for c in await api.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        ]
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.tool_calls is not None
    call: Any = whole.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("look", '{"at": 1}')
    assert whole.usage is not None
    assert whole.usage.total_tokens == 10
    parts: Any = [d.function for c in chunks for ch in c.choices for d in ch.delta.tool_calls or ()]
    assert "".join(part.arguments for part in parts) == '{"at": 1}'
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10


async def test_a_file_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    async with upstream() as server, gateway(tmp_path, config(server.url, "slow")) as (_, opened):
        before, member = opened.chains, opened.chains["desk"].members[0]
        opened.file.write_text("endpoints: {a: {model: fake:echo}}\nroutes: {desk: {try: [b]}}\n")
        with pytest.raises(InputError) as caught:
            opened.read()
        assert caught.value.line == 2
        assert opened.chains is before
        opened.file.write_text(config(server.url, "slow", route="    balance: round-robin\n"))
        opened.read()
        assert opened.chains["desk"].members[0] is member  # and all that is known of it


async def test_a_program_that_was_made_anew_is_taken_up_and_one_that_is_not_admitted_is_not(tmp_path: Path) -> None:
    for number, instruction in (("1", "Answer."), ("2", "Answer well.")):
        made = program()
        programs.save(PromptProgram(Prompt(instruction), made.model, made.options), tmp_path / number)
    (tmp_path / "current").symlink_to("1", target_is_directory=True)
    text = "endpoints: {inbox: {program: current}}\nroutes: {desk: {try: inbox}}\n"
    async with gateway(tmp_path, text) as (_, opened):
        first = opened.chains["desk"].fingerprint
        assert opened.read()["desk"].fingerprint == first
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("2", target_is_directory=True)
        asked: list[Path] = []

        def admit(folders: Sequence[Path]) -> None:
            asked.extend(folders)
            raise InputError("no", code="unapproved")

        opened.admit = admit
        with pytest.raises(InputError):
            opened.read()
        assert asked == [tmp_path / "current"]
        assert opened.chains["desk"].fingerprint == first
        opened.admit = lambda folders: None
        assert opened.read()["desk"].fingerprint != first
