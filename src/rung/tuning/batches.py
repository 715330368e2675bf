"""Rows to token batches: the engine's own chat text, a mask over everything but the answers, and micro-batches without
padding whose common prefix is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import FitError, Unsupported
from rung.core.system.extras import require
from rung.core.types import Message
from rung.models.engine.files import gguf
from rung.models.engine.template import ChatTemplate
from rung.tuning.weights import Base, quiet


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A conversation as tokens: ``ids`` and, for each, whether it is ``trained`` (predicted with loss)."""

    id: str
    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    @property
    def start(self) -> int:
        """Index of the first trained token."""
        return self.trained.index(True)

    @property
    def answers(self) -> int:
        return sum(self.trained)

    def __len__(self) -> int:
        return len(self.ids)


class Chat:
    """The chat template and tokenizer of a base: ids exactly as the engine makes them (its template code, the base's
    own tokenizer; pre-flight compares them with the engine's)."""

    def __init__(self, base: Base) -> None:
        transformers = require("transformers", "tuning", "reading a tokenizer")
        with quiet():
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base.folder)
        if base.gguf is not None:
            header = gguf.read(base.gguf)
            names = {index: text for text, index in header.control.items()}
            source, control = header.template, header.control
            eos, bos = names.get(header.eos, ""), names.get(header.bos, "") if header.bos is not None else ""
            stop = header.eos
            self.window = header.context
        else:
            added = self._tokenizer.added_tokens_decoder
            control = {token.content: index for index, token in added.items() if token.special}
            source, stop = self._tokenizer.chat_template or "", self._tokenizer.eos_token_id
            eos, bos = self._tokenizer.eos_token or "", self._tokenizer.bos_token or ""
            self.window = _window(base)
        try:
            self.template = ChatTemplate(source, control, self._encode, bos=bos, eos=eos)
        except Unsupported as error:
            raise FitError(error.message, remedy=error.remedy) from None
        self.stop: int = stop if self.template.turn_end is None else self.template.turn_end
        """The token that ends an assistant turn: the last one trained, and the one at which the engine stops."""

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids that the engine is sent for ``messages``."""
        return list(self.template.tokens(messages))

    def rows(self, id: str, messages: Sequence[Message]) -> list[TokenRow]:
        """Training rows of a conversation: every assistant turn that is to be learnt, with its end-of-turn token,
        nothing else.

        One row when the turns' tokens are the same one by one and together, else a row for each assistant turn, so that
        each is trained behind exactly the ids that the engine would send. Raises FitError when an answer is empty or
        there is none.
        """
        turns = [index for index, message in enumerate(messages) if message.role == "assistant" and message.learn]
        if not turns:
            raise FitError(
                f"row {id} has no assistant turn to learn, so there is nothing to learn", remedy="correct the row"
            )
        parts = []
        for index in turns:
            answer = messages[index].content
            if not answer.strip():
                raise FitError(f"row {id} has an empty answer", remedy="fill it in, or remove the row")
            parts.append((self.prompt(messages[:index]), [*self.template.plain(answer), self.stop]))
        ids, trained = list(parts[0][0]), [False] * len(parts[0][0])
        for place, (before, answer_ids) in enumerate(parts):
            if before[: len(ids)] != ids:
                return [
                    TokenRow(f"{id}#{number}", (*one, *two), (False,) * len(one) + (True,) * len(two))
                    for number, (one, two) in enumerate(parts)
                ]
            if place:
                trained += [False] * (len(before) - len(ids))
                ids = list(before)
            ids += answer_ids
            trained += [True] * len(answer_ids)
        return [TokenRow(id, tuple(ids), tuple(trained))]

    def show(self, row: TokenRow, *, colour: bool = True) -> str:
        """The row as text, trained tokens in green (or in ⟦brackets⟧)."""
        out, on = [], False
        start, end = ("\x1b[32m", "\x1b[0m") if colour else ("⟦", "⟧")
        begin = 0
        for place in range(len(row) + 1):
            now = place < len(row) and row.trained[place]
            if now != on or place == len(row):
                text = self.decode(row.ids[begin:place])
                out.append(f"{start}{text}{end}" if on else text)
                begin, on = place, now
        return "".join(out)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of like length: ``index`` of shape (rows, longest) points into the flat tokens. ``valid`` (same shape) is
    false on padding, which points at the row's last token; None when there is none."""

    index: NDArray[np.int64]
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A micro-batch without padding: the rows' common prefix of ``prefix`` tokens once, then what remains of each row.

    ``ids`` and ``positions`` have shape (tokens,); hidden states at ``sources`` predict ``targets`` (shape (trained,)).
    ``tokens`` counts what the rows hold, the prefix as often as it is shared: what a padded batch would call its own.
    ``members`` are the rows in the order in which they lie.
    """

    members: tuple[TokenRow, ...]
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    prefix: int
    groups: tuple[Group, ...]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    tokens: int


def assemble(rows: Sequence[TokenRow]) -> MicroBatch:
    """Lay rows end to end behind their common prefix. Rows never see one another (each group attends within its
    rows)."""
    ordered = sorted(rows, key=len)
    prefix = common_prefix(ordered)
    ids: list[int] = list(ordered[0].ids[:prefix])
    positions: list[int] = list(range(prefix))
    sources: list[int] = []
    targets: list[int] = []
    spans: list[tuple[int, int]] = []
    for row in ordered:
        # The last token predicts nothing: it is a target only.
        length = len(row) - 1 - prefix
        offset = len(ids)
        ids += row.ids[prefix:-1]
        positions += range(prefix, len(row) - 1)
        if length:
            spans.append((offset, length))
        for place, trained in enumerate(row.trained):
            if trained:
                sources.append(place - 1 if place - 1 < prefix else offset + place - 1 - prefix)
                targets.append(row.ids[place])
    return MicroBatch(
        members=tuple(ordered),
        ids=np.asarray(ids, np.int64),
        positions=np.asarray(positions, np.int64),
        prefix=prefix,
        groups=tuple(_groups(spans)),
        sources=np.asarray(sources, np.int64),
        targets=np.asarray(targets, np.int64),
        tokens=sum(map(len, rows)),
    )


def common_prefix(rows: Sequence[TokenRow]) -> int:
    """Tokens that all rows begin with, up to where an answer begins. A single row has none: sharing would gain
    nothing."""
    if len(rows) < 2:
        return 0
    limit = min(row.start for row in rows)
    low, high = min(row.ids for row in rows), max(row.ids for row in rows)
    for place in range(limit):
        if low[place] != high[place]:
            return place
    return limit


def _groups(spans: Sequence[tuple[int, int]]) -> list[Group]:
    """Cut ``spans`` (offset, length; ascending lengths) where padding would pass a quarter of the attention's work."""
    groups: list[Group] = []
    begin = 0
    while begin < len(spans):
        end, work = begin + 1, spans[begin][1] ** 2
        while end < len(spans):
            longest = spans[end][1]
            work += longest**2
            if longest > 32 and (end + 1 - begin) * longest**2 > 1.25 * work:
                work -= longest**2
                break
            end += 1
        longest = spans[end - 1][1]
        steps = np.arange(longest)
        offsets = np.asarray([offset for offset, _ in spans[begin:end]])[:, None]
        lengths = np.asarray([length for _, length in spans[begin:end]])[:, None]
        valid = steps < lengths
        index = offsets + np.minimum(steps, lengths - 1)
        groups.append(Group(index.astype(np.int64), None if valid.all() else valid))
        begin = end
    return groups


