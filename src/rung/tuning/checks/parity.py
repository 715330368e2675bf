"""The parity gate of what a tuning writes: each file is opened as a user would open it, and must say what was trained.

Compared on held-out rows (trained ones when none are held out): the log-probability of every token of the right
answers, and greedy answers to a few rows, which the trained weights judge token by token. Both start from the messages,
so that a wrong tokenizer or chat template shows as much as a wrong weight.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from rung.core.codec import decode, encode
from rung.core.errors import MissingExtra, ModelError, ParityError, RungError
from rung.core.protocols import Model
from rung.core.settings import Settings
from rung.core.system import memory
from rung.core.system.files import write_file
from rung.core.system.machine import machine
from rung.core.types import Message, Reply, Request, Sampling
from rung.models.engine.openvino import model as openvino
from rung.models.providers.transformers import model as transformers
from rung.tuning.batches import Chat, TokenRow, split
from rung.tuning.compute.session import Session, losses, states
from rung.tuning.trainer.recipe import Method
from rung.tuning.trainer.state import short_of_memory

if TYPE_CHECKING:
    from rung.tuning.work import Lessons

T = TypeVar("T")
FILE = "parity.json"
ROWS, ASKED, LENGTH = 16, 8, 48
"""Rows whose answers are compared, rows that are answered greedily, and tokens of such an answer at most."""
TOKENS = 1024
"""Tokens that are computed at once."""
LONGEST = 768
"""Tokens of a compared row: long ones only make the gate slow."""
PIECE = 600
"""Characters of a plain text that are compared."""

Talk = tuple[Sequence[Message], str]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is let through, beside the rounding of bfloat16: ``loss`` is how many nats a token the answers may cost more
    (or less) than in training, ``drift`` the mean distance of a token's log-probability, ``slack`` by how many nats a
    greedy token may be worse than the trained weights' own choice, and ``same`` the share of greedy answers that must
    keep within it."""

    loss: float
    drift: float
    slack: float
    same: float


EXACT = Allowed(0.05, 0.1, 0.5, 0.75)
COARSE = Allowed(0.4, 0.8, 5.0, 0.5)
LIMITS: Mapping[str, Allowed] = {
    "adapter": EXACT,
    "folder": EXACT,
    "f16": EXACT,
    "openvino": EXACT,
    "q8": Allowed(0.05, 0.15, 0.75, 0.75),
    "q4": COARSE,
    "qlora": COARSE,  # its adapter: trained over a base of 4 bits, used over the base itself
}
"""About twice what was measured on the embedded model of 135M parameters (docs/results): a smaller one loses more in 4
bits."""


@dataclass(frozen=True, slots=True)
class ExportParity:
    """One export beside what was trained: mean loss a token of ``tokens`` answer tokens in ``rows`` rows, before
    (``loss``) and from the file (``after``), ``drift`` as in Allowed; of ``asked`` greedy answers ``same`` kept within
    the slack."""

    verdict: Literal["passed", "failed", "not checked"]
    rows: int = 0
    tokens: int = 0
    held_out: bool = False
    loss: float = 0.0
    after: float = 0.0
    drift: float = 0.0
    asked: int = 0
    same: int = 0
    why: str = ""

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.verdict}: {self.why}"
        where = "held-out" if self.held_out else "training"
        said = f"{self.verdict}: loss {self.loss:.4f} -> {self.after:.4f} on {self.rows} {where} rows, drift {self.drift:.4f}"
        if self.asked:
            said += f", {self.same} of {self.asked} greedy answers the trained weights' own"
        return f"{said}; {self.why}" if self.why else said


@dataclass(frozen=True, slots=True)
class Rounding:
    """What computing in bfloat16 changes on the compared rows, apart from any export: the mean loss a token by
    ``loss``, a token's log-probability by ``drift`` on average. Zero where neither the training nor the engine rounds
    so."""

    loss: float = 0.0
    drift: float = 0.0


