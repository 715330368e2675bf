"""How hosted providers fail: every fault a real server can show, over real sockets, in the one shape of core.errors."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable

import pytest

from rung.core.errors import (
    AuthError,
    ContextOverflow,
    InputError,
    ModelError,
    ModelTimeout,
    RateLimited,
    RungError,
    ServerError,
    Unsupported,
)
from rung.core.parts.meter import metered
from rung.core.settings import Settings
from rung.core.types import Message, Request, ResponseFormat, Sampling, ToolCall
from rung.models import open_model
from rung.models.providers.hosted import add_call
from rung.models.wrap import MeteredModel, Policy, wrap
from tests.models.servers import COUNTS, ODD, Server

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GOOGLE_API_KEY"}
CANARY = "sk-canary-Zq93hfKw72mXpL0c"
# No less: a first call imports half of a vendor's SDK, which takes a busy machine a second, and what is late is asked again.
QUICK = Policy(timeout=10, retries=3, deadline=30, base=0.01, cap=0.05)
IMPATIENT = Policy(timeout=0.4, retries=1, deadline=60, base=0.01, cap=0.01)

Open = Callable[..., MeteredModel]


@pytest.fixture(params=list(KEYS))
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(KEYS[request.param], CANARY)
    return str(request.param)


@pytest.fixture
def open_it(provider: str, server: Server) -> Open:
    def opened(scenario: str, policy: Policy = QUICK, url: str = "") -> MeteredModel:
        where = url or server.url
        settings = Settings({"keys": {server.url: KEYS[provider]}})
        wrapped = open_model(f"{provider}:{scenario}@{where}{'/v1' if provider == 'openai' else ''}", settings)
        return wrap(wrapped.inner, Settings(), policy=policy)

    return opened


def ask(text: str = "Hello?") -> Request:
    return Request((Message("system", "Be kind."), Message("user", text)), Sampling(max_tokens=50))


async def drain(model: MeteredModel, given: list[str] | None = None) -> None:
    async for chunk in model.stream(ask()):
        assert chunk.reply is None or given is None
        if given is not None:
            given.append(chunk.text)


async def fails(model: MeteredModel, kind: type[ModelError], *, stream: bool = False) -> ModelError:
    with pytest.raises(kind) as caught:
        await (drain(model) if stream else model.generate([ask()]))
    assert type(caught.value) is kind
    assert caught.value.remedy
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None  # the vendor's own exception holds the request and so its headers
    await model.close()
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scenario", "kind", "status"),
    [
        ("denied", AuthError, 401),
        ("forbidden", AuthError, 403),
        ("long", ContextOverflow, 400),
        ("missing", ModelError, 404),
    ],
)
async def test_a_final_error_is_not_tried_again(
    open_it: Open, server: Server, scenario: str, kind: type[ModelError], status: int, stream: bool
) -> None:
    error = await fails(open_it(scenario), kind, stream=stream)
    assert error.status == status
    assert len(server.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_429_waits_as_long_as_it_was_told(open_it: Open, server: Server, stream: bool) -> None:
    model = open_it("limited")
    if stream:
        text = "".join([chunk.text async for chunk in model.stream(ask())])
    else:
        text = (await model.generate([ask()]))[0].text
    assert text == "Hello brave world"
    assert len(server.seen) == 2
    assert server.seen[1].at - server.seen[0].at >= 0.4
    await model.close()


async def test_a_429_that_asks_for_more_than_the_deadline_is_given_up_at_once(open_it: Open, server: Server) -> None:
    started = time.monotonic()
    error = await fails(open_it("always-limited"), RateLimited)
    assert time.monotonic() - started < 30
    assert isinstance(error, RateLimited)
    assert error.retry_after == 60
    assert len(server.seen) == 1


async def test_a_500_is_tried_again_until_it_works(open_it: Open, server: Server) -> None:
    model = open_it("flaky")
    assert (await model.generate([ask()]))[0].text == "Hello brave world"
    assert len(server.seen) == 3
    await model.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_lasting_500_is_given_up_after_the_retries_and_only_ours(
    open_it: Open, server: Server, stream: bool
) -> None:
    error = await fails(open_it("down"), ServerError, stream=stream)
    assert error.status == 500
    assert len(server.seen) == 1 + QUICK.retries  # the SDKs' own retries would multiply this


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_ends_at_the_deadline(open_it: Open, server: Server, stream: bool) -> None:
    started = time.monotonic()
    await fails(open_it("slow", IMPATIENT), ModelTimeout, stream=stream)
    assert time.monotonic() - started > 0.7  # two tries
    assert len(server.seen) <= 2  # a try that a busy machine begins late ends before it is seen


async def test_nobody_listening(open_it: Open) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        error = await fails(open_it("ok", url=f"http://127.0.0.1:{reserved.getsockname()[1]}"), ServerError)
    assert "no connection" in error.message


@pytest.mark.parametrize("scenario", ["garbled", *(f"odd-{name}" for name in ODD)])
async def test_an_answer_that_is_not_one(open_it: Open, scenario: str) -> None:
    await fails(open_it(scenario), ServerError)


@pytest.mark.parametrize("scenario", ["cut", "vanish", "spoiled"])
async def test_a_stream_that_breaks_off_is_an_error_and_metered(open_it: Open, scenario: str, server: Server) -> None:
    model = open_it(scenario)
    pieces: list[str] = []
    with metered() as meter, pytest.raises((ServerError, RateLimited)):
        await drain(model, pieces)
    given = "".join(pieces)
    assert given.startswith("Hel")
    assert "Hello brave world".startswith(given)
    assert meter.total.calls == 1
    assert meter.total.completion_tokens > 0
    assert len(server.seen) == 1  # what was given out cannot be taken back: no second try
    await model.close()


async def test_a_stream_that_stalls_ends_at_the_limit(open_it: Open) -> None:
    model = open_it("stalling", IMPATIENT)
    with pytest.raises(ModelTimeout):
        await drain(model)
    await model.close()


async def test_one_bad_request_is_a_reply_among_good_ones(open_it: Open) -> None:
    model = open_it("picky")
    replies = await model.generate([ask("fine"), ask("bad item"), ask("fine again")])
    assert [reply.finish for reply in replies] == ["stop", "error", "stop"]
    assert "cannot read that" in replies[1].text
    await model.close()


async def test_a_wrong_key_stops_a_large_batch(open_it: Open, server: Server) -> None:
    model = open_it("denied", Policy(concurrency=2, retries=3, base=0.01))
    with pytest.raises(AuthError):
        await model.generate([ask(f"number {n}") for n in range(50)])
    assert len(server.seen) <= 3
    await model.close()


async def test_a_refusal_is_filtered_not_stopped(open_it: Open) -> None:
    model = open_it("filtered")
    assert (await model.generate([ask()]))[0].finish == "filtered"
    assert [chunk async for chunk in model.stream(ask())][-1].reply.finish == "filtered"  # type: ignore[union-attr]
    await model.close()


async def test_usage_counts_cached_tokens_inside_the_prompt(open_it: Open) -> None:
    model = open_it("ok")
    [reply] = await model.generate([ask()])
    assert (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens) == (11, 5, 3)
    assert reply.usage.money == 0
    assert not model.priced
    await model.close()


async def test_what_is_sent(open_it: Open, server: Server, provider: str) -> None:
    model = open_it("ok")
    messages = (
        Message("system", "Be kind."),
        Message("user", "Weather?"),
        Message("assistant", "", (ToolCall("call_1#c2lnbmVk", "weather", {"city": "Paris"}),)),
        Message("tool", "sunny", tool_call_id="call_1#c2lnbmVk"),
        Message("user", "Thanks"),
    )
    form = ResponseFormat("labels", labels=("good", "bad"))
    sampling = Sampling(temperature=0.5, max_tokens=9, stop=("END",), seed=3)
    [reply] = await model.generate([Request(messages, sampling, form)])
    assert reply.text == "bad"
    body = server.seen[0].body
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": ["good", "bad"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    if provider == "openai":
        assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
        assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
        assert (body["max_tokens"], body["temperature"], body["seed"], body["stop"]) == (9, 0.5, 3, ["END"])
        assert body["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": True}
        assert server.seen[0].headers["authorization"] == f"Bearer {CANARY}"
    elif provider == "anthropic":
        assert body["system"] == "Be kind."
        assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
        assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "text"]
        assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
        assert (body["max_tokens"], body["stop_sequences"], "temperature" in body) == (9, ["END"], False)
        sent = server.seen[0].headers  # the SDK moved from one header to the other
        assert CANARY in (sent.get("x-api-key"), sent.get("authorization", "").removeprefix("Bearer "))
    else:
        assert body["systemInstruction"]["parts"][0]["text"] == "Be kind."
        assert [c["role"] for c in body["contents"]] == ["user", "model", "user"]
        call = body["contents"][1]["parts"][0]
        assert call["functionCall"] == {"name": "weather", "args": {"city": "Paris"}}
        assert call["thoughtSignature"] == "c2lnbmVk"
        assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == "weather"
        config = body["generationConfig"]
        assert (config["maxOutputTokens"], config["temperature"], config["seed"]) == (9, 0.5, 3)
        assert config["responseJsonSchema"] == schema
        assert server.seen[0].headers["x-goog-api-key"] == CANARY
    await model.close()


@pytest.mark.parametrize("scenario", ["denied", "down", "garbled", "ok", "spoiled"])
async def test_the_key_is_nowhere_to_be_seen(
    open_it: Open, scenario: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    model = open_it(scenario)
    said = repr(model) + repr(model.inner) + model.name + model.fingerprint + str(vars(model.inner).keys())
    for stream in (False, True):
        try:
            if stream:
                said += str([chunk async for chunk in model.stream(ask())])
            else:
                said += str(await model.generate([ask()]))
        except RungError as error:
            said += "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    await model.close()
    out, err = capfd.readouterr()
    assert CANARY not in said + out + err + caplog.text


def test_no_key_says_which_variable(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.delenv(KEYS[provider])
    with pytest.raises(AuthError, match=KEYS[provider]):
        asyncio.run(open_model(f"{provider}:some-model").generate([ask()]))


def test_an_address_with_a_password_is_refused(provider: str) -> None:
    for address in ("http://me:secret@127.0.0.1:1/v1", "http://"):
        with pytest.raises(InputError) as caught:
            open_model(f"{provider}:m@{address}")
        assert caught.value.code == "address"


async def test_what_an_api_lacks_is_refused_before_anything_is_sent(open_it: Open, server: Server) -> None:
    model = open_it("ok")
    with pytest.raises(Unsupported, match="beam"):
        await model.generate([Request((Message("user", "x"),), Sampling(beams=2))])
    with pytest.raises(Unsupported, match="regex"):
        await model.generate([Request((Message("user", "x"),), form=ResponseFormat("regex", pattern="a+"))])
    assert not server.seen
    await model.close()


async def test_a_server_that_does_not_stream_is_understood(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    model = open_model(f"openai:unstreamed@{server.url}/v1", Settings({"keys": {server.url: "OPENAI_API_KEY"}}))
    chunks = [chunk async for chunk in model.stream(ask())]
    assert [chunk.text for chunk in chunks] == ["Hello brave world"]
    reply = chunks[-1].reply
    assert reply is not None
    assert (reply.text, reply.finish, reply.usage.prompt_tokens, reply.usage.cached_tokens) == (
        "Hello brave world",
        "stop",
        11,
        5,
    )
    with pytest.raises(ServerError, match="out of credit"):
        await drain(open_model(f"openai:odd-error@{server.url}/v1", Settings()))
    for name in ("garbled", "odd-list", "odd-none"):
        with pytest.raises(ServerError, match="cannot be read"):
            await drain(open_model(f"openai:{name}@{server.url}/v1", Settings()))
    await model.close()


@pytest.mark.parametrize("name", COUNTS)
async def test_tokens_that_cannot_be_are_estimated(server: Server, name: str) -> None:
    model = open_model(f"openai:counts-{name}@{server.url}/v1", Settings())
    (reply,) = await model.generate([ask()])
    assert reply.usage.prompt_tokens == model.count(ask().messages) > 0
    assert reply.usage.completion_tokens == model.count((Message("assistant", "Hello brave world"),)) > 0
    assert reply.usage.cached_tokens == 0
    await model.close()


def test_calls_of_servers_that_count_badly() -> None:
    calls: dict[int, list[str]] = {}
    for piece in ((0, "a", "f", '{"x":'), (0, None, None, "1}"), (0, "b", "g", {"y": 2}), (None, "c", "h", "")):
        add_call(calls, *piece)
    assert list(calls.values()) == [["a", "f", '{"x":1}'], ["b", "g", '{"y": 2}'], ["c", "h", ""]]
