"""The jobs that the scheduler runs: decoding one token after another, reading a reply that is given, beam search, and
scoring a closed set of candidates."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rung.core.errors import ModelError, RungError
from rung.core.types import Finish, Reply, Sampling, Scores, Usage
from rung.models.engine.closed.grammar import Mask
from rung.models.engine.closed.trie import TIE, Search, Trie
from rung.models.engine.schedule import Cost, Feed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Words:
    """The vocabulary: ``pieces`` are the bytes each token stands for (control tokens: none), ``ends`` close an
    answer."""

    pieces: Sequence[bytes]
    ends: frozenset[int]

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest piece."""
        return max(map(len, self.pieces), default=1) or 1

    def texts(self, tokens: Sequence[int]) -> tuple[str, ...]:
        """The text of each token, by itself."""
        return tuple(self.pieces[token].decode("utf-8", "replace") for token in tokens)


class Text:
    """Tokens to text as they come: bytes that do not yet make a character are held back."""

    def __init__(self, words: Words, stop: Sequence[str]) -> None:
        self._words = words
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = [s for s in stop if s]
        self._hold = max((len(s) - 1 for s in self._stop), default=0)
        self.text = ""
        self.sent = 0
        self.stopped = False

    def add(self, token: int, *, last: bool = False) -> str:
        """Take a token; returns the text that can be sent now. Stop strings end the text and are cut from it."""
        before = len(self.text)
        self.text += self._decoder.decode(b"" if token in self._words.ends else self._words.pieces[token], last)
        for stop in self._stop:
            at = self.text.find(stop, max(0, before - len(stop) + 1))
            if at >= 0:
                self.text, self.stopped = self.text[:at], True
        end = len(self.text) if last or self.stopped else max(self.sent, len(self.text) - self._hold)
        piece = self.text[self.sent : end]
        self.sent = max(self.sent, end)
        return piece

    def close(self) -> str:
        """The rest, with incomplete characters replaced."""
        if not self.stopped:
            self.text += self._decoder.decode(b"", True)
        piece = self.text[self.sent :]
        self.sent = len(self.text)
        return piece


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Natural-log probabilities over the last axis, in double precision."""
    import numpy as np

    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


FAINT = 30.0
"""Tokens less probable than exp(-FAINT) of the best are never drawn: of 50,000 they are 5e-9 of all at most."""


def draw(logits: NDArray[np.float32], sampling: Sampling, random: np.random.Generator) -> int:
    """One token: top-k, then temperature, then top-p (Holtzman et al. 2020), over logits of shape (vocabulary,)."""
    import numpy as np

    top = logits.max()
    if not np.isfinite(top):
        return int(logits.argmax())
    if 0 < sampling.top_k < len(logits):
        index = np.sort(np.argpartition(logits, -sampling.top_k)[-sampling.top_k :])
    else:
        index = np.flatnonzero(logits >= top - FAINT * sampling.temperature)
    p = np.exp((logits[index].astype(np.float64) - float(top)) / sampling.temperature)
    p /= p.sum()
    if sampling.top_p < 1:
        # Tokens below this share sum to less than 1 - top_p, so the likely ones reach top_p without them: few are
        # sorted.
        likely = p >= (1 - sampling.top_p) / len(p)
        index, p = index[likely], p[likely]
    if sampling.top_k or sampling.top_p < 1:
        order = np.argsort(-logits[index], kind="stable")
        index, p = index[order], p[order]
    if sampling.top_p < 1:
        keep = int(np.searchsorted(np.cumsum(p), sampling.top_p)) + 1
        index, p = index[:keep], p[:keep]
    cumulative = np.cumsum(p)
    at = int(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"))
    return int(index[min(at, len(index) - 1)])


class _Job:
    """What decoding jobs share: the prompt, the cost, and the future that gets the Reply."""

    width = 1
    adapter = 0

    def __init__(self, prompt: tuple[int, ...], room: int, name: str) -> None:
        self.prompt = prompt
        self.room = room
        self.cost = Cost()
        self.future: Future[Reply] = Future()
        self._name = name

    def _usage(self, completion: int) -> Usage:
        return Usage(
            calls=1,
            prompt_tokens=len(self.prompt),
            completion_tokens=completion,
            cached_tokens=self.cost.cached,
            seconds=self.cost.seconds,
            cpu_seconds=self.cost.cpu_seconds,
        )

    def _settle(self, error: BaseException | None, reply: Callable[[], Reply]) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(reply())
        elif isinstance(error, RungError):
            self.future.set_exception(error)
        else:
            self.future.set_exception(ModelError(f"the embedded engine failed: {type(error).__name__}: {error}"))


class Decode(_Job):
    """Greedy decoding (temperature 0) or sampling. ``emit`` is called with each new piece of text, from the engine's
    thread."""

    def __init__(
        self,
        prompt: tuple[int, ...],
        room: int,
        name: str,
        words: Words,
        sampling: Sampling,
        mask: Mask | None,
        emit: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(prompt, room, name)
        self._words, self._sampling, self._mask, self._emit = words, sampling, mask, emit
        self._text = Text(words, sampling.stop)
        self._tokens: list[int] = []
        self._logprobs: list[float] = []
        self._random: np.random.Generator | None = None
        self._finish: Finish = "stop"
        self.first = 0.0

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        import numpy as np

        row = logits[0]
        if self._mask is not None:
            row = np.where(self._mask.allowed(), row, np.float32(-np.inf))
        if self._sampling.temperature > 0:
            if self._random is None:
                self._random = np.random.default_rng(self._sampling.seed)
            token = draw(row, self._sampling, self._random)
        else:
            top = row.max()
            token = int((row >= top - TIE).argmax()) if np.isfinite(top) else int(row.argmax())
        if not np.isfinite(row[token]):
            raise ModelError(f"the model gave the logit {row[token]} (broken weights or an impossible form)")
        if self._sampling.logprobs:
            self._logprobs.append(float(log_softmax(logits[0])[token]))
        if not self._tokens:
            self.first = time.perf_counter()
        self._tokens.append(token)
        ended = token in self._words.ends
        if not ended:
            piece = self._text.add(token)
            if piece and self._emit is not None:
                self._emit(piece)
            if self._mask is not None:
                self._mask.take(token)
                ended = self._mask.complete
        if ended or self._text.stopped:
            return ()
        if len(self._tokens) >= self.room:
            self._finish = "length"
            return ()
        return (Feed((token,), len(self._tokens) - 1),)

    def finish(self, error: BaseException | None) -> None:
        piece = self._text.close()
        if piece and self._emit is not None and error is None:
            self._emit(piece)
        self._settle(
            error,
            lambda: Reply(
                self._text.text,
                self._finish,
                self._usage(len(self._tokens)),
                self._name,
                logprobs=tuple(self._logprobs) if self._sampling.logprobs else None,
                tokens=self._words.texts(self._tokens) if self._sampling.logprobs else (),
                ids=tuple(self._tokens) if self._sampling.logprobs else (),
            ),
        )


class Recall(_Job):
    """Reads a reply that is given, one token after another as decoding does; the Reply has its tokens'
    log-probabilities."""

    def __init__(self, prompt: tuple[int, ...], tokens: tuple[int, ...], name: str) -> None:
        super().__init__(prompt, len(tokens), name)
        self._tokens = tokens
        self._logprobs: list[float] = []

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        place = len(self._logprobs)
        self._logprobs.append(float(log_softmax(logits[0])[self._tokens[place]]))
        return (Feed((self._tokens[place],), place),) if place + 1 < len(self._tokens) else ()

    def finish(self, error: BaseException | None) -> None:
        usage = self._usage(len(self._tokens))
        self._settle(error, lambda: Reply("", "stop", usage, self._name, logprobs=tuple(self._logprobs)))


@dataclass(frozen=True)
class _Beam:
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    mask: Mask | None


class Beams(_Job):
    """Beam search: the hypothesis with the highest mean log-probability a token, as in transformers' ``generate`` with
    ``length_penalty`` 1 and ``early_stopping`` False. Under a form every beam carries its own mask."""

    def __init__(
        self, prompt: tuple[int, ...], room: int, name: str, words: Words, sampling: Sampling, mask: Mask | None
    ) -> None:
        super().__init__(prompt, room, name)
        self.width = sampling.beams
        self._words, self._sampling = words, sampling
        self._beams = [_Beam((), (), 0.0, mask)]
        self._done: list[tuple[float, _Beam, Finish]] = []

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        import numpy as np

        width = self.width
        options: list[tuple[float, int, int, float]] = []
        raw = log_softmax(logits)
        for i, beam in enumerate(self._beams):
            row = raw[i] if beam.mask is None else np.where(beam.mask.allowed(), raw[i], -np.inf)
            most = min(2 * width, len(row))
            best = np.argpartition(row, -most)[-most:]
            options += [(beam.score + float(row[t]), i, int(t), float(row[t])) for t in best if np.isfinite(row[t])]
        options.sort(key=lambda o: (-round(o[0] / TIE), o[1], o[2]))
        live: list[tuple[_Beam, int]] = []
        for rank, (score, i, token, logprob) in enumerate(options):
            beam = self._beams[i]
            tokens, logprobs = (*beam.tokens, token), (*beam.logprobs, logprob)
            if token in self._words.ends:
                if rank < width:  # an end below the best ``width`` is no hypothesis
                    self._keep(_Beam(tokens, logprobs, score, None), "stop")
                continue
            mask = None if beam.mask is None else beam.mask.copy()
            if mask is not None:
                mask.take(token)
            new = _Beam(tokens, logprobs, score, mask)
            if (mask is not None and mask.complete) or self._cut(tokens):
                self._keep(new, "stop")
            else:
                live.append((new, i))
            if len(live) == width:
                break
        length = len(self._beams[0].tokens) + 1
        if length >= self.room:
            for beam, _ in live:
                self._keep(beam, "length")
            live = []
        elif live and len(self._done) >= width and self._done[width - 1][0] >= live[0][0].score / length:
            live = []
        self._beams = [beam for beam, _ in live]
        return [Feed((beam.tokens[-1],), length - 1, parent) for beam, parent in live]

    def _keep(self, beam: _Beam, finish: Finish) -> None:
        self._done.append((beam.score / len(beam.tokens), beam, finish))
        self._done.sort(key=lambda item: -item[0])
        del self._done[self.width :]

    def _cut(self, tokens: Sequence[int]) -> bool:
        return bool(self._sampling.stop) and self._read(tokens).stopped

    def _read(self, tokens: Sequence[int]) -> Text:
        text = Text(self._words, self._sampling.stop)
        for token in tokens:
            if not text.stopped:
                text.add(token)
        text.close()
        return text

    def finish(self, error: BaseException | None) -> None:
        if error is None and not self._done:
            error = ModelError("beam search found no complete answer")
        self._settle(error, self._reply)

    def _reply(self) -> Reply:
        _, beam, finish = self._done[0]
        logprobs, texts = (beam.logprobs, self._words.texts(beam.tokens)) if self._sampling.logprobs else (None, ())
        text, usage = self._read(beam.tokens).text, self._usage(len(beam.tokens))
        return Reply(text, finish, usage, self._name, logprobs=logprobs, tokens=texts)


class Scoring(_Job):
    """Best-first search over the candidates' trie, from one pass over the prompt."""

    def __init__(self, prompt: tuple[int, ...], trie: Trie, room: int, name: str) -> None:
        self.search = Search(trie)
        self._lead = self.search.chain  # tokens all candidates begin with: part of the prompt's pass
        super().__init__(prompt + self._lead, room, name)
        self._fed: tuple[int, ...] = ()
        self._count = 0
        self.scores: Future[Scores] = Future()

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        self.search.expand(logits[0])
        if self.search.done:
            return ()
        chain = self.search.chain[len(self._lead) :]
        keep = 0
        while keep < min(len(chain), len(self._fed)) and chain[keep] == self._fed[keep]:
            keep += 1
        keep = min(keep, len(chain) - 1)
        self._fed = chain
        self._count += len(chain) - keep
        return (Feed(chain[keep:], keep),)

    def finish(self, error: BaseException | None) -> None:
        if not self.scores.set_running_or_notify_cancel():
            return
        if error is None:
            self.scores.set_result(Scores(self.search.logprobs(), self.search.best, self._usage(self._count)))
        elif isinstance(error, RungError):
            self.scores.set_exception(error)
        else:
            self.scores.set_exception(ModelError(f"the embedded engine failed: {type(error).__name__}: {error}"))
