"""What every provider must do, run over all of them: the hosted ones against a local server that speaks their format."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rung.core.errors import BudgetExceeded, ContextOverflow, InputError, Unsupported
from rung.core.parts.meter import metered
from rung.core.protocols import Model
from rung.core.types import (
    Budget,
    Message,
    Request,
    ResponseFormat,
    Sampling,
    ScoreRequest,
    ToolSpec,
)
from rung.models import open_model
from rung.models.wrap import MeteredModel
from tests.models.servers import Server

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GOOGLE_API_KEY"}
WEATHER = ToolSpec(
    "weather",
    "The weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Provider:
    name: str
    open: Callable[[], MeteredModel]


@pytest.fixture(
    params=["fake", "transformers", "openai", "anthropic", "google", pytest.param("openvino", marks=pytest.mark.model)]
)
def provider(
    request: pytest.FixtureRequest, server: Server, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> Provider:
    name = request.param
    if name in KEYS:
        monkeypatch.setenv(KEYS[name], "sk-test-0123456789")
        return Provider(name, lambda: open_model(f"{name}:ok@{server.url}{'/v1' if name == 'openai' else ''}"))
    rest = {"fake": "echo", "transformers": str(tiny_llama), "openvino": "smollm2-135m"}[name]
    return Provider(name, lambda: open_model(f"{name}:{rest}"))


@pytest.fixture
async def model(provider: Provider, request: pytest.FixtureRequest) -> AsyncIterator[MeteredModel]:
    if provider.name == "openvino":
        yield request.getfixturevalue("embedded")
        return
    opened = provider.open()
    yield opened
    await opened.close()


def ask(text: str = "Say hello to the brave world", **changes: object) -> Request:
    return replace(Request((Message("user", text),), Sampling(max_tokens=12)), **changes)  # type: ignore[arg-type]


async def test_it_is_a_model_with_a_stable_identity(model: MeteredModel, provider: Provider) -> None:
    assert isinstance(model.inner, Model)
    assert isinstance(model, Model)
    assert model.name.startswith(provider.name + ":")
    assert model.fingerprint == provider.open().fingerprint
    assert len(model.fingerprint) >= 16
    assert "sk-test" not in repr(model) + repr(model.inner) + model.fingerprint + model.name


@pytest.mark.slow
async def test_generate_answers_each_request_in_order(model: MeteredModel) -> None:
    requests = [ask(f"Say the number {n}", sampling=Sampling(max_tokens=4 + n)) for n in range(3)]
    replies = await model.generate(requests)
    alone = [(await model.generate([request]))[0] for request in requests]
    assert len(replies) == 3
    assert [r.text for r in replies] == [r.text for r in alone]
    for reply in replies:
        assert reply.finish in ("stop", "length")
        assert reply.usage.calls == 1
        assert reply.usage.prompt_tokens > 0
        assert reply.usage.completion_tokens > 0
        assert reply.usage.seconds >= 0
        assert reply.model == model.name
    assert await model.generate([]) == []


async def test_stream_gives_the_same_as_generate(model: MeteredModel) -> None:
    whole = (await model.generate([ask()]))[0]
    chunks = [chunk async for chunk in model.stream(ask())]
    last = chunks[-1].reply
    assert last is not None
    assert all(chunk.reply is None for chunk in chunks[:-1])
    assert "".join(chunk.text for chunk in chunks) == last.text == whole.text
    assert last.finish == whole.finish
    assert (last.usage.calls, last.usage.prompt_tokens) == (1, whole.usage.prompt_tokens)
    assert last.usage.completion_tokens == whole.usage.completion_tokens


async def test_length_ends_the_reply(model: MeteredModel) -> None:
    reply = (await model.generate([ask(sampling=Sampling(max_tokens=1))]))[0]
    assert reply.finish == "length"
    assert reply.usage.completion_tokens <= 1


async def test_a_stop_text_is_cut_off(model: MeteredModel) -> None:
    text = (await model.generate([ask()]))[0].text
    stop = text[len(text) // 2 :][:3]
    request = ask(sampling=Sampling(max_tokens=12, stop=(stop,)))
    cut = (await model.generate([request]))[0]
    assert cut.text == text[: text.find(stop)]
    assert cut.finish == "stop"
    assert "".join([chunk.text async for chunk in model.stream(request)]) == cut.text


@pytest.mark.slow
async def test_closed_forms_are_kept_or_refused(model: MeteredModel) -> None:
    forms = {
        "labels": ResponseFormat("labels", labels=("apples", "pears")),
        "json": ResponseFormat("json", schema=CITY),
        "number": ResponseFormat("number"),
        "regex": ResponseFormat("regex", pattern="[ab]{3}"),
        "grammar": ResponseFormat("grammar", pattern='root ::= "yes" | "no"'),
    }
    for kind, form in forms.items():
        request = ask("Which fruit does Ann like, and where?", form=form, sampling=Sampling(max_tokens=40))
        if kind not in model.capabilities.forms:
            with pytest.raises(Unsupported):
                await model.generate([request])
            continue
        reply = (await model.generate([request]))[0]
        streamed = [chunk async for chunk in model.stream(request)]
        assert "".join(chunk.text for chunk in streamed) == reply.text
        if kind == "labels":
            assert reply.text in form.labels
        elif kind == "json" and reply.finish == "stop":
            assert set(json.loads(reply.text)) == {"city"}
        elif kind == "number" and reply.finish == "stop":
            assert math.isfinite(float(reply.text))


async def test_scores_are_a_distribution_or_refused(model: MeteredModel) -> None:
    requests = [
        ScoreRequest((Message("user", "Is the sky blue?"),), ("yes", "no", "perhaps")),
        ScoreRequest((Message("user", "Pick one: red or green"),), ("red", "green")),
    ]
    if not model.capabilities.score:
        with pytest.raises(Unsupported, match="use a local model"):
            await model.score(requests)
        return
    scores = await model.score(requests)
    assert [len(item.logprobs) for item in scores] == [3, 2]
    for item in scores:
        known = [value for value in item.logprobs if value > -math.inf]
        assert math.fsum(math.exp(value) for value in known) <= 1 + 1e-6
        assert item.best == max(range(len(item.logprobs)), key=item.logprobs.__getitem__)
        assert item.usage.prompt_tokens > 0
    turned = await model.score([replace(requests[0], candidates=("perhaps", "no", "yes"))])
    assert requests[0].candidates[scores[0].best] == ("perhaps", "no", "yes")[turned[0].best]


async def test_logprobs_are_one_a_token_or_refused(model: MeteredModel) -> None:
    request = ask(sampling=Sampling(max_tokens=6, logprobs=True))
    if not model.capabilities.logprobs:
        with pytest.raises(Unsupported):
            await model.generate([request])
        return
    reply = (await model.generate([request]))[0]
    assert reply.logprobs is not None
    assert len(reply.logprobs) == reply.usage.completion_tokens
    assert all(value <= 0 for value in reply.logprobs)
    assert (await model.generate([ask()]))[0].logprobs is None


async def test_beams_work_or_are_refused(model: MeteredModel, provider: Provider) -> None:
    request = ask(sampling=Sampling(max_tokens=4, beams=3))
    if provider.name == "fake":
        pytest.skip("the fake model's answer is its only one: a beam changes nothing")
    if not model.capabilities.beams:
        with pytest.raises(Unsupported):
            await model.generate([request])
        return
    assert (await model.generate([request]))[0].finish in ("stop", "length")


async def test_a_tool_is_called_and_its_result_is_read(model: MeteredModel, provider: Provider) -> None:
    request = Request((Message("user", "What is the weather in Paris?"),), Sampling(max_tokens=60), tools=(WEATHER,))
    if not model.capabilities.tools:
        with pytest.raises(Unsupported):
            await model.generate([request])
        return
    reply = (await model.generate([request]))[0]
    if provider.name == "openvino" and reply.finish != "tool_calls":
        pytest.skip(f"the small model chose not to call: {reply.text!r}")
    assert reply.finish == "tool_calls"
    call = reply.tool_calls[0]
    assert call.name == "weather"
    assert set(call.arguments) == {"city"}
    streamed = [chunk async for chunk in model.stream(request)][-1].reply
    assert streamed is not None
    assert [(c.name, c.arguments) for c in streamed.tool_calls] == [(call.name, call.arguments)]
    after = (
        *request.messages,
        Message("assistant", reply.text, reply.tool_calls),
        Message("tool", "21 degrees, sunny", tool_call_id=call.id),
    )
    final = (await model.generate([replace(request, messages=after)]))[0]
    assert final.text or final.tool_calls


async def test_seeds_repeat(model: MeteredModel) -> None:
    if not model.capabilities.local:
        pytest.skip("a hosted seed is a wish")
    request = ask(sampling=Sampling(temperature=1.0, max_tokens=8, seed=11))
    other = replace(request, messages=(Message("user", "Something else entirely"),))
    first = (await model.generate([request]))[0].text
    assert (await model.generate([other, request]))[1].text == first


async def test_all_that_is_used_is_metered(model: MeteredModel) -> None:
    with metered() as meter:
        replies = await model.generate([ask("one"), ask("two")])
        [last] = [chunk.reply async for chunk in model.stream(ask("three")) if chunk.reply is not None]
        total = replies[0].usage + replies[1].usage + last.usage
        if model.capabilities.score:
            total += (await model.score([ScoreRequest((Message("user", "x"),), ("a", "b"))]))[0].usage
    assert meter.total == total
    assert meter.total.calls == 3 + model.capabilities.score


async def test_a_spent_budget_refuses_the_next_call(model: MeteredModel) -> None:
    with metered(Budget(tokens=1)):
        await model.generate([ask()])
        with pytest.raises(BudgetExceeded):
            await model.generate([ask()])
        with pytest.raises(BudgetExceeded):
            await anext(aiter(model.stream(ask())))


@pytest.mark.slow
async def test_concurrent_callers_get_their_own_answers(model: MeteredModel) -> None:
    texts = [f"Caller {n} says {n * 7}" for n in range(6)]
    alone = [(await model.generate([ask(text)]))[0].text for text in texts]
    together = await asyncio.gather(*(model.generate([ask(text)]) for text in texts))
    assert [replies[0].text for replies in together] == alone


async def test_leaving_a_stream_early_is_metered_and_leaves_the_model_usable(model: MeteredModel) -> None:
    with metered() as meter:
        async with aclosing(model.stream(ask(sampling=Sampling(max_tokens=30)))) as pieces:
            async for chunk in pieces:
                if chunk.text:
                    break
    assert meter.total.calls == 1
    assert meter.total.prompt_tokens > 0
    assert meter.total.completion_tokens > 0
    assert (await model.generate([ask()]))[0].text


async def test_messages_are_counted(model: MeteredModel) -> None:
    short, long = (Message("user", "hi"),), (Message("user", "hi " * 50),)
    assert 0 < model.count(short) < model.count(long)


async def test_a_prompt_beyond_the_window_says_so(model: MeteredModel) -> None:
    if not model.capabilities.local:
        pytest.skip("the hosted ones: see test_hosted")
    huge = ask("word " * (model.capabilities.context + 10))
    with pytest.raises(ContextOverflow, match="context"):
        await model.generate([huge])
    replies = await model.generate([ask(), huge])
    assert [reply.finish == "error" for reply in replies] == [False, True]
    assert "context" in replies[1].text


def test_one_model_serves_many_event_loops(provider: Provider) -> None:
    model = provider.open()
    texts = [asyncio.run(model.generate([ask()]))[0].text for _ in range(2)]
    assert texts[0] == texts[1]
    asyncio.run(model.close())


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=0), Sampling(temperature=-1.0), Sampling(top_p=0.0)])
async def test_senseless_sampling_is_refused(model: MeteredModel, sampling: Sampling) -> None:
    with pytest.raises(InputError):
        await model.generate([ask(sampling=sampling)])
