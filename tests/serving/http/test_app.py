from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from rung.core.errors import AuthError, InputError, ModelError, RateLimited, ServerError, Unsupported
from rung.core.types import Answer, Failure, Reply, Request, ResponseFormat
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.models.wrap import MeteredModel, wrap
from rung.serving.access.keys import Keys, hash_key
from rung.serving.endpoints.model import ModelEndpoint
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from tests.serving.loopback import LABELS, SCHEMA, Halting, bare, endpoint, program, serving

pytestmark = pytest.mark.server

HI: list[Any] = [{"role": "user", "content": "hello there world"}]


def client(url: str, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)


def post(url: str, body: Any, **headers: str) -> Any:
    return httpx.AsyncClient(timeout=10).post(f"{url}/chat/completions", json=body, headers=headers)


# ---------------------------------------------------------------- the official client


async def test_openai_client_lists_and_asks() -> None:
    async with serving(endpoint(program())) as url, client(url) as api:
        assert [model.id async for model in await api.models.list()] == ["rung/echo"]
        assert (await api.models.retrieve("rung/echo")).id == "rung/echo"
        said = await api.chat.completions.create(model="rung/echo", messages=HI)
    assert said.choices[0].message.content == "hello there world"
    assert said.choices[0].finish_reason == "stop"
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (6, 3, 9)
    assert not hasattr(said, "rung")


async def test_free_text_streams_as_it_comes_and_ends_with_usage() -> None:
    async with serving(endpoint(program())) as url, client(url) as api:
        chunks = [
            chunk
            async for chunk in await api.chat.completions.create(
                model="rung/echo", messages=HI, stream=True, stream_options={"include_usage": True}
            )
        ]
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert texts == ["", "hello", " there", " world", None]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_stream_is_sent_while_the_model_still_writes() -> None:
    model = Halting(before=("first",))
    async with serving(endpoint(program(wrap(model, Pool().settings)))) as url, client(url) as api:
        stream = await api.chat.completions.create(model="rung/echo", messages=HI, stream=True)
        got = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
        assert got == ["", "first"]  # and the model has not ended: it never will
        await stream.close()
        await asyncio.wait_for(model.freed.wait(), 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_closed_forms_answer_with_the_parsed_output(stream: bool) -> None:
    intent = endpoint(program(form=ResponseFormat("labels", labels=LABELS)), "intent")
    extract = endpoint(program(form=ResponseFormat("json", schema=SCHEMA)), "extract")
    async with serving(intent, extract) as url:
        for name, asked, expected in (
            ("intent", "my card", "card"),
            ("extract", "5 pears", {"n": 5, "who": "5 pears"}),
        ):
            body = {"model": f"rung/{name}", "messages": [{"role": "user", "content": asked}], "stream": stream}
            reply = await post(url, body, **{"x-rung": "1"})
            assert reply.status_code == 200
            if stream:
                events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
                assert events.pop() == "[DONE]"
                chunks = [json.loads(event) for event in events]
                text = "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"])
                extension = chunks[-1]["rung"]
            else:
                text, extension = reply.json()["choices"][0]["message"]["content"], reply.json()["rung"]
            assert (text if isinstance(expected, str) else json.loads(text)) == expected
            assert extension["output"] == expected
            assert extension["steps"][0]["messages"][-1]["content"] == asked
            assert extension["usage"]["calls"] == 1


async def test_several_fields_come_as_json_content_or_as_input() -> None:
    two = endpoint(program(fields=("subject", "body")), "two")
    value = {"body": "b", "subject": "a", "other": "dropped"}
    async with serving(two) as url, client(url) as api:
        for messages, extra in (
            ([{"role": "user", "content": json.dumps(value)}], None),
            ([{"role": "user", "content": "not used"}], {"input": value}),
        ):
            messages_: Any = messages
            said = await api.chat.completions.create(model="rung/two", messages=messages_, extra_body=extra)
            # The task's order of fields, whatever order the caller wrote.
            assert said.choices[0].message.content == "subject: a\nbody: b"
        with pytest.raises(openai.BadRequestError, match="lacks body"):
            await api.chat.completions.create(model="rung/two", messages=HI, extra_body={"input": {"subject": "a"}})
        with pytest.raises(openai.BadRequestError, match="object with the fields subject, body"):
            await api.chat.completions.create(model="rung/two", messages=HI)