def split(rows: Sequence[TokenRow], tokens: int, pieces: int = 1) -> list[MicroBatch]:
    """Cut the rows of one optimizer step into micro-batches of at most about ``tokens`` computed tokens, like lengths
    together.

    Every row is in exactly one; a row longer than ``tokens`` gets one of its own. Where there are rows enough, there
    are at least ``pieces`` of about equal work. The result depends on the rows and these numbers alone.
    """
    ordered = sorted(rows, key=lambda row: (len(row), row.id))
    shared = common_prefix(ordered)
    whole = max(1, sum(len(row) - shared for row in ordered))
    batches: list[MicroBatch] = []
    held: list[TokenRow] = []
    before = piece = 0
    for row in ordered:
        own = len(row) - shared
        last, piece = piece, (2 * before + own) * pieces // (2 * whole)  # the piece in which its middle lies
        if held and (piece != last or _computed([*held, row]) > tokens):
            batches.append(assemble(held))
            held = []
        held.append(row)
        before += own
    if held:
        batches.append(assemble(held))
    return batches


def _computed(rows: Sequence[TokenRow]) -> int:
    prefix = common_prefix(rows)
    return prefix + sum(len(row) - prefix for row in rows)


def shuffle(count: int, epoch: int, seed: int) -> list[int]:
    """The order of rows in an epoch: a function of seed and epoch alone, so that a resumed run meets the same rows."""
    return [int(place) for place in np.random.default_rng([seed, epoch]).permutation(count)]


def encode(
    chat: Chat, conversations: Sequence[tuple[str, Sequence[Message]]], window: int = 0
) -> tuple[list[TokenRow], int]:
    """Rows of (id, messages) conversations, and how many were longer than ``window`` tokens (0: the base's) and left
    out.

    Raises FitError when there were some and none is left.
    """
    window = window or chat.window
    rows = [row for name, messages in conversations for row in chat.rows(name, messages)]
    kept = [row for row in rows if len(row) <= window]
    if rows and not kept:
        raise FitError(
            f"all {len(rows)} rows are longer than the window of {window:,} tokens (shortest {min(map(len, rows)):,})",
            remedy="shorten the rows, or choose a base with a longer context",
        )
    return kept, len(rows) - len(kept)


def texts(chat: Chat, documents: Sequence[tuple[str, str]], window: int = 0) -> list[TokenRow]:
    """Rows of plain (id, text) documents, for continued pre-training: every token is trained but the first, and a
    document ends in the stop token. One longer than ``window`` tokens (0: 512, or the base's) becomes several rows,
    each of which begins with the last token of the one before, so that every token is predicted once."""
    window = max(2, min(window or 512, chat.window))
    rows = []
    for name, text in documents:
        ids = [*chat.template.plain(text), chat.stop]
        for number, start in enumerate(range(0, max(1, len(ids) - 1), window - 1)):
            piece = tuple(ids[start : start + window])
            if len(piece) > 1:
                rows.append(TokenRow(f"{name}#{number}", piece, (False,) + (True,) * (len(piece) - 1)))
    return rows


def _window(base: Base) -> int:
    import json

    config = json.loads((base.folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings", 2048))
