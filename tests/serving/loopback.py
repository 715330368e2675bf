"""Programs over the fake model, and a real server for them on a loopback socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rung.core.errors import ModelError
from rung.core.parts import program as programs
from rung.core.protocols import Model
from rung.core.types import Chunk, Reply, Request, ResponseFormat
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.models.wrap import wrap
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.retrieval.collection.shared import Collections
from rung.serving.access.keys import Keys
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.local import Opened
from rung.serving.endpoints.model import ModelEndpoint
from rung.serving.endpoints.program import ProgramEndpoint
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.quality.ab import ABTest
from rung.serving.quality.record import Recorder

LABELS = ("refund", "delivery", "card")
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "who": {"type": "string"}},
    "required": ["n", "who"],
}


class Halting(Fake):
    """Streams ``before`` and then stops: by raising ``error``, or by waiting for ever. ``freed`` says that it was let go."""

    def __init__(self, before: Sequence[str] = (), error: ModelError | None = None) -> None:
        super().__init__(name="halting")
        self.before, self.error = before, error
        self.entered, self.freed = asyncio.Event(), asyncio.Event()

    async def _halt(self) -> None:
        self.entered.set()
        try:
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.freed.set()

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        await self._halt()
        raise AssertionError("never comes here")

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        for text in self.before:
            yield Chunk(text)
        await self._halt()


def program(
    model: Model | None = None, form: ResponseFormat | None = None, fields: tuple[str, ...] = ("text",)
) -> PromptProgram:
    return PromptProgram(
        Prompt("Answer."), model or wrap(Fake(), Pool().settings), Options(form=form or ResponseFormat(), fields=fields)
    )


def endpoint(made: PromptProgram, name: str = "echo", *, detail: bool = True) -> ProgramEndpoint:
    opened = Opened(name, Path("nowhere"), made, made.options.fields, programs.fingerprint(made), {}, None)
    return ProgramEndpoint(opened, 1_700_000_000, detail)


def bare(model: Fake) -> ModelEndpoint:
    return ModelEndpoint(wrap(model, Pool().settings), 1_700_000_000)


@asynccontextmanager
async def serving(
    *endpoints: Endpoint,
    keys: Keys | None = None,
    limits: Limits | None = None,
    indexes: Collections | None = None,
    ab_tests: Sequence[ABTest] = (),
    recorder: Recorder | None = None,
) -> AsyncIterator[str]:
    """The base URL of a server over ``endpoints``, ``indexes`` and ``ab_tests``."""
    bound = listen("127.0.0.1", 0)
    limits = limits or Limits(grace=1)
    app = make_app(Served(endpoints, keys or Keys(), limits, indexes, ab_tests, recorder), warm_up=False)
    async with running(app, bound, limits):
        yield address(bound)
