"""What the official clients speak, against a real server: embeddings, files, batches, Anthropic's messages."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import numpy as np
import openai
import pytest

from rung.core.errors import StoreError
from rung.models.providers.fake import Fake
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen
from rung.serving.http.process.server import running as serve_app
from rung.store import Store, open_store
from tests.serving.loopback import bare, endpoint, program

pytestmark = pytest.mark.server

HI: list[Any] = [{"role": "user", "content": "hello there world"}]


class Vectors:
    """Vectors of three numbers that tell texts apart."""

    name = "vectors"
    fingerprint = "vectors"
    dimensions = 3

    def embed(self, texts: Any) -> Any:
        found = np.array([[len(text), text.count("a"), 1] for text in texts], dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@asynccontextmanager
async def server(store: Store, running: int = 64, **models: Fake) -> AsyncIterator[str]:
    endpoints: list[Endpoint] = [endpoint(program()), *(bare(model) for model in models.values())]
    served = Served(endpoints, limits=Limits(grace=1, running=running), embedders={"vectors": Vectors()}, store=store)
    bound = listen("127.0.0.1", 0)
    async with serve_app(make_app(served, warm_up=False), bound):
        yield address(bound)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


async def test_embeddings(store: Store) -> None:
    async with server(store) as url, client(url) as api:
        whole = await api.embeddings.create(model="vectors", input=["a", "banana"], encoding_format="float")
        packed = await api.embeddings.create(model="vectors", input="banana")  # the client asks for base64
        assert [row.index for row in whole.data] == [0, 1]
        assert np.allclose(whole.data[1].embedding, packed.data[0].embedding)
        assert np.linalg.norm(whole.data[0].embedding) == pytest.approx(1)
        assert whole.usage.total_tokens == 3
        raw = await api.post(
            "/embeddings", cast_to=object, body={"model": "vectors", "input": "x", "encoding_format": "base64"}
        )
        assert len(base64.b64decode(raw["data"][0]["embedding"])) == 12  # type: ignore[index]
        wrong: Any
        for wrong in ({"input": []}, {"input": ""}, {"input": [1, 2]}, {"input": "x", "dimensions": 2}):
            with pytest.raises(openai.BadRequestError):
                await api.embeddings.create(**{"model": "vectors", **wrong})
        with pytest.raises(openai.NotFoundError):
            await api.embeddings.create(model="other", input="x")
        assert "vectors" in [model.id async for model in await api.models.list()]


def lines(*bodies: tuple[str, Any]) -> bytes:
    made = [{"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body} for id, body in bodies]
    return "\n".join(json.dumps(one) for one in made).encode()


async def finish(api: openai.AsyncOpenAI, id: str) -> Any:
    for _ in range(300):
        batch = await api.batches.retrieve(id)
        if batch.status in ("completed", "failed", "cancelled"):
            return batch
        await asyncio.sleep(0.05)
    raise AssertionError(batch)


async def test_a_batch_runs_to_its_files(store: Store) -> None:
    good = {"model": "rung/echo", "messages": HI}
    content = lines(
        ("b", good), ("a", good), ("wrong", {"model": "nobody", "messages": HI}), ("no", {"model": "rung/echo"})
    )
    async with server(store) as url, client(url) as api:
        file = await api.files.create(file=("in.jsonl", content + b"\r\n\n"), purpose="batch")
        assert (await api.files.content(file.id)).content == content + b"\r\n\n"
        batch = await api.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = await finish(api, batch.id)
        assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 2, 2)
        out = [json.loads(line) for line in (await api.files.content(done.output_file_id)).text.splitlines()]
        assert [row["custom_id"] for row in out] == ["b", "a"]
        assert out[0]["response"]["body"]["choices"][0]["message"]["content"] == "hello there world"
        bad = [json.loads(line) for line in (await api.files.content(done.error_file_id)).text.splitlines()]
        assert [(row["custom_id"], row["response"]["status_code"]) for row in bad] == [("wrong", 404), ("no", 400)]
        assert [one.id async for one in await api.batches.list()] == [batch.id]
        assert (await api.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await api.files.retrieve(file.id)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (lines(("a", {}), ("a", {})), "duplicate_custom_id"),
        (lines(("", {})), "missing_required_parameter"),
        (lines(("a", {"stream": True})), "invalid_value"),
        (lines(("a", {})).replace(b"/chat/completions", b"/embeddings"), "mismatched_endpoint"),
        (b"not json\n", "invalid_json_line"),
        (b"[1]\n", "invalid_json_line"),
        (b"\n\n", "empty_file"),
        (lines(("a", 5)), "missing_required_parameter"),
    ],
)
async def test_a_file_with_mistakes_fails_before_anything_is_asked(store: Store, content: bytes, code: str) -> None:
    async with server(store) as url, client(url) as api:
        file = await api.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await api.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = await finish(api, batch.id)
    assert done.status == "failed"
    assert done.errors.data[0].code == code
    assert done.errors.data[0].line >= 1


async def test_a_batch_goes_on_where_a_process_left_it(store: Store) -> None:
    model = Fake(name="counted", latency=0.02)
    content = lines(
        *(
            (f"id-{at}", {"model": "fake:counted", "messages": [{"role": "user", "content": str(at)}]})
            for at in range(60)
        )
    )
    async with server(store, running=4, counted=model) as url, client(url) as api:
        file = await api.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await api.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while store.results.count(batch.id)[0] < 5:
            await asyncio.sleep(0.01)
    kept, before = store.results.count(batch.id)[0], len(model.calls)  # the server is gone
    assert kept < 60
    async with server(store, running=4, counted=model) as url, client(url) as api:
        done = await finish(api, batch.id)
        out = (await api.files.content(done.output_file_id)).text.splitlines()
    assert done.request_counts.completed == 60
    assert sorted({json.loads(line)["custom_id"] for line in out}) == sorted(f"id-{at}" for at in range(60))
    assert 60 <= len(model.calls) <= before + 60 - kept  # what was under way may have been kept after it was counted


async def test_wrong_uploads_are_refused(store: Store) -> None:
    async with server(store) as url, client(url) as api:
        for file, purpose in ((("x", b""), "batch"), (("x", b"x"), "nothing")):
            with pytest.raises(openai.BadRequestError):
                await api.files.create(file=file, purpose=purpose)  # type: ignore[arg-type]
        with pytest.raises(openai.BadRequestError):
            await api.post("/files", cast_to=object, body={"a": 1})
        with pytest.raises(openai.NotFoundError):
            await api.batches.create(input_file_id="file-x", endpoint="/v1/chat/completions", completion_window="24h")
        with pytest.raises(openai.NotFoundError):
            await api.batches.retrieve("batch_x")


async def test_anthropic_client(store: Store) -> None:
    async with (
        server(store, echo=Fake()) as url,
        anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0) as api,
    ):
        said = await api.messages.create(model="rung/echo", max_tokens=50, messages=HI, system="Be short.")
        assert (said.type, said.stop_reason, said.content[0].text) == ("message", "end_turn", "hello there world")  # type: ignore[union-attr]
        assert said.usage.output_tokens == 3
        async with api.messages.stream(model="fake:echo", max_tokens=50, messages=HI) as stream:
            pieces = [piece async for piece in stream.text_stream]
            last = await stream.get_final_message()
        assert pieces == ["hello", " there", " world"]
        assert (last.stop_reason, last.usage.output_tokens) == ("end_turn", 3)
        tools: Any = [{"name": "look", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
        turns: Any = [
            {"role": "user", "content": [{"type": "text", "text": "look"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "seen"}]},
        ]
        again = await api.messages.create(model="fake:echo", max_tokens=50, messages=turns, tools=tools)
        assert again.content
        image: Any = [{"role": "user", "content": [{"type": "image", "source": {}}]}]
        with pytest.raises(anthropic.BadRequestError):
            await api.messages.create(model="fake:echo", max_tokens=5, messages=image)
        with pytest.raises(anthropic.NotFoundError) as caught:
            await api.messages.create(model="nobody", max_tokens=5, messages=HI)
        assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]


async def test_a_store_that_takes_nothing_is_503_and_a_sentence_in_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*given: object) -> None:
        raise StoreError("the disk is full", remedy="free some space")

    monkeypatch.setattr(store.files, "put", full)
    async with server(store) as url:
        with pytest.raises(openai.InternalServerError) as refused:
            await client(url).files.create(file=("in.jsonl", b"{}"), purpose="batch")
    assert (refused.value.status_code, refused.value.code) == (503, "store")
    assert "POST /v1/files: the disk is full" in caplog.text
    assert "Traceback" not in caplog.text
