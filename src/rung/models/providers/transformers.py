"""Any causal language model that Hugging Face transformers reads, on the GPU where there is one, else the CPU.

``transformers:FOLDER`` (config.json and safetensors), ``transformers:FILE.gguf``, ``transformers:smollm2-135m`` (the embedded
weights), ``transformers:owner/name`` or ``hf:owner/name`` (pulled before), or the folder of an adapter (PEFT, or bottleneck
modules: see adapters.py), which is put on the base that it names. Weights that are stored quantised (GGUF) are
computed in bfloat16, others in the type they are stored in. One call is computed at a time; greedy requests of a call share
a left-padded batch, seeded ones run one by one so that their draws depend on nothing else.

Scores mean what they mean in the embedded engine: see trie.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rung.core.codec import digest
from rung.core.errors import ContextOverflow, InputError, ModelError, RungError, Unsupported
from rung.core.extras import require
from rung.core.program import file_hash
from rung.core.settings import Settings
from rung.core.types import Capabilities, Chunk, Finish, Message, Reply, Request, ScoreRequest, Scores, Usage
from rung.models import hub
from rung.models.adapters import adapters, weights
from rung.models.engine.template import Template
from rung.models.engine.trie import Trie
from rung.models.providers.hosted import settle

T = TypeVar("T")

BATCH_TOKENS = 16_384
"""Padded tokens (prompt and reply) of one generate batch at most."""

BRANCHES = 64
"""Candidates that are scored beside each other at most."""


@dataclass(frozen=True)
class _Loaded:
    model: Any
    tokenizer: Any
    template: Template
    ends: tuple[int, ...]
    pad: int
    context: int
    device: str
    front: tuple[int, ...] = ()
    """Virtual tokens of an adapter: they begin every prompt, so such prompts are not padded beside others."""


class TransformersModel:
    """``core.protocols.Model`` over a transformers model. Loads on first use; safe for concurrent callers."""

    def __init__(self, name: str, path: Path, adapter: Path | None = None) -> None:
        self.name = f"transformers:{name}"
        self.path, self.adapter = path, adapter
        self._files = _weight_files(path)
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rung-transformers")
        self._context = _context(path)

    @property
    def fingerprint(self) -> str:
        version = require("transformers", "transformers", f"the model {self.name}").__version__
        beside = adapters.fingerprint(self.adapter) if self.adapter is not None else {}
        return digest(["transformers", version, {file.name: file_hash(file) for file in self._files}, *beside.values()])

    @property
    def capabilities(self) -> Capabilities:
        context = self._loaded.context if self._loaded is not None else self._context
        return Capabilities(score=True, logprobs=True, beams=True, seed=True, context=context, local=True)

    def __repr__(self) -> str:
        return f"<TransformersModel {self.name}>"

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that asks for the next assistant message."""
        return len(self._load().template.tokens(messages))

    async def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._loaded = None

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in order. A prompt that leaves no room in the context window fails that request."""
        stop = threading.Event()
        return settle(await self._run(partial(self._generate, requests, stop), stop), self.name)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Every candidate expanded: exact log-probabilities, from one prefill a request and one batch of branches."""
        stop = threading.Event()
        return await self._run(lambda: [self._score(request, stop) for request in requests], stop)

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
        """For each text the summed natural-log loss of its tokens but the first, and how many they are: exp(sum / count) is the
        perplexity. A text longer than ``window`` tokens is cut; each piece begins with the last token of the one before, which
        is its only context. Text is read plainly, without a chat template."""
        stop = threading.Event()
        return await self._run(lambda: [self._loss(text, window, stop) for text in texts], stop)

    async def recall(self, replies: Sequence[tuple[Sequence[Message], str]]) -> list[tuple[float, ...]]:
        """For each (messages, reply) the log-probability of every token of the reply and of the one that ends it. Without
        messages the reply is a plain text, its first token the prompt. Raises ContextOverflow for what is too long."""
        stop = threading.Event()
        return await self._run(lambda: [self._recall(messages, text, stop) for messages, text in replies], stop)

    async def _run(self, work: Callable[[], T], stop: threading.Event) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            stop.set()  # a cancelled caller frees the worker at the next token

    # ------------------------------------------------------------ in the worker's thread

    def _load(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self.path, self.name, self._context, self.adapter)
            return self._loaded

    def _prompt(self, messages: Sequence[Message], room: int) -> tuple[int, ...]:
        loaded = self._load()
        prompt = (*loaded.front, *loaded.template.tokens(messages))
        if len(prompt) + room > loaded.context:
            raise ContextOverflow(
                f"the prompt has {len(prompt):,} tokens, the context window of {self.name} is {loaded.context:,}",
                remedy="shorten the input, or set overflow: truncate in the task",
            )
        return prompt

    def _check(self, request: Request) -> None:
        sampling = request.sampling
        if sampling.max_tokens < 1 or sampling.beams < 1 or sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
            raise InputError(
                f"got {sampling}",
                remedy="expected max_tokens >= 1, beams >= 1, temperature >= 0, top_p above 0 and at most 1",
            )
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
                prompt = self._prompt(request.messages, 1)
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
                replies = self._batch([prompt for _, prompt in batch], requests[batch[0][0]], stop, None)
                for (i, _), reply in zip(batch, replies, strict=True):
                    results[i] = reply
        return results

    def _stream(self, request: Request, emit: Callable[[str], None], stop: threading.Event) -> Reply:
        self._check(request)
        prompt = self._prompt(request.messages, 1)
        return self._batch([prompt], request, stop, emit if request.sampling.beams == 1 else None)[0]

    def _batch(
        self,
        prompts: Sequence[Sequence[int]],
        request: Request,
        stop: threading.Event,
        emit: Callable[[str], None] | None,
    ) -> list[Reply]:
        """Generate for prompts under one sampling."""
        torch = require("torch", "transformers", f"the model {self.name}")
        transformers = require("transformers", "transformers", f"the model {self.name}")
        loaded, sampling = self._load(), request.sampling
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), loaded.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        sampled = sampling.temperature > 0
        config = transformers.GenerationConfig(
            max_new_tokens=min(sampling.max_tokens, loaded.context - width),
            do_sample=sampled,
            num_beams=sampling.beams,
            eos_token_id=list(loaded.ends),
            pad_token_id=loaded.pad,
            return_dict_in_generate=True,
            output_logits=sampling.logprobs,
            **(
                {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
                if sampled
                else {}
            ),
        )
        watch = _Watch(loaded, width, sampling.stop, stop, emit)
        if sampled and sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        started, cpu = time.monotonic(), time.process_time()
        with torch.inference_mode():
            out = loaded.model.generate(
                input_ids=ids.to(loaded.device),
                attention_mask=mask.to(loaded.device),
                generation_config=config,
                stopping_criteria=transformers.StoppingCriteriaList([watch]),
            )
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        replies = []
        for row, prompt in enumerate(prompts):
            tokens = out.sequences[row, width:].tolist()
            end = next((at for at, token in enumerate(tokens) if token in loaded.ends), None)
            kept = tokens if end is None else tokens[:end]  # what is read; the end token is counted, not read
            text = _decode(loaded, kept)
            cut = _cut(text, sampling.stop)
            finish: Finish = (
                "stop" if end is not None or cut is not None else "cancelled" if stop.is_set() else "length"
            )
            written = len(tokens) if end is None else end + 1
            if end is None and cut is not None:  # rows that stopped early are padded to the batch's length
                written = next(
                    n for n in range(1, len(tokens) + 1) if _cut(_decode(loaded, tokens[:n]), sampling.stop) is not None
                )
                kept = tokens[:written]
            logprobs = None
            if sampling.logprobs:
                logprobs = _logprobs(torch, out, row, tokens[:written], beams=sampling.beams)
            share = 1 / len(prompts)
            usage = Usage(1, len(prompt), written, 0, seconds * share, cpu_seconds * share)
            replies.append(Reply(text if cut is None else text[:cut], finish, usage, self.name, (), logprobs))
        return replies

    def _loss(self, text: str, window: int, stop: threading.Event) -> tuple[float, int]:
        torch = require("torch", "transformers", f"the model {self.name}")
        loaded = self._load()
        ids = loaded.template.plain(text)
        window = max(2, min(window, loaded.context - len(loaded.front)))
        total, count = 0.0, 0
        for start in range(0, len(ids) - 1, window - 1):
            if stop.is_set():
                raise ModelError("cancelled")
            piece = [*loaded.front, *ids[start : start + window]]
            with torch.inference_mode():
                logits = loaded.model(input_ids=torch.tensor([piece], device=loaded.device)).logits[0]
            first = len(loaded.front)
            targets = torch.tensor(piece[first + 1 :], device=loaded.device)
            total += float(torch.nn.functional.cross_entropy(logits[first:-1].float(), targets, reduction="sum"))
            count += len(targets)
        return total, count

    def _recall(self, messages: Sequence[Message], text: str, stop: threading.Event) -> tuple[float, ...]:
        torch = require("torch", "transformers", f"the model {self.name}")
        if stop.is_set():
            raise ModelError("cancelled")
        loaded = self._load()
        reply = loaded.template.plain(text)
        prompt, rest = [*loaded.front, *reply[:1]], reply[1:]
        if messages:
            end = loaded.template.turn_end
            rest = [*reply, loaded.ends[0] if end is None else end]
            prompt = list(self._prompt(messages, len(rest)))
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *rest]], device=loaded.device)
            logits = loaded.model(input_ids=ids, logits_to_keep=len(rest) + 1).logits[0, :-1].float()
        picked = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])
        return tuple(float(value) for value in picked[:, 0])

    def _score(self, request: ScoreRequest, stop: threading.Event) -> Scores:
        torch = require("torch", "transformers", f"the model {self.name}")
        if not request.candidates:
            raise InputError("a score request without candidates", remedy="give at least one candidate")
        if stop.is_set():
            raise ModelError("cancelled")
        loaded = self._load()
        end = loaded.template.turn_end
        end = loaded.ends[0] if end is None else end
        sequences = [(*loaded.template.plain(text), end) for text in request.candidates]
        longest = max(map(len, sequences))
        prompt = self._prompt(request.messages, longest)
        trie = Trie([sequence[:-1] for sequence in sequences], end)
        started, cpu = time.monotonic(), time.process_time()
        found: list[float] = []
        with torch.inference_mode():
            ids = torch.tensor([prompt], device=loaded.device)
            prefill = loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1)
            first = prefill.logits[0, -1].float()
            for at in range(0, len(sequences), BRANCHES):
                found += self._branches(torch, loaded, trie, sequences[at : at + BRANCHES], len(prompt), prefill, first)
        top = max(found)
        total = top + math.log(math.fsum(math.exp(value - top) for value in _distinct(sequences, found)))
        logprobs = tuple(value - total for value in found)
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        usage = Usage(1, len(prompt) + sum(map(len, sequences)), 0, 0, seconds, cpu_seconds)
        return Scores(logprobs, max(range(len(logprobs)), key=logprobs.__getitem__), usage)

    def _branches(
        self,
        torch: Any,
        loaded: _Loaded,
        trie: Trie,
        sequences: Sequence[Sequence[int]],
        past: int,
        prefill: Any,
        first: Any,
    ) -> list[float]:
        """The trie's log-probability of each sequence, whose tokens are fed beside each other after the prompt's cache."""
        import copy

        fed = max(len(sequence) for sequence in sequences) - 1
        logits = None
        if fed:
            ids = torch.full((len(sequences), fed), loaded.pad, dtype=torch.long)
            mask = torch.zeros((len(sequences), past + fed), dtype=torch.long)
            mask[:, :past] = 1
            for row, sequence in enumerate(sequences):
                ids[row, : len(sequence) - 1] = torch.tensor(sequence[:-1])
                mask[row, past : past + len(sequence) - 1] = 1
            cache = copy.deepcopy(prefill.past_key_values)
            cache.batch_repeat_interleave(len(sequences))
            positions = torch.arange(past, past + fed).expand(len(sequences), fed)
            logits = loaded.model(
                input_ids=ids.to(loaded.device),
                attention_mask=mask.to(loaded.device),
                position_ids=positions.to(loaded.device),
                past_key_values=cache,
                use_cache=True,
            ).logits
        out = []
        for row, sequence in enumerate(sequences):
            value, node = 0.0, 0
            for at, token in enumerate(sequence):
                choices = trie.children[node]
                if len(choices) > 1:
                    here = first if at == 0 or logits is None else logits[row, at - 1].float()
                    among = torch.log_softmax(here[list(choices)], dim=-1)
                    value += float(among[list(choices).index(token)])
                node = choices[token]
            out.append(value)
        return out


