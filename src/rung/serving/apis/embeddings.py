"""POST /v1/embeddings: the vectors of texts, as OpenAI's clients ask for them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rung.core.errors import RungError
from rung.core.protocols import Embedder
from rung.core.types import Usage
from rung.serving.access.call import RequestCall
from rung.serving.apis.wire.chat import Readable, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import send_json, send_refused
from rung.serving.endpoints.compute import compute
from rung.serving.endpoints.refusal import refusal
from rung.serving.http.chat import read_body, unknown
from rung.serving.http.limits import RequestQueue

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

TEXTS = 2048
"""Texts of one request at most."""


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


class EmbeddingsRequest(Readable):
    """The body of POST /v1/embeddings."""

    model: str = Field(min_length=1, max_length=512)
    input: Annotated[
        list[Annotated[str, Field(min_length=1)]], BeforeValidator(_listed), Field(min_length=1, max_length=TEXTS)
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None


@dataclass(frozen=True)
class EmbeddingsApp:
    """The application behind the address; ``embedders`` by the names that callers ask for."""

    embedders: Mapping[str, Embedder]
    queue: RequestQueue
    path: str = "/v1/embeddings"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["rung.path"] = self.path
        try:
            asked = parse_body(EmbeddingsRequest, await read_body(receive, self.queue.limits))
            answer = await self._answer(asked, scope)
        except Refused as refused:
            scope["rung.code"] = refused.code
            await send_refused(send, refused)
            return
        await send_json(send, answer)

    async def _answer(self, asked: EmbeddingsRequest, scope: Scope) -> dict[str, Any]:
        call: RequestCall = scope["rung.call"]
        embedder = self.embedders.get(asked.model)
        if embedder is None or not call.caller.may_ask(asked.model):
            raise unknown(asked.model, [name for name in self.embedders if call.caller.may_ask(name)])
        scope["rung.model"] = asked.model
        if asked.dimensions not in (None, embedder.dimensions):
            said = f"dimensions: {asked.model} gives {embedder.dimensions}, and they cannot be cut"
            raise Refused(400, said, param="dimensions", code="unsupported", again=False)
        # No embedder says how many tokens it read: a token for four characters, said in the docs.
        usage = Usage(calls=1, prompt_tokens=sum(len(text) // 4 + 1 for text in asked.input))
        used = Usage()
        try:
            if call.purse is not None and (no := await call.purse.enter() or await call.purse.hold(usage)) is not None:
                raise no
            async with asyncio.timeout(self.queue.limits.deadline), self.queue.turn():
                vectors = await compute(lambda: embedder.embed(asked.input))
            scope["rung.usage"] = used = usage
        except RungError as error:
            raise refusal(error) from None
        except TimeoutError:
            said = f"no answer within {self.queue.limits.deadline:g} s"
            raise Refused(504, said, code="deadline_exceeded", again=False) from None
        finally:
            if call.purse is not None:
                call.purse.settle(used)
        data = [
            {"object": "embedding", "index": at, "embedding": _written(vector, asked.encoding_format)}
            for at, vector in enumerate(vectors)
        ]
        told = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
        return {"object": "list", "data": data, "model": asked.model, "usage": told}


def _written(vector: Any, form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


EMBEDDINGS_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": EmbeddingsRequest.model_json_schema(ref_template="#/$defs/{model}")}
        },
    }
}
