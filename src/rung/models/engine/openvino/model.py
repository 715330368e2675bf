"""The embedded engine as a model: requests become jobs of the engine's worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung.core.codec import digest
from rung.core.errors import ContextOverflow, InputError, ModelError, RungError, Unsupported
from rung.core.settings import Settings
from rung.core.types import (
    Capabilities,
    Chunk,
    Message,
    Reply,
    Request,
    ResponseFormat,
    ScoreRequest,
    Scores,
    ToolCall,
)
from rung.models import hub
from rung.models.adapters import adapters
from rung.models.adapters.lora import Lora
from rung.models.adapters.lora import read as read_lora
from rung.models.engine.closed.grammar import KINDS
from rung.models.engine.decode import Beams, Decode, Recall, Scoring
from rung.models.engine.openvino.engine import Engine, leave_engine, share_engine
from rung.models.engine.template import call_id, tools_schema, with_tools


def open_model(name: str, settings: Settings) -> OpenvinoModel:
    """The model ``openvino:name``; ``name`` is one of ``rung models``, or the path of a .gguf file or of a folder with
    an OpenVINO graph, and may go on with ``@FOLDER``: a LoRA adapter beside it (see lora.py). Loads nothing yet.

    Raises FetchError when the weights are not there, InputError when the file is no GGUF model or the folder no adapter
    of it, Unsupported for an adapter that is not plain LoRA.
    """
    base, _, beside = name.partition("@")
    path = hub.locate(base, settings.cache)
    lora = None
    if beside:
        lora = read_lora(Path(beside).expanduser())
        adapters.check_base(lora.folder, path)
    engine = share_engine(path, settings, adapters=lora is not None)
    return OpenvinoModel(name, engine, lora)


class OpenvinoModel:
    """``core.protocols.Model`` over an engine. Safe for concurrent callers on any number of event loops."""

    def __init__(self, name: str, engine: Engine, lora: Lora | None = None) -> None:
        self._name = f"openvino:{name}"
        self._engine = engine
        self._lora = lora
        self._adapter = engine.slots.take(lora) if engine.slots is not None and lora is not None else 0
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def fingerprint(self) -> str:
        return self._engine.fingerprint if self._lora is None else digest([self._engine.fingerprint, self._lora.key])

    @property
    def precision(self) -> str:
        return self._engine.precision

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            forms=KINDS,
            score=True,
            tools=True,
            logprobs=True,
            beams=True,
            seed=True,
            context=self._engine.header.context,
            local=True,
        )

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that asks for the next assistant message: the model's own template and tokenizer."""
        return len(self._engine.template.tokens(messages))

    def tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens of that prompt. Raises ContextOverflow when they leave no room for a reply."""
        return self._prompt(messages)

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """One Reply a request, in order. See the module for overflow, tools and repeatability."""
        jobs = await asyncio.to_thread(self._jobs, requests)
        errors = [job for job in jobs if isinstance(job, RungError)]
        if errors and len(errors) == len(jobs) and all(isinstance(e, ContextOverflow) for e in errors):
            raise errors[0]
        live = [job for job in jobs if isinstance(job, Decode | Beams)]
        results = iter(await self._run(live, [job.future for job in live]))
        out = []
        for request, job in zip(requests, jobs, strict=True):
            if isinstance(job, RungError):
                out.append(Reply.of(job, self._name))
            else:
                result = next(results)
                out.append(
                    Reply.of(result, self._name) if isinstance(result, BaseException) else _called(request, result)
                )
        return out

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The reply piece by piece, then a last Chunk with the whole Reply. With tools or beams the text comes at the
        end.

        Raises ContextOverflow, InputError or Unsupported before the first piece.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def emit(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def prepare() -> Decode | Beams:
            self._ready()
            return self._job(request, None if request.tools else emit)

        job = await asyncio.to_thread(prepare)
        job.future.add_done_callback(lambda _: loop.call_soon_threadsafe(pieces.put_nowait, None))
        self._submit([job])
        sent = ""
        try:
            while (piece := await pieces.get()) is not None:
                sent += piece
                yield Chunk(piece)
            reply = _called(request, job.future.result())
            yield Chunk(reply.text[len(sent) :], reply)
        finally:
            if not job.future.done():
                self._engine.worker.cancel([job])

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """The probability of each candidate as the whole reply; see trie.py for what is normalised over what.

        Raises ContextOverflow when any prompt is too long, InputError when a request has no candidates.
        """

        def prepare() -> list[Scoring]:
            self._ready()
            return [self._score(request) for request in requests]

        jobs = await asyncio.to_thread(prepare)
        live = [job for job in jobs if not job.search.done]
        for job in jobs:
            if job.search.done:  # a single candidate: nothing to compute
                job.finish(None)
        await self._run(live, [job.scores for job in live])
        return [job.scores.result() for job in jobs]

    async def recall(self, replies: Sequence[tuple[Sequence[Message], str]]) -> list[tuple[float, ...]]:
        """For each (messages, reply) the log-probability of every token of the reply and of the one that ends it.
        Without messages the reply is a plain text, its first token the prompt. Raises ContextOverflow for what is too
        long."""

        def prepare() -> list[Recall]:
            self._ready()
            template, context, jobs = self._engine.template, self._engine.header.context, []
            for messages, text in replies:
                tokens = tuple(template.plain(text))
                prompt, rest = tokens[:1], tokens[1:]
                if messages:
                    end = self._engine.header.eos if template.turn_end is None else template.turn_end
                    prompt, rest = self._prompt(messages), (*tokens, end)
                if not rest or len(prompt) + len(rest) > context:
                    raise ContextOverflow(
                        f"prompt and reply have {len(prompt) + len(rest):,} tokens, expected 2 to {context:,}",
                        remedy="give another text",
                    )
                jobs.append(Recall(prompt, rest, self._name))
            return jobs

        jobs = await asyncio.to_thread(prepare)
        out = []
        for reply in await self._run(jobs, [job.future for job in jobs]):
            if isinstance(reply, BaseException):
                raise reply
            out.append(tuple(reply.logprobs))
        return out

    def adapt(self, lora: Lora) -> None:
        """Answer with ``lora`` in the place of the adapter that it has, from the next request on. Nothing is loaded
        again; what the old one has computed is forgotten. Not while requests are under way. Raises Unsupported for a
        model without an adapter."""
        if self._engine.slots is None or not self._adapter:
            raise Unsupported(f"{self._name} has no adapter to replace", remedy="open it with one: MODEL@FOLDER")
        self._lora = lora
        self._engine.slots.replace(self._adapter, lora)
        self._engine.forget()

    def forget(self) -> None:
        """Forget cached prompts: the ladder calls it before each rung, or one would profit from the prompts of
        another."""
        self._engine.forget()

    def rest(self) -> None:
        """Give the engine's memory back until a model on it is next asked; not while one is answering."""
        if not self._closed:
            self._engine.rest()

    async def close(self) -> None:
        """Let go of the engine; the last model on it stops its thread and frees its memory."""
        if self._closed:
            return
        self._closed = True
        if leave_engine(self._engine):
            await asyncio.to_thread(self._engine.close)

    # ------------------------------------------------------------ inside

    def _ready(self) -> None:
        if self._closed:
            raise ModelError(f"{self._name} was closed", remedy="open the model again")
        self._engine.load()

    def _jobs(self, requests: Sequence[Request]) -> list[Decode | Beams | RungError]:
        self._ready()
        jobs: list[Decode | Beams | RungError] = []
        for request in requests:
            try:
                jobs.append(self._job(request))
            except RungError as error:
                jobs.append(error)
        return jobs

    def _submit(self, jobs: Sequence[Decode | Beams | Recall | Scoring]) -> None:
        for job in jobs:
            job.adapter = self._adapter
        try:
            self._engine.worker.submit(jobs)
        except RuntimeError as error:
            raise ModelError(f"{self._name}: {error}", remedy="open the model again") from None

    async def _run(
        self, jobs: Sequence[Decode | Beams | Recall | Scoring], futures: Sequence[Future[Any]]
    ) -> list[Any]:
        """Submit jobs and wait for all; when the caller is cancelled their slots are freed at once."""
        if not jobs:
            return []
        self._submit(jobs)
        try:
            return await asyncio.gather(*(asyncio.wrap_future(f) for f in futures), return_exceptions=True)
        except asyncio.CancelledError:
            self._engine.worker.cancel(jobs)
            raise

    def _prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        context = self._engine.header.context
        size = sum(len(message.content.encode("utf-8", "replace")) for message in messages)
        sure = size // self._engine.words.longest  # no token stands for more bytes: such a prompt need not be encoded
        prompt = () if sure > context else self._engine.template.tokens(messages)
        if sure > context or len(prompt) >= context:
            count = f"more than {sure:,}" if sure > context else f"{len(prompt):,}"
            raise ContextOverflow(
                f"the prompt has {count} tokens, the context window of {self._name} is {context:,}",
                remedy="shorten the input, or set overflow: truncate in the task",
            )
        return prompt

    def _job(self, request: Request, emit: Callable[[str], None] | None = None) -> Decode | Beams:
        sampling = request.sampling
        sampling.check()
        if sampling.beams > 1 and sampling.temperature > 0:
            raise Unsupported("beam search does not sample", remedy="set temperature to 0, or beams to 1")
        form = request.form
        if request.tools:
            if form.closed:
                raise Unsupported(
                    f"a {form.kind} form together with tools", remedy="ask for the form in a request without tools"
                )
            form = ResponseFormat("json", schema=tools_schema(request.tools))
        prompt = self._prompt(with_tools(request.messages, request.tools))
        mask = self._engine.grammars.matcher(form) if form.closed else None
        room = min(sampling.max_tokens, self._engine.header.context - len(prompt))
        if sampling.beams > 1:
            return Beams(prompt, room, self._name, self._engine.words, sampling, mask)
        return Decode(prompt, room, self._name, self._engine.words, sampling, mask, emit)

    def _score(self, request: ScoreRequest) -> Scoring:
        if not request.candidates:
            raise InputError("a score request without candidates", remedy="give at least one candidate")
        prompt = self._prompt(request.messages)
        trie, longest = self._engine.trie(tuple(request.candidates))
        if len(prompt) + longest > self._engine.header.context:
            raise ContextOverflow(
                f"prompt and candidate have {len(prompt) + longest:,} tokens, the context window of "
                f"{self._name} is {self._engine.header.context:,}",
                remedy="shorten the input",
            )
        return Scoring(prompt, trie, longest, self._name)


def _called(request: Request, reply: Reply) -> Reply:
    """Read a reply that was decoded under ``tools_schema``: a tool call, or the answer's text."""
    if not request.tools or reply.finish != "stop":
        return reply
    try:
        document = json.loads(reply.text)
    except ValueError:
        return replace(reply, finish="error", text=f"the tool call is not valid JSON: {reply.text}", code="tool-call")
    if "tool" in document:
        call = ToolCall(call_id(document), document["tool"], document["arguments"])
        return replace(reply, text="", finish="tool_calls", tool_calls=(call,))
    return replace(reply, text=document["answer"])


async def unstable(model: OpenvinoModel, requests: Sequence[Request]) -> tuple[int, ...]:
    """Indices of the requests whose reply alone differs from their reply in one batch with all the others."""
    together = await model.generate(requests)
    alone = [(await model.generate([request]))[0] for request in requests]
    return tuple(
        i for i, (a, b) in enumerate(zip(together, alone, strict=True)) if (a.text, a.finish) != (b.text, b.finish)
    )