class _Watch:
    """Ends generation at a stop text or when the caller has gone, and gives out text as it becomes certain."""

    def __init__(
        self,
        loaded: _Loaded,
        width: int,
        stops: Sequence[str],
        gone: threading.Event,
        emit: Callable[[str], None] | None,
    ) -> None:
        self._loaded, self._width, self._stops, self._gone, self._emit = loaded, width, stops, gone, emit
        self._sent = 0
        self._hold = max((len(stop) - 1 for stop in stops), default=0)

    def __call__(self, ids: Any, scores: Any) -> Any:
        torch = require("torch", "transformers", "generation")
        if self._gone.is_set():
            return torch.ones(ids.shape[0], dtype=torch.bool, device=ids.device)
        done = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
        if not self._stops and self._emit is None:
            return done
        for row in range(ids.shape[0]):
            tokens = ids[row, self._width :].tolist()
            ended = next((at for at, token in enumerate(tokens) if token in self._loaded.ends), None)
            text = _decode(self._loaded, tokens[:ended])
            cut = _cut(text, self._stops)
            done[row] = cut is not None
            if self._emit is not None:
                sure = text[:cut] if cut is not None else text[: len(text) - self._hold].rstrip("\ufffd")
                if len(sure) > self._sent:
                    self._emit(sure[self._sent :])
                    self._sent = len(sure)
        return done


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