async def test_inner_calls_are_in_the_usage() -> None:
    class Twice:
        kind, model = "twice", None

        async def __call__(self, input: Any, *, repeat: int = 0) -> Answer:
            await inner(input)
            return await inner(input)

    inner = program()
    made: Any = endpoint(inner)
    object.__setattr__(made.opened, "program", Twice())
    async with serving(made) as url, client(url) as api:
        said = await api.chat.completions.create(model="rung/echo", messages=HI)
    assert said.usage is not None
    assert said.usage.total_tokens == 18


# ---------------------------------------------------------------- failures


def failing(failure: Failure) -> Any:
    class Failing:
        kind, model = "failing", None

        async def __call__(self, input: Any, *, repeat: int = 0) -> Answer:
            return Answer(None, raw="mumble", failure=failure)

    made: Any = endpoint(program())
    object.__setattr__(made.opened, "program", Failing())
    return made


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("where", "kind", "code"),
    [
        ("overflow", openai.BadRequestError, "context_length_exceeded"),
        ("parse", openai.UnprocessableEntityError, "answer_unparsable"),
        ("model", openai.InternalServerError, "model_failed"),
        ("budget", openai.RateLimitError, "budget_exceeded"),
        ("program", openai.InternalServerError, "program_failed"),
    ],
)
async def test_a_failed_answer_is_an_error_object(
    where: Any, kind: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    async with serving(failing(Failure(where, "what went wrong"))) as url, client(url) as api:
        with pytest.raises(kind, match="what went wrong") as caught:
            await api.chat.completions.create(model="rung/echo", messages=HI, stream=stream)
        assert caught.value.code == code
        told = await post(url, {"model": "rung/echo", "messages": HI, "rung": True, "stream": stream})
    assert told.json()["rung"]["raw"] == "mumble"
    assert told.json()["rung"]["failure"]["where"] == where


async def test_details_can_be_kept_back() -> None:
    async with serving(endpoint(program(), detail=False)) as url:
        said = await post(url, {"model": "rung/echo", "messages": HI, "rung": True})
    assert said.status_code == 200
    assert "rung" not in said.json()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_is_a_500_without_a_trace(stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        kind, model = "broken", None

        async def __call__(self, input: Any, *, repeat: int = 0) -> Answer:
            raise KeyError("inner secret")

    made: Any = endpoint(program())
    object.__setattr__(made.opened, "program", Broken())
    async with serving(made) as url:
        told = await post(url, {"model": "rung/echo", "messages": HI, "stream": stream})
    assert told.status_code == 500
    assert told.json()["error"]["code"] == "internal_error"
    assert "secret" not in told.text
    assert "Traceback" not in told.text
    assert told.headers["x-request-id"] in told.json()["error"]["message"]
    assert any(record.exc_info for record in caplog.records)  # whoever runs the server sees why


async def test_an_upstream_death_in_mid_stream_ends_with_an_error_event() -> None:
    for made in (
        endpoint(program(wrap(Halting(("some ", "text"), ServerError("upstream died")), Pool().settings))),
        bare(Halting(("some ", "text"), ServerError("upstream died"))),
    ):
        async with serving(made) as url, client(url) as api:
            stream = await api.chat.completions.create(model=made.id, messages=HI, stream=True)
            got = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
            assert "".join(str(text) for text in got) == "some text"
            with pytest.raises(openai.APIError, match="upstream died"):
                await anext(stream)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RateLimited("slow down", retry_after=7), 429, "rate_limited"),
        (AuthError("key sk-123 refused"), 502, "model_failed"),
        (ServerError("down"), 502, "model_failed"),
    ],
)
async def test_errors_of_a_bare_model(error: ModelError, status: int, code: str) -> None:
    made = bare(Fake(failures=[error]))
    async with serving(made) as url:
        told = await post(url, {"model": made.id, "messages": HI})
    assert (told.status_code, told.json()["error"]["code"]) == (status, code)
    assert "sk-123" not in told.text
    if status == 429:
        assert told.headers["retry-after"] == "7"


# ---------------------------------------------------------------- bare models


