"""POST /v1/embeddings: the vectors of texts, as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from pydantic import BeforeValidator, Field

from rung.core.errors import RungError
from rung.core.protocols import Embedder
from rung.core.types import Usage
from rung.serving.access.call import RequestCall
from rung.serving.apis.wire.chat import Readable, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.compute import compute
from rung.serving.endpoints.refusal import refusal
from rung.serving.http.chat import read_body, unknown
from rung.serving.http.limits import RequestQueue

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


def add_embeddings(app: FastAPI, embedders: Mapping[str, Embedder], queue: RequestQueue) -> None:
    """Put the address on the application; ``embedders`` by the names that callers ask for."""

    @app.post("/v1/embeddings", response_model=None, openapi_extra=_SCHEMA)
    async def embed(request: Request) -> dict[str, Any]:
        """Vectors of texts."""
        asked = parse_body(EmbeddingsRequest, await read_body(request.receive, queue.limits))
        call: RequestCall = request.scope["rung.call"]
        embedder = embedders.get(asked.model)
        if embedder is None or not call.caller.may_ask(asked.model):
            raise unknown(asked.model, [name for name in embedders if call.caller.may_ask(name)])
        request.scope["rung.model"] = asked.model
        _check(asked, embedder)
        # No embedder says how many tokens it read: a token for four characters, said in the docs.
        usage = Usage(calls=1, prompt_tokens=sum(len(text) // 4 + 1 for text in asked.input))
        if call.purse is not None:
            for no in (await call.purse.enter(), await call.purse.hold(usage)):
                if no is not None:
                    call.purse.settle(Usage())
                    raise no
        try:
            async with queue.turn():
                vectors = await compute(lambda: embedder.embed(asked.input))
        except RungError as error:
            usage = Usage()
            raise refusal(error) from None
        finally:
            if call.purse is not None:
                call.purse.settle(usage)
        request.scope["rung.usage"] = usage
        data = [
            {"object": "embedding", "index": at, "embedding": _written(vector, asked.encoding_format)}
            for at, vector in enumerate(vectors)
        ]
        told = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
        return {"object": "list", "data": data, "model": asked.model, "usage": told}


def _check(asked: EmbeddingsRequest, embedder: Embedder) -> None:
    if asked.dimensions not in (None, embedder.dimensions):
        said = f"dimensions: {asked.model} gives {embedder.dimensions}, and they cannot be cut"
        raise Refused(400, said, param="dimensions", code="unsupported", again=False)


def _written(vector: Any, form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": EmbeddingsRequest.model_json_schema(ref_template="#/$defs/{model}")}
        },
    }
}