def _load(path: Path, name: str, context: int, adapter: Path | None = None) -> _Loaded:
    torch = require("torch", "transformers", f"the model {name}")
    transformers = require("transformers", "transformers", f"the model {name}")
    model, tokenizer = weights.read(path, f"the model {name}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    front: tuple[int, ...] = ()
    if adapter is not None:
        model, front = adapters.attach(model, adapter)
    model.to(device).eval()
    own = model.generation_config.eos_token_id
    ends = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
    # A model's own sampling defaults must not leak into what was asked for.
    model.generation_config = transformers.GenerationConfig()
    control = {str(added): index for index, added in tokenizer.added_tokens_decoder.items() if added.special}
    template = Template(
        tokenizer.chat_template or "",
        control,
        lambda texts: tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else [],
        bos=tokenizer.bos_token or "",
        eos=tokenizer.eos_token or "",
    )
    if template.turn_end is not None:
        ends.append(template.turn_end)
    unique = tuple(dict.fromkeys(int(end) for end in ends if end is not None))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else unique[0]
    longest = getattr(model.config, "max_position_embeddings", None) or context
    return _Loaded(model, tokenizer, template, unique, int(pad), int(longest), device, front)


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
            from rung.models.engine import gguf

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


def _decode(loaded: _Loaded, tokens: Sequence[int]) -> str:
    return str(loaded.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _cut(text: str, stops: Sequence[str]) -> int | None:
    return min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=None)


def _logprobs(torch: Any, out: Any, row: int, tokens: Sequence[int], *, beams: int) -> tuple[float, ...]:
    """The model's own log-probability of each written token (before temperature and cuts)."""
    values = []
    for at, token in enumerate(tokens):
        line = row if beams == 1 else int(out.beam_indices[row, at])
        values.append(float(torch.log_softmax(out.logits[at][line].float(), dim=-1)[token]))
    return tuple(values)


def _distinct(sequences: Sequence[Sequence[int]], values: Sequence[float]) -> list[float]:
    """One value for each different sequence: candidates that are the same tokens share one probability."""
    return list({tuple(sequence): value for sequence, value in zip(sequences, values, strict=True)}.values())