async def test_sampling_reaches_the_bare_model() -> None:
    model = Fake()
    async with serving(bare(model)) as url, client(url) as api:
        said = await api.chat.completions.create(
            model="fake:echo",
            messages=[{"role": "developer", "content": "be brief"}, *HI],
            temperature=0.3,
            top_p=0.9,
            max_completion_tokens=2,
            stop=["world"],
            seed=5,
            n=2,
            logprobs=True,
            extra_body={"top_k": 7, "no_such_field": 1},
        )
        await api.chat.completions.create(model="fake:echo", messages=HI)
    assert [choice.message.content for choice in said.choices] == ["hello there "] * 2
    assert said.choices[0].logprobs is not None
    assert "".join(one.token for one in said.choices[0].logprobs.content or []) == said.choices[0].message.content
    first, second, plain = [call for call in model.calls if isinstance(call, Request)]
    sampling = first.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.3, 0.9, 7)
    assert (sampling.max_tokens, sampling.stop, sampling.seed, sampling.logprobs) == (2, ("world",), 5, True)
    assert (second.sampling.seed, second.repeat) == (6, 1)
    assert first.messages[0].role == "system"
    assert (plain.sampling.temperature, plain.sampling.seed) == (1.0, None)


class Order(BaseModel):
    n: int
    who: str


async def test_tools_and_schemas_of_the_bare_model() -> None:
    tools: Any = [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
    ]
    asked: list[Any] = [{"role": "user", "content": "weather in Bern"}]
    async with serving(bare(Fake())) as url, client(url) as api:
        said = await api.chat.completions.create(model="fake:echo", messages=asked, tools=tools)
        call: Any = (said.choices[0].message.tool_calls or [])[0]
        assert json.loads(call.function.arguments) == {"city": "weather in Bern"}
        assert (said.choices[0].finish_reason, said.choices[0].message.content) == ("tool_calls", None)
        asked += [said.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        said = await api.chat.completions.create(model="fake:echo", messages=asked, tools=tools)
        assert said.choices[0].message.content == "sunny"
        async with api.chat.completions.stream(model="fake:echo", messages=asked[:1], tools=tools) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.tool_calls
        parsed = await api.chat.completions.parse(
            model="fake:echo", messages=[{"role": "user", "content": "5 pears"}], response_format=Order
        )
        assert parsed.choices[0].message.parsed == Order(n=5, who="5 pears")


async def test_n_choices_stream_side_by_side() -> None:
    async with serving(bare(Fake())) as url, client(url) as api:
        text = ["", "", ""]
        async for chunk in await api.chat.completions.create(model="fake:echo", messages=HI, n=3, stream=True):
            text[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert text == ["hello there world"] * 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", "required"),
        ("presence_penalty", 0.5),
        ("logit_bias", {"5": 1.0}),
        ("top_logprobs", 3),
        ("response_format", {"type": "json_schema"}),
    ],
)
async def test_what_the_model_cannot_do_is_refused_by_name(field: str, value: Any) -> None:
    async with serving(bare(Fake())) as url:
        told = await post(url, {"model": "fake:echo", "messages": HI, field: value})
    assert told.status_code == 400
    assert told.json()["error"]["param"] == field


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("stream", [False, True])
async def test_the_prompt_of_several_choices_is_counted_once(stream: bool) -> None:
    async with serving(bare(Fake())) as url, client(url) as api:
        seen = []
        for n in (1, 3):
            if stream:
                made = await api.chat.completions.create(
                    model="fake:echo", messages=HI, n=n, stream=True, stream_options={"include_usage": True}
                )
                seen.append([chunk.usage async for chunk in made][-1])
            else:
                seen.append((await api.chat.completions.create(model="fake:echo", messages=HI, n=n)).usage)
    one, three = seen
    assert one is not None
    assert three is not None
    assert (three.prompt_tokens, three.completion_tokens) == (one.prompt_tokens, 3 * one.completion_tokens)
    assert three.total_tokens == three.prompt_tokens + three.completion_tokens


class Unable(Fake):
    """Cannot compile the schema of any request but the first of several: an error among replies."""

    async def generate(self, requests: Any) -> Any:
        return [Reply.of(Unsupported("cannot compile the schema: uniqueItems"), self.name) for _ in requests]


async def test_what_the_engine_cannot_do_is_the_callers_400() -> None:
    async with serving(bare(Unable())) as url:
        reply = await post(url, {"model": "fake:echo", "messages": HI})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unsupported")


