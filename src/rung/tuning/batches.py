"""Rows to token batches: the engine's own chat text, a mask over everything but the answers, and micro-batches without
padding whose common prefix is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import FitError
from rung.core.extras import require
from rung.core.types import Message


@dataclass(frozen=True, slots=True)
class Row:
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
    """The chat template and tokenizer of a base: text and ids exactly as the engine makes them."""

    def __init__(self, folder: Path) -> None:
        transformers = require("transformers", "tuning", "reading a chat template")
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        if not self._tokenizer.chat_template:
            raise FitError(
                f"the base in {folder.name} has no chat template", remedy="choose an instruction-tuned base model"
            )
        self.stop: int = self._tokenizer.eos_token_id
        self.specials = frozenset(self._tokenizer.all_special_ids)

    def render(self, messages: Sequence[Message], *, ask: bool) -> str:
        """The chat text; with ``ask`` it ends where the assistant's answer begins."""
        plain = [{"role": message.role, "content": message.content} for message in messages]
        return str(self._tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=ask))

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids that the engine is sent for ``messages``."""
        return self.encode(self.render(messages, ask=True))

    def rows(self, id: str, messages: Sequence[Message]) -> list[Row]:
        """Training rows of a conversation: every assistant turn with its end-of-turn token is trained, nothing else.

        One row when the turns' tokens are the same one by one and together, else a row for each assistant turn, so that
        each is trained behind exactly the ids that the engine would send. Raises FitError when the template changes or
        hides an answer, or when the conversation has none.
        """
        turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
        if not turns:
            raise FitError(f"row {id} has no assistant turn, so there is nothing to learn", remedy="correct the row")
        parts = []
        for index in turns:
            before = self.render(messages[:index], ask=True)
            whole = self.render(messages[: index + 1], ask=False)
            answer = messages[index].content
            if not whole.startswith(before + answer):
                raise FitError(
                    f"row {id}: the chat template does not put the answer {answer[:40]!r} behind the prompt as it is",
                    remedy="strip the answers' outer spaces, or repair the base's chat template",
                )
            tail = self.encode(whole[len(before) + len(answer) :])
            if not tail or tail[0] != self.stop:
                raise FitError(
                    f"row {id}: after the answer the chat template writes {whole[len(before) + len(answer) :][:20]!r}, "
                    f"not the stop token {self.decode([self.stop])!r}, so the tuned model would never stop",
                    remedy="set the base's eos_token to the template's end of turn",
                )
            parts.append((self.encode(before), [*self.encode(answer), self.stop]))
        ids, trained = list(parts[0][0]), [False] * len(parts[0][0])
        for place, (before_ids, answer_ids) in enumerate(parts):
            if before_ids[: len(ids)] != ids:
                return [
                    Row(f"{id}#{number}", (*one, *two), (False,) * len(one) + (True,) * len(two))
                    for number, (one, two) in enumerate(parts)
                ]
            if place:
                trained += [False] * (len(before_ids) - len(ids))
                ids = list(before_ids)
            ids += answer_ids
            trained += [True] * len(answer_ids)
        return [Row(id, tuple(ids), tuple(trained))]

    def show(self, row: Row, *, colour: bool = True) -> str:
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
    """Rows of like length: ``index`` of shape (rows, longest) points into the flat tokens. ``valid`` (same shape) is false on
    padding, which points at the row's last token; None when there is none."""

    index: NDArray[np.int64]
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch without padding: the rows' common prefix of ``prefix`` tokens once, then what remains of each row.

    ``ids`` and ``positions`` have shape (tokens,); hidden states at ``sources`` predict ``targets`` (shape (trained,)).
    ``tokens`` counts what the rows hold, the prefix as often as it is shared: what a padded batch would call its own.
    """

    rows: tuple[str, ...]
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    prefix: int
    groups: tuple[Group, ...]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    tokens: int


def assemble(rows: Sequence[Row]) -> Batch:
    """Lay rows end to end behind their common prefix. Rows never see one another (each group attends within its rows)."""
    ordered = sorted(rows, key=len)
    prefix = _shared(ordered)
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
    return Batch(
        rows=tuple(row.id for row in rows),
        ids=np.asarray(ids, np.int64),
        positions=np.asarray(positions, np.int64),
        prefix=prefix,
        groups=tuple(_groups(spans)),
        sources=np.asarray(sources, np.int64),
        targets=np.asarray(targets, np.int64),
        tokens=sum(map(len, rows)),
    )


def _shared(rows: Sequence[Row]) -> int:
    """Length of the common prefix, up to where an answer begins. A single row has none: sharing would buy nothing."""
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


def split(rows: Sequence[Row], tokens: int) -> list[Batch]:
    """Cut the rows of one optimizer step into micro-batches of at most about ``tokens`` computed tokens, like lengths together.

    Every row is in exactly one; a row longer than ``tokens`` gets one of its own. The result depends on the rows alone.
    """
    batches: list[Batch] = []
    held: list[Row] = []
    for row in sorted(rows, key=lambda row: (len(row), row.id)):
        if held and _computed([*held, row]) > tokens:
            batches.append(assemble(held))
            held = []
        held.append(row)
    if held:
        batches.append(assemble(held))
    return batches


def _computed(rows: Sequence[Row]) -> int:
    prefix = _shared(rows)
    return prefix + sum(len(row) - prefix for row in rows)


def shuffle(count: int, epoch: int, seed: int) -> list[int]:
    """The order of rows in an epoch: a function of seed and epoch alone, so that a resumed run meets the same rows."""
    return [int(place) for place in np.random.default_rng([seed, epoch]).permutation(count)]