class Reference:
    """What was trained, ready to be compared with: ``session`` holds it, and is only read.

    It is computed in float32, whatever the training computed in: an export is not wrong because it is more precise.
    Engines compute in bfloat16 where the processor does, so what that changes is measured and let through.
    """

    def __init__(self, session: Session, chat: Chat, method: Method, lessons: Lessons) -> None:
        import torch

        self._session, self._chat, self._method = session, chat, method
        talks = [talk for _, messages in lessons.dev or lessons.conversations for talk in _last(messages)]
        most = min(PIECE, chat.window // 4)  # a character is four tokens at most
        texts = [text[:most] for _, text in lessons.dev_texts or lessons.texts]
        self._held_out = bool(lessons.dev or lessons.dev_texts)
        talks = [talk for talk in talks if self._length(talk) <= LONGEST] or sorted(talks, key=self._length)[:1]
        self._talks = _some(talks, ROWS)
        self._talks += [((), text) for text in _some(texts, ROWS) if len(chat.template.plain(text)) > 1]
        with session.computed_in(torch.float32):
            self._known = self._all_logprobs()
        self.rounding = Rounding()
        if machine().bfloat16:
            with session.computed_in(torch.bfloat16):
                rounded = self._all_logprobs()
            self.rounding = Rounding(*_distance(self._known, rounded))
        memory.release()

    def _all_logprobs(self) -> list[list[float]]:
        import torch

        rows = [
            replace(self._row(messages, self._chat.template.plain(text)), id=str(place))
            for place, (messages, text) in enumerate(self._talks)
        ]
        out: list[list[float]] = [[] for _ in rows]
        self._session.model.eval()
        with torch.no_grad():
            for batch in split(self._session.front(rows), TOKENS):
                found = iter((-losses(self._session, batch)).tolist())
                for row in batch.members:
                    out[int(row.id)] = list(islice(found, row.answers))
        return out

    def _length(self, talk: Talk) -> int:
        return len(self._chat.prompt(talk[0])) + len(self._chat.template.plain(talk[1]))

    def _row(self, messages: Sequence[Message], tokens: Sequence[int], *, end: bool = True) -> TokenRow:
        prompt, rest = list(tokens[:1]), list(tokens[1:])
        if messages:
            prompt, rest = self._chat.prompt(messages), [*tokens, self._chat.stop] if end else list(tokens)
        return TokenRow("", (*prompt, *rest), (False,) * len(prompt) + (True,) * len(rest))

    def regrets(self, replies: Sequence[Reply]) -> list[float]:
        """By how many nats the worst token of each greedy reply is less likely to the trained weights than their own
        choice. The replies are to the first messages that are compared."""
        import torch

        rows = []
        for place, ((messages, _), reply) in enumerate(zip(self._talks, replies, strict=False)):
            # Half a character: its text does not tell its tokens.
            text, broken, _ = reply.text.partition("\ufffd")
            row = self._row(messages, self._chat.template.plain(text), end=reply.finish == "stop" and not broken)
            rows.append(replace(row, id=str(place)))
        out = [0.0] * len(rows)
        with torch.no_grad(), self._session.computed_in(torch.float32):
            head = self._session.causal.get_output_embeddings().weight
            for batch in split(self._session.front([row for row in rows if row.answers]), TOKENS):
                logits = (states(self._session, batch) @ head.T).float()
                chosen = logits.gather(1, torch.from_numpy(batch.targets).to(logits.device)[:, None])[:, 0]
                found = iter((logits.amax(-1) - chosen).tolist())
                for row in batch.members:
                    out[int(row.id)] = max(islice(found, row.answers))
        return out

    def check(self, kind: str, place: Path, settings: Settings) -> ExportParity:
        """Open what was written and compare it."""
        limits = LIMITS[kind if (self._method, kind) != ("qlora", "adapter") else "qlora"]
        name = "transformers" if kind in ("adapter", "folder") else "openvino"
        try:
            found, replies = asyncio.run(_ask(f"{name}:{place}", self._talks, settings))
        except MissingExtra as error:
            return ExportParity("not checked", why=error.message)
        except (RungError, RuntimeError, MemoryError) as error:
            if short_of_memory(error):
                return ExportParity("not checked", why="there is too little memory to open it beside the training")
            if not isinstance(error, RungError):
                raise
            return ExportParity("failed", why=f"it cannot be opened and asked: {' '.join(error.message.split())}")
        counts = [(len(one), len(two)) for one, two in zip(found, self._known, strict=True)]
        if unlike := next((pair for pair in counts if pair[0] != pair[1]), None):
            return ExportParity("failed", why=f"it reads an answer as {unlike[0]} tokens, training had {unlike[1]}")
        regrets = self.regrets(replies)
        tokens = sum(len(one) for one in self._known)
        change, drift = _distance(self._known, found)
        loss = -math.fsum(value for one in self._known for value in one) / tokens
        same = sum(regret <= limits.slack for regret in regrets)
        out = ExportParity(
            "passed", len(counts), tokens, self._held_out, loss, loss + change, drift, len(regrets), same
        )
        return replace(out, verdict="failed", why="; ".join(faults)) if (faults := self._faults(out, limits)) else out

    def _faults(self, found: ExportParity, limits: Allowed) -> list[str]:
        """What a comparison shows beyond the limits and twice the measured rounding."""
        loss, drift = limits.loss + 2 * abs(self.rounding.loss), limits.drift + 2 * self.rounding.drift
        faults = []
        if not abs(found.after - found.loss) <= loss:
            faults.append(f"the loss may differ by {loss:.3g}")
        if not found.drift <= drift:
            faults.append(f"the drift may be {drift:.3g}")
        if found.same < limits.same * found.asked:
            faults.append(f"{limits.same:.0%} of the greedy answers must be within {limits.slack:g} nats a token")
        return faults


def _distance(known: Sequence[Sequence[float]], found: Sequence[Sequence[float]]) -> tuple[float, float]:
    """By how much the mean loss a token is higher in ``found`` than in ``known`` (log-probabilities by row), and the
    mean distance of a token's log-probability."""
    pairs = [pair for one, two in zip(known, found, strict=True) for pair in zip(one, two, strict=True)]
    change = math.fsum(before - after for before, after in pairs) / len(pairs)
    return change, math.fsum(abs(before - after) for before, after in pairs) / len(pairs)


async def answers(model: Model, asked: Sequence[Sequence[Message]], most: int) -> list[Reply]:
    """What a model answers greedily, in ``most`` tokens at most. Raises ModelError where it could not."""
    replies = await model.generate([Request(tuple(messages), Sampling(max_tokens=most)) for messages in asked])
    if bad := next((reply for reply in replies if reply.finish == "error"), None):
        raise ModelError(bad.text)
    return replies


async def _ask(name: str, talks: Sequence[Talk], settings: Settings) -> tuple[list[tuple[float, ...]], list[Reply]]:
    provider, _, place = name.partition(":")
    model = (openvino if provider == "openvino" else transformers).open_model(place, settings)
    try:
        found = await model.recall(talks)
        asked = [messages for messages, _ in talks if messages][:ASKED]
        return found, await answers(model, asked, LENGTH)
    finally:
        await model.close()


def _some(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items, evenly spread."""
    step = max(1.0, len(items) / count)
    return [items[int(place * step)] for place in range(min(count, len(items)))]


def _last(messages: Sequence[Message]) -> list[Talk]:
    """What stands before the last answer of a conversation, and that answer."""
    ends = [place for place, message in enumerate(messages) if message.role == "assistant" and message.content.strip()]
    return [(messages[: ends[-1]], messages[ends[-1]].content)] if ends else []


def read(folder: Path) -> dict[str, ExportParity]:
    """What was found out about the exports in a folder, by kind; nothing where the file is missing or damaged."""
    try:
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(kind): decode(ExportParity, found) for kind, found in document.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RungError):
        return {}


def save(folder: Path, found: Mapping[str, ExportParity]) -> None:
    """Write ``parity.json`` beside the exports."""
    write_file(folder / FILE, json.dumps({kind: encode(one) for kind, one in found.items()}, indent=1).encode())


def demand(found: Mapping[Path, ExportParity]) -> None:
    """Put files that failed under another name, and raise ParityError naming them."""
    failed = {place: one for place, one in found.items() if one.verdict == "failed"}
    for place in failed:
        refused = place.with_name(f"{place.name}.failed")
        shutil.rmtree(refused, ignore_errors=True) if refused.is_dir() else refused.unlink(missing_ok=True)
        place.replace(refused)
    if failed:
        listed = "\n".join(f"    {place.name}.failed: {one}" for place, one in failed.items())
        raise ParityError(
            f"{len(failed)} of {len(found)} exports do not say what was trained, and are kept under other names:\n{listed}",
            remedy="export a finer precision (q8, f16), or have it unchecked: --no-parity"
            if all(place.name.endswith("q4.gguf") for place in failed)
            else "train again at a lower learning rate, or have it unchecked: --no-parity",
        )