async def test_one_tool_call_where_only_one_is_wanted() -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with serving(bare(Fake())) as url, client(url) as api:
        said = await api.chat.completions.create(
            model="fake:echo",
            messages=[{"role": "user", "content": "weather?"}],
            tools=tools,
            parallel_tool_calls=False,
            top_p=0,
        )
    assert len(said.choices[0].message.tool_calls or ()) == 1


async def test_errors_name_no_path_of_the_machine(tmp_path: Path) -> None:
    where = tmp_path / "weights" / "secret.gguf"
    model = Fake(failures=[ServerError(f"cannot read {where}: see 'POST /v1/x' or http://127.0.0.1:9/a/b")])
    async with serving(bare(model)) as url:
        said = (await post(url, {"model": "fake:echo", "messages": HI})).json()["error"]["message"]
    assert said == "cannot read secret.gguf: see 'POST /v1/x' or http://127.0.0.1:9/a/b"


async def test_with_keys_only_health_is_open() -> None:
    keys = Keys([hash_key("right")])
    async with serving(endpoint(program()), keys=keys) as url, httpx.AsyncClient() as plain:
        root = url.removesuffix("/v1")
        for path in ("/ready", "/openapi.json", "/v1/models", "/nothing", "/docs"):
            assert (await plain.get(f"{root}{path}")).status_code == 401, path
        assert (await plain.get(f"{root}/health")).status_code == 200
        with_key = {"authorization": "Bearer right"}
        assert (await plain.get(f"{root}/openapi.json", headers=with_key)).status_code == 200


async def test_unknown_models_and_addresses() -> None:
    async with serving(endpoint(program())) as url, client(url) as api, httpx.AsyncClient() as plain:
        with pytest.raises(openai.NotFoundError, match="there is: rung/echo") as caught:
            await api.chat.completions.create(model="rung/nope", messages=HI)
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await api.models.retrieve("rung/nope")
        assert (await plain.get(f"{url}/nothing")).json()["error"]["code"] == "not_found"
        assert (await plain.put(f"{url}/models")).status_code == 405


async def test_a_large_body_is_refused_whatever_its_header_says() -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 1000

    async with serving(endpoint(program()), limits=Limits(body=10_000, grace=1)) as url, httpx.AsyncClient() as plain:
        said = await plain.post(f"{url}/chat/completions", content=b" " * 10_001)
        assert (said.status_code, said.json()["error"]["code"]) == (413, "request_too_large")
        with pytest.raises(httpx.TransportError):  # the server hangs up on a client that goes on sending
            await asyncio.wait_for(plain.post(f"{url}/chat/completions", content=endless()), 10)
        assert (await post(url, {"model": "rung/echo", "messages": HI})).status_code == 200


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with serving(endpoint(program()), limits=Limits(deadline=0.2, grace=1)) as url:
        host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        said = await asyncio.wait_for(reader.read(), 5)  # to the end: the server hangs up
        writer.close()
    assert said.startswith(b"HTTP/1.1 408")


async def test_over_the_queue_is_refused_at_once() -> None:
    model = Halting()
    limits = Limits(running=1, waiting=1, grace=1)
    async with serving(endpoint(program(wrap(model, Pool().settings))), limits=limits) as url:
        body = {"model": "rung/echo", "messages": HI}
        busy = [asyncio.create_task(post(url, body)) for _ in range(2)]
        async with httpx.AsyncClient() as plain:
            root = url.removesuffix("/v1")
            while (state := (await plain.get(f"{root}/ready")).json())["waiting"] < 1:
                await asyncio.sleep(0.01)
        assert state["running"] == 1
        told = await post(url, body)
        assert (told.status_code, told.json()["error"]["code"]) == (503, "overloaded")
        assert int(told.headers["retry-after"]) >= 1
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


@pytest.mark.parametrize("before", [(), ("a piece",)])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_ends_a_request(stream: bool, before: tuple[str, ...]) -> None:
    model = Halting(before)
    limits = Limits(deadline=0.2, grace=1)
    async with serving(endpoint(program(wrap(model, Pool().settings))), limits=limits) as url:
        told = await post(url, {"model": "rung/echo", "messages": HI, "stream": stream})
    assert "deadline_exceeded" in told.text
    assert told.status_code == (200 if stream and before else 504)
    assert model.freed.is_set()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_model(stream: bool) -> None:
    model = Halting()
    async with serving(endpoint(program(wrap(model, Pool().settings)))) as url:
        task = asyncio.create_task(post(url, {"model": "rung/echo", "messages": HI, "stream": stream}))
        await asyncio.wait_for(model.entered.wait(), 5)
        task.cancel()
        await asyncio.wait_for(model.freed.wait(), 5)


