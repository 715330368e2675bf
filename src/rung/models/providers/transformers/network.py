"""The weights of a transformers model in memory, and what is computed with them, by one thread at a time."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rung.core.errors import ContextOverflow, InputError, ModelError
from rung.core.system.extras import require
from rung.core.types import Finish, Message, Reply, Sampling, ScoreRequest, Scores, Usage
from rung.models.adapters import adapters, weights
from rung.models.engine.closed.trie import Trie
from rung.models.engine.template import ChatTemplate

BRANCHES = 64
"""Candidates that are scored beside each other at most."""


@dataclass(frozen=True)
class Network:
    """Model, tokenizer and template. ``front`` are an adapter's virtual tokens: they begin every prompt, so such
    prompts are not padded beside others. ``stop``, where it is taken, is set when the caller has gone."""

    name: str
    model: Any
    tokenizer: Any
    template: ChatTemplate
    ends: tuple[int, ...]
    pad: int
    context: int
    device: str
    front: tuple[int, ...] = ()

    @property
    def torch(self) -> ModuleType:
        return require("torch", "transformers", f"the model {self.name}")

    def prompt(self, messages: Sequence[Message], room: int) -> tuple[int, ...]:
        """Tokens of a prompt. Raises ContextOverflow when it leaves less than ``room`` tokens of the window."""
        prompt = (*self.front, *self.template.tokens(messages))
        if len(prompt) + room > self.context:
            raise ContextOverflow(
                f"the prompt has {len(prompt):,} tokens, the context window of {self.name} is {self.context:,}",
                remedy="shorten the input, or set overflow: truncate in the task",
            )
        return prompt

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        stop: threading.Event,
        emit: Callable[[str], None] | None = None,
    ) -> list[Reply]:
        """Replies to prompts of one sampling, left-padded beside each other; ``emit`` gets the text of a single one as
        it comes."""
        torch = self.torch
        transformers = require("transformers", "transformers", f"the model {self.name}")
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        config = transformers.GenerationConfig(
            max_new_tokens=min(sampling.max_tokens, self.context - width),
            do_sample=sampling.temperature > 0,
            num_beams=sampling.beams,
            eos_token_id=list(self.ends),
            pad_token_id=self.pad,
            return_dict_in_generate=True,
            output_logits=sampling.logprobs,
            **(drawn if sampling.temperature > 0 else {}),
        )
        watch = _Watch(self, width, sampling.stop, stop, emit)
        if sampling.temperature > 0 and sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        started, cpu = time.monotonic(), time.process_time()
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                generation_config=config,
                stopping_criteria=transformers.StoppingCriteriaList([watch]),
            )
        share = 1 / len(prompts)
        spent = ((time.monotonic() - started) * share, (time.process_time() - cpu) * share)
        replies = []
        for row, prompt in enumerate(prompts):
            text, finish, written = self._written(out.sequences[row, width:].tolist(), sampling.stop, stop)
            usage = Usage(1, len(prompt), len(written), 0, *spent)
            logprobs = self._logprobs(out, row, written, sampling.beams) if sampling.logprobs else None
            texts = tuple(self.decode([token]) for token in written) if sampling.logprobs else ()
            replies.append(Reply(text, finish, usage, self.name, (), logprobs, tokens=texts))
        return replies

    def _written(
        self, tokens: Sequence[int], stops: Sequence[str], gone: threading.Event
    ) -> tuple[str, Finish, Sequence[int]]:
        """A reply's text, how it ended, and its tokens (the end token among them: it is counted, not read)."""
        end = next((at for at, token in enumerate(tokens) if token in self.ends), None)
        text = self.decode(tokens[:end])
        cut = _cut(text, stops)
        if end is not None:
            return text[:cut], "stop", tokens[: end + 1]
        if cut is None:
            return text, "cancelled" if gone.is_set() else "length", tokens
        # Rows that stopped early are padded to the batch's length.
        sizes = range(1, len(tokens) + 1)
        written = next(n for n in sizes if _cut(self.decode(tokens[:n]), stops) is not None)
        return text[:cut], "stop", tokens[:written]

    def _logprobs(self, out: Any, row: int, tokens: Sequence[int], beams: int) -> tuple[float, ...]:
        """The model's own log-probability of each written token (before temperature and cuts)."""
        values = []
        for at, token in enumerate(tokens):
            line = row if beams == 1 else int(out.beam_indices[row, at])
            values.append(float(self.torch.log_softmax(out.logits[at][line].float(), dim=-1)[token]))
        return tuple(values)

    def loss(self, text: str, window: int, stop: threading.Event) -> tuple[float, int]:
        """The summed loss of the text's tokens but the first, and how many they are."""
        torch = self.torch
        ids = self.template.plain(text)
        window = max(2, min(window, self.context - len(self.front)))
        total, count = 0.0, 0
        for start in range(0, len(ids) - 1, window - 1):
            if stop.is_set():
                raise ModelError("cancelled")
            piece = [*self.front, *ids[start : start + window]]
            with torch.inference_mode():
                logits = self.model(input_ids=torch.tensor([piece], device=self.device)).logits[0]
            first = len(self.front)
            targets = torch.tensor(piece[first + 1 :], device=self.device)
            total += float(torch.nn.functional.cross_entropy(logits[first:-1].float(), targets, reduction="sum"))
            count += len(targets)
        return total, count

    def recall(self, messages: Sequence[Message], text: str, stop: threading.Event) -> tuple[float, ...]:
        """The log-probability of each token of a reply, and of the one that ends it."""
        torch = self.torch
        if stop.is_set():
            raise ModelError("cancelled")
        reply = self.template.plain(text)
        prompt, rest = [*self.front, *reply[:1]], reply[1:]
        if messages:
            end = self.template.turn_end
            rest = [*reply, self.ends[0] if end is None else end]
            prompt = list(self.prompt(messages, len(rest)))
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *rest]], device=self.device)
            logits = self.model(input_ids=ids, logits_to_keep=len(rest) + 1).logits[0, :-1].float()
        picked = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])
        return tuple(float(value) for value in picked[:, 0])

    def score(self, request: ScoreRequest, stop: threading.Event) -> Scores:
        """The trie's log-probability of each candidate: one prefill, then all of them beside each other."""
        torch = self.torch
        if not request.candidates:
            raise InputError("a score request without candidates", remedy="give at least one candidate")
        if stop.is_set():
            raise ModelError("cancelled")
        end = self.template.turn_end
        end = self.ends[0] if end is None else end
        sequences = [(*self.template.plain(text), end) for text in request.candidates]
        longest = max(map(len, sequences))
        prompt = self.prompt(request.messages, longest)
        trie = Trie([sequence[:-1] for sequence in sequences], end)
        started, cpu = time.monotonic(), time.process_time()
        found: list[float] = []
        with torch.inference_mode():
            ids = torch.tensor([prompt], device=self.device)
            prefill = self.model(input_ids=ids, use_cache=True, logits_to_keep=1)
            first = prefill.logits[0, -1].float()
            for at in range(0, len(sequences), BRANCHES):
                found += self._branches(trie, sequences[at : at + BRANCHES], len(prompt), prefill, first)
        top = max(found)
        total = top + math.log(math.fsum(math.exp(value - top) for value in _distinct(sequences, found)))
        logprobs = tuple(value - total for value in found)
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        usage = Usage(1, len(prompt) + sum(map(len, sequences)), 0, 0, seconds, cpu_seconds)
        return Scores(logprobs, max(range(len(logprobs)), key=logprobs.__getitem__), usage)

    def _branches(
        self, trie: Trie, sequences: Sequence[Sequence[int]], past: int, prefill: Any, first: Any
    ) -> list[float]:
        """The trie's log-probability of each sequence, whose tokens are fed beside each other after the prompt's
        cache."""
        torch = self.torch
        fed = max(len(sequence) for sequence in sequences) - 1
        logits = None
        if fed:
            ids = torch.full((len(sequences), fed), self.pad, dtype=torch.long)
            mask = torch.zeros((len(sequences), past + fed), dtype=torch.long)
            mask[:, :past] = 1
            for row, sequence in enumerate(sequences):
                ids[row, : len(sequence) - 1] = torch.tensor(sequence[:-1])
                mask[row, past : past + len(sequence) - 1] = 1
            cache = copy.deepcopy(prefill.past_key_values)
            cache.batch_repeat_interleave(len(sequences))
            positions = torch.arange(past, past + fed).expand(len(sequences), fed)
            logits = self.model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                position_ids=positions.to(self.device),
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
        network: Network,
        width: int,
        stops: Sequence[str],
        gone: threading.Event,
        emit: Callable[[str], None] | None,
    ) -> None:
        self._network, self._width, self._stops, self._gone, self._emit = network, width, stops, gone, emit
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
            ended = next((at for at, token in enumerate(tokens) if token in self._network.ends), None)
            text = self._network.decode(tokens[:ended])
            cut = _cut(text, self._stops)
            done[row] = cut is not None
            if self._emit is not None:
                sure = text[:cut] if cut is not None else text[: len(text) - self._hold].rstrip("\ufffd")
                if len(sure) > self._sent:
                    self._emit(sure[self._sent :])
                    self._sent = len(sure)
        return done


def load(path: Path, name: str, context: int, adapter: Path | None = None) -> Network:
    """Read the weights (and put ``adapter`` on them); ``context`` is the window where the model names none."""
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
    template = ChatTemplate(
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
    return Network(name, model, tokenizer, template, unique, int(pad), int(longest), device, front)


def _cut(text: str, stops: Sequence[str]) -> int | None:
    return min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=None)


def _distinct(sequences: Sequence[Sequence[int]], values: Sequence[float]) -> list[float]:
    """One value for each different sequence: candidates that are the same tokens share one probability."""
    return list({tuple(sequence): value for sequence, value in zip(sequences, values, strict=True)}.values())
