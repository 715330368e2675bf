"""Any causal language model that Hugging Face transformers reads, on the GPU where there is one, else the CPU.

``transformers:FOLDER`` (config.json and safetensors), ``transformers:FILE.gguf``, ``transformers:smollm2-135m`` (the
embedded weights), ``transformers:owner/name`` or ``hf:owner/name`` (pulled before), or the folder of an adapter (PEFT,
or bottleneck
modules: see adapters.py), which is put on the base that it names. Weights that are stored quantised (GGUF) are
computed in bfloat16, others in the type they are stored in. One call is computed at a time; greedy requests of a call
share a left-padded batch, seeded ones run one by one so that their draws depend on nothing else.

Scores mean what they mean in the embedded engine: see trie.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rung.core.codec import digest
from rung.core.errors import InputError, ModelError, RungError, Unsupported
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.core.types import Capabilities, Chunk, Message, Reply, Request, ScoreRequest, Scores
from rung.models import hub
from rung.models.adapters import adapters
from rung.models.providers.hosted import settle
from rung.models.providers.transformers.network import Network, load

T = TypeVar("T")

BATCH_TOKENS = 16_384
"""Padded tokens (prompt and reply) of one generate batch at most."""


class TransformersModel:
    """``core.protocols.Model`` over a transformers model. Loads on first use; safe for concurrent callers."""

    def __init__(self, name: str, path: Path, adapter: Path | None = None) -> None:
        self.name = f"transformers:{name}"
        self.path, self.adapter = path, adapter
        self._files = _weight_files(path)
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rung-transformers")
        self._context = _context(path)

    @property
    def fingerprint(self) -> str:
        version = require("transformers", "transformers", f"the model {self.name}").__version__
        beside = adapters.fingerprint(self.adapter) if self.adapter is not None else {}
        return digest(["transformers", version, {file.name: file_hash(file) for file in self._files}, *beside.values()])

    @property
    def capabilities(self) -> Capabilities:
        context = self._network.context if self._network is not None else self._context
        return Capabilities(score=True, logprobs=True, beams=True, seed=True, context=context, local=True)

    def __repr__(self) -> str:
        return f"<TransformersModel {self.name}>"

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that asks for the next assistant message."""
        return len(self._load().template.tokens(messages))

    async def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._network = None

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in order. A prompt that leaves no room in the context window fails that request."""
        stop = threading.Event()
        return settle(await self._run(partial(self._generate, requests, stop), stop), self.name)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Every candidate expanded: exact log-probabilities, from one prefill a request and one batch of branches."""
        stop = threading.Event()
        return await self._run(lambda: [self._load().score(request, stop) for request in requests], stop)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        stop = threading.Event()

        def emit(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        job = loop.run_in_executor(self._worker, partial(self._stream, request, emit, stop))
        job.add_done_callback(lambda _: pieces.put_nowait(None))
        sent = ""
        try:
            while (piece := await pieces.get()) is not None:
                sent += piece
                if piece:
                    yield Chunk(piece)
            reply = await job
            yield Chunk(reply.text[len(sent) :], reply)
        finally:
            stop.set()

    async def losses(self, texts: Sequence[str], window: int = 512) -> list[tuple[float, int]]:
        """For each text the summed natural-log loss of its tokens but the first, and how many they are: exp(sum /
        count) is the perplexity. A text longer than ``window`` tokens is cut; each piece begins with the last token of
        the one before, which is its only context. Text is read plainly, without a chat template."""
        stop = threading.Event()
        return await self._run(lambda: [self._load().loss(text, window, stop) for text in texts], stop)

    async def recall(self, replies: Sequence[tuple[Sequence[Message], str]]) -> list[tuple[float, ...]]:
        """For each (messages, reply) the log-probability of every token of the reply and of the one that ends it.
        Without messages the reply is a plain text, its first token the prompt. Raises ContextOverflow for what is too
        long."""
        stop = threading.Event()
        return await self._run(lambda: [self._load().recall(messages, text, stop) for messages, text in replies], stop)

    async def _run(self, work: Callable[[], T], stop: threading.Event) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            stop.set()  # a cancelled caller frees the worker at the next token

    # ------------------------------------------------------------ in the worker's thread

    def _load(self) -> Network:
        with self._lock:
            if self._network is None:
                self._network = load(self.path, self.name, self._context, self.adapter)
            return self._network

    def _check(self, request: Request) -> None:
        sampling = request.sampling
        sampling.check()
        if sampling.beams > 1 and sampling.temperature > 0:
            raise Unsupported("beam search does not sample", remedy="set temperature to 0, or beams to 1")
        if request.form.closed:
            raise Unsupported(
                f"{self.name} cannot decode under the form {request.form.kind!r}",
                remedy="score the labels, or use openvino:... (the same weights)",
            )
        if request.tools:
            raise Unsupported(f"{self.name} takes no tools", remedy="use openvino:... (the same weights)")

    def _generate(self, requests: Sequence[Request], stop: threading.Event) -> list[Reply | BaseException]:
        results: list[Reply | BaseException] = [ModelError("not computed")] * len(requests)
        groups: dict[Any, list[tuple[int, tuple[int, ...]]]] = {}
        for i, request in enumerate(requests):
            try:
                self._check(request)
                prompt = self._load().prompt(request.messages, 1)
            except (InputError, Unsupported) as error:
                if len(requests) == 1:
                    raise
                results[i] = ModelError(error.message, remedy=error.remedy)
                continue
            except ModelError as error:
                results[i] = error
                continue
            alone = i if request.sampling.temperature > 0 or self._load().front else -1
            groups.setdefault((request.sampling, alone), []).append((i, prompt))
        for (sampling, _), items in groups.items():
            items.sort(key=lambda item: len(item[1]))
            for batch in _batches(items, sampling.max_tokens, sampling.beams):
                replies = self._load().generate([prompt for _, prompt in batch], sampling, stop)
                for (i, _), reply in zip(batch, replies, strict=True):
                    results[i] = reply
        return results

    def _stream(self, request: Request, emit: Callable[[str], None], stop: threading.Event) -> Reply:
        self._check(request)
        prompt = self._load().prompt(request.messages, 1)
        return self._load().generate([prompt], request.sampling, stop, emit if request.sampling.beams == 1 else None)[0]


def open_model(name: str, settings: Settings) -> TransformersModel:
    """See the module. Raises FetchError when the weights are not there, MissingExtra, InputError."""
    require("transformers", "transformers", f"the model transformers:{name}")
    require("torch", "transformers", f"the model transformers:{name}")
    where = name
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).expanduser().exists():
        where = hub.HF_PREFIX + name
    path = hub.locate(where, settings.cache)
    if path.is_dir() and adapters.is_adapter(path):
        return TransformersModel(name, adapters.base_of(path, settings.cache), path)
    return TransformersModel(name, path)


def _weight_files(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path} holds no config.json", remedy="name a folder that save_pretrained wrote, or a *.gguf file"
        )
    files = [*sorted(path.glob("*.safetensors")), *sorted(path.glob("*.json")), *sorted(path.glob("*.jinja"))]
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(
            f"{path} holds no *.safetensors weights (pickled weights are refused: loading them runs code)",
            remedy="save the model again with save_pretrained",
        )
    return tuple(files)


def _context(path: Path) -> int:
    """The context window before anything heavy is loaded; 8192 where the file does not say."""
    try:
        if path.is_file():
            from rung.models.engine.files import gguf

            return int(gguf.read(path).context)
        return int(json.loads((path / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings", 8192))
    except (OSError, ValueError, TypeError, RungError):
        return 8192


def _batches(
    items: Sequence[tuple[int, tuple[int, ...]]], reply: int, beams: int
) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Consecutive items, shortest first, so that no padded batch passes BATCH_TOKENS."""
    out: list[list[tuple[int, tuple[int, ...]]]] = []
    for item in items:
        width = len(item[1]) + reply
        if out and (len(out[-1]) + 1) * width * beams <= BATCH_TOKENS:
            out[-1].append(item)
        else:
            out.append([item])
    return out
