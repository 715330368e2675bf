"""What a server refuses by name is left out or renamed, asked again once, and remembered; nothing else is."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rung.core.errors import AuthError, ContextOverflow, ModelError
from rung.core.types import Message, Request, ResponseFormat, Sampling
from rung.models import open_model
from rung.models.providers.refusal import Refusals
from rung.models.wrap import MeteredModel
from tests.models.servers import Server

LABELS = ResponseFormat("labels", labels=("good", "bad"))
EVERYTHING = Sampling(temperature=0.3, top_p=0.9, max_tokens=20, seed=4, stop=("brave",), logprobs=True)


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_RETRIES", "0")


def opened(provider: str, server: Server, name: str = "ok") -> MeteredModel:
    return open_model(f"{provider}:{name}@{server.url}{'/v1' if provider == 'openai' else ''}")


FREE = ResponseFormat()
SHORT = Sampling(max_tokens=20)


def ask(form: ResponseFormat = FREE, sampling: Sampling = SHORT) -> Request:
    return Request((Message("user", "Hi"),), sampling, form)


OPENAI = [
    ("temperature", "'temperature'", "Unsupported value: 'temperature' does not support 0.3 with this model. Only the default (1) value is supported."),
    ("top_p", "'top_p'", "`top_p` is deprecated for this model."),
    ("seed", "'seed'", "Error code: 422 - {'detail': [{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs are not permitted'}]}"),
    ("stop", "'stop'", "Unsupported parameter: 'stop' is not supported with this model."),
    ("logprobs", "'logprobs'", "logprobs are not available for this model"),
    ("max_tokens", "'max_tokens'", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
    ("response_format", "json_schema", "response_format.type: Input should be 'text' or 'json_object'"),
    ("response_format", "response_format", "Unrecognized request argument supplied: response_format"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spelled", "said"), OPENAI)
@pytest.mark.parametrize("stream", [False, True])
async def test_openai(
    name: str, spelled: str, said: str, stream: bool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse[spelled] = (422 if "422" in said else 400, said)
    model = opened("openai", server)
    request = ask(LABELS if name == "response_format" else ResponseFormat(), EVERYTHING)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            if stream:
                text = "".join([chunk.text async for chunk in model.stream(request)])
            else:
                text = (await model.generate([request]))[0].text
            assert text == "Hello "  # up to the stop, whoever cut it
    assert len(server.seen) == 3, "asked again once, and remembered"
    assert name in server.seen[0].body
    assert all(name not in seen.body for seen in server.seen[1:])
    if name == "max_tokens":
        assert server.seen[2].body["max_completion_tokens"] == 20
    assert sum("does not take" in record.message for record in caplog.records) == 1
    await model.close()


async def test_json_goes_from_a_schema_to_json_to_nothing(server: Server) -> None:
    form = ResponseFormat("json", schema={"type": "object", "properties": {"city": {"type": "string"}}})
    server.refuse["json_schema"] = (400, "This response_format type is unavailable now")
    model = opened("openai", server)
    await model.generate([ask(form)])
    assert [seen.body["response_format"]["type"] for seen in server.seen] == ["json_schema", "json_object"]
    assert model.capabilities.forms == {"json"}
    server.refuse["json_object"] = (400, "JSON mode is not enabled for this model")
    await model.generate([ask(form)])
    assert "response_format" not in server.seen[-1].body
    assert model.capabilities.forms == frozenset()
    await model.close()


@pytest.mark.parametrize(
    ("provider", "request_", "spelled", "said"),
    [
        ("anthropic", ask(LABELS), "output_config", "output_config: Extra inputs are not permitted"),
        ("anthropic", ask(sampling=EVERYTHING), "temperature", "`temperature` may only be set to 1 when thinking is enabled."),
        ("anthropic", ask(sampling=EVERYTHING), "stop_sequences", "stop_sequences: this model does not support stop sequences"),
        ("google", ask(LABELS), "responseJsonSchema", 'Invalid JSON payload received. Unknown name "responseJsonSchema" at \'generation_config\': Cannot find field.'),
        ("google", ask(LABELS), "responseMimeType", "JSON mode is not enabled for models/gemma-3"),
        ("google", ask(sampling=EVERYTHING), "responseLogprobs", "Logprobs is not enabled for models/gemini-x"),
        ("google", ask(sampling=EVERYTHING), "'seed'", "seed is not supported by this model"),
    ],
)  # fmt: skip
async def test_the_others(
    provider: str, request_: Request, spelled: str, said: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.refuse[spelled] = (400, said)
    if provider == "anthropic":
        request_ = Request(request_.messages, Sampling(temperature=0.3, stop=("brave",)), request_.form)
    model = opened(provider, server, "claude-haiku-4-5" if provider == "anthropic" else "ok")
    for _ in range(2):
        assert (await model.generate([request_]))[0].text.startswith("Hello")
    assert len(server.seen) == 3
    await model.close()


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, "temperature is not supported", AuthError),
        (404, "the parameter seed is unknown", ModelError),
        (400, "temperature must be between 0 and 2", ModelError),
        (400, "max_tokens is too large: 99999. This model supports at most 4096 completion tokens", ModelError),
        (400, "This model's maximum context length is 8192 tokens; max_tokens is not supported above", ContextOverflow),
        (400, "Invalid schema for response_format 'answer': uniqueItems is not permitted", ModelError),
        (400, "messages: this content type is not supported", ModelError),
    ],
)
async def test_other_errors_are_not_asked_again(status: int, said: str, kind: type[ModelError], server: Server) -> None:
    server.refuse["messages"] = (status, said)
    model = opened("openai", server)
    with pytest.raises(kind) as caught:
        await model.generate([ask(LABELS, EVERYTHING)])
    assert said in caught.value.message
    assert len(server.seen) == 1
    await model.close()


async def test_nothing_is_remembered_of_a_guess_that_did_not_help(server: Server) -> None:
    server.refuse["messages"] = (400, "unknown field in the text: seed")
    model = opened("openai", server)
    with pytest.raises(ModelError):
        await model.generate([ask(sampling=EVERYTHING)])
    assert len(server.seen) == 2
    server.refuse.clear()
    await model.generate([ask(sampling=EVERYTHING)])
    assert server.seen[-1].body["seed"] == 4
    await model.close()


def test_a_name_inside_another_is_not_that_name() -> None:
    found: Any = Refusals("m").find
    assert found(400, "unknown parameter: stop_token_ids", "", {"stop"}) is None
    assert found(400, "unsupported", "stop", {"stop"}) == "stop"
    assert found(400, "unsupported: seed, then temperature", "", {"temperature", "seed"}) == "seed"