# ---------------------------------------------------------------- who may call


async def test_keys() -> None:
    keys = Keys([hash_key("right"), hash_key("also")])
    async with serving(endpoint(program()), keys=keys) as url:
        for key in ("right", "also"):
            async with client(url, key) as api:
                assert (await api.models.list()).data
        async with client(url, "wrong") as api:
            with pytest.raises(openai.AuthenticationError) as caught:
                await api.chat.completions.create(model="rung/echo", messages=HI)
        assert caught.value.code == "invalid_api_key"
        async with httpx.AsyncClient() as plain:
            assert (await plain.get(f"{url}/models")).status_code == 401
            assert (await plain.get(f"{url.removesuffix('/v1')}/health")).status_code == 200


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("host", "evil.example", 403),
        ("host", "localhost:1", 200),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:3000", 200),
    ],
)
async def test_web_pages_cannot_reach_a_server_without_keys(header: str, value: str, status: int) -> None:
    async with serving(endpoint(program())) as url:
        assert (await post(url, {"model": "rung/echo", "messages": HI}, **{header: value})).status_code == status


async def test_the_access_log_holds_no_contents(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rung.access")
    async with serving(endpoint(program()), keys=Keys([hash_key("right")])) as url:
        await post(url + "/../v1", {"model": "rung/echo", "messages": HI}, authorization="Bearer right")
        await post(url, {"model": "rung/echo", "messages": HI}, authorization="Bearer wr0ng")
    lines = [record.getMessage() for record in caplog.records if record.name == "rung.access"]
    assert "POST /v1/chat/completions 200" in lines[0]
    assert "model=rung/echo tokens=6+3" in lines[0]
    assert "401" in lines[1]
    for word in ("hello", "right", "wr0ng"):
        assert word not in "".join(lines)


def test_two_offers_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="rung/echo"):
        make_app(Served([endpoint(program()), endpoint(program())]))


@pytest.mark.parametrize("packing", ["gzip", "BR", "identity"])
async def test_a_compressed_body_is_refused_by_name(packing: str) -> None:
    transport = httpx.ASGITransport(app=make_app(Served([endpoint(program())])))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as plain:
        asked = {"model": "rung/echo", "messages": [{"role": "user", "content": "hi"}]}
        said = await plain.post("/v1/chat/completions", json=asked, headers={"content-encoding": packing})
    if packing == "identity":
        assert said.status_code == 200
    else:
        assert (said.status_code, said.json()["error"]["code"]) == (415, "content_encoding")


async def test_ready_follows_the_models(caplog: pytest.LogCaptureFixture) -> None:
    opening = Halting()
    cases: list[tuple[Fake, Callable[[Any], bool], int]] = [
        (Fake(), lambda body: body["status"] == "ready", 200),
        (opening, lambda body: body["opening"] == ["fake:halting"], 503),
        (Fake(failures=[ServerError("no weights")]), lambda body: body["failed"] == {"fake:echo": "server"}, 503),
    ]
    for model, expected, status in cases:
        app = make_app(Served([bare(model)]))
        transport = httpx.ASGITransport(app=app)
        async with (
            app.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as plain,
        ):
            for _ in range(5):
                await asyncio.sleep(0)
            said = await plain.get("/ready")
            assert said.status_code == status
            assert expected(said.json())


@pytest.mark.model
async def test_the_embedded_model_behind_the_official_client(embedded: MeteredModel) -> None:
    made = endpoint(program(embedded, ResponseFormat("labels", labels=LABELS)), "intent")
    async with serving(made, ModelEndpoint(embedded, 0)) as url, client(url) as api:
        said = await api.chat.completions.create(model="rung/intent", messages=HI)
        assert said.choices[0].message.content in LABELS
        whole = await api.chat.completions.create(model=embedded.name, messages=HI, temperature=0, max_tokens=12)
        text = ""
        async for chunk in await api.chat.completions.create(
            model=embedded.name, messages=HI, temperature=0, max_tokens=12, stream=True
        ):
            text += chunk.choices[0].delta.content or ""
        assert text == whole.choices[0].message.content
        assert text.strip()
        assert whole.usage is not None
        assert 0 < whole.usage.completion_tokens <= 12
