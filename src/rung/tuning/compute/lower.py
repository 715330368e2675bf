"""What the layers below the first adapted one put out: frozen, so the same in every epoch, computed once a row and
kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rung.core.system.machine import machine
from rung.tuning.batches import MicroBatch, TokenRow, common_prefix, split

if TYPE_CHECKING:
    import torch

SHARE = 8
"""At most one part in so many of the machine's memory is kept; rows beyond are computed each time."""

Compute = Callable[[MicroBatch], "torch.Tensor"]


class CachedOutputs:
    """Outputs by row. ``fill`` decides by the rows alone in which micro-batches they are computed, so that a resumed
    training goes on with the same bits. The prefix that all rows share is held once."""

    def __init__(self) -> None:
        self._prefix: tuple[int, ...] = ()
        self._first: torch.Tensor | None = None
        self._own: dict[tuple[int, ...], torch.Tensor] = {}

    def fill(self, rows: Sequence[TokenRow], tokens: int, compute: Compute, done: Callable[[int], None]) -> None:
        """Compute the rows that are not there yet, as many as there is room for; ``done`` is told how many are.

        ``compute`` gives the outputs of a micro-batch, shape (tokens, hidden).
        """
        unique = list({row.ids: row for row in rows}.values())
        if not self._own and len(unique) > 1:
            self._prefix = unique[0].ids[: common_prefix(unique)]
        room, size = (machine().memory or 8 << 30) // SHARE, 0
        for batch in split([row for row in unique if row.ids not in self._own], tokens):
            if size > room:
                return
            size += self.put(batch, compute(batch))
            done(len(self._own))

    def put(self, batch: MicroBatch, outputs: torch.Tensor) -> int:
        """Keep the outputs of a micro-batch, shape (tokens, hidden); how many bytes that takes."""
        length, size = len(self._prefix), 0
        if self._first is None:
            self._first = outputs[:length].clone()
        for row, pieces in _cut(batch, outputs):
            own = pieces[length:].clone()
            self._own[row.ids] = own
            size += own.nbytes
        return size

    def take(self, batch: MicroBatch) -> torch.Tensor | None:
        """The outputs of a micro-batch, shape (tokens, hidden); None when one of its rows is not kept."""
        import torch

        if not self._own or any(row.ids not in self._own for row in batch.members):
            return None
        length, pieces = len(self._prefix), []
        for place, row in enumerate(batch.members):
            start = 0 if place == 0 else batch.prefix
            if start < length and self._first is not None:
                pieces.append(self._first[start:])
            pieces.append(self._own[row.ids][max(0, start - length) :])
        return torch.cat(pieces)


def _cut(batch: MicroBatch, outputs: torch.Tensor) -> Iterator[tuple[TokenRow, torch.Tensor]]:
    """Each row of a micro-batch and its outputs, the common prefix again before each: shape (tokens of the row - 1,
    hidden)."""
    import torch

    at = batch.prefix
    for row in batch.members:
        length = len(row) - 1 - batch.prefix
        yield row, torch.cat([outputs[: batch.prefix], outputs[at : at + length]])
        at += length


@contextmanager
def only(causal: Any, first: int, last: int | None = None) -> Iterator[Any]:
    """The decoder with its layers from ``first`` up to, not including, ``last``; the final norm belongs to the last
    layer alone."""
    import torch

    decoder = causal.base_model
    layers, norm = decoder.layers, decoder.norm
    decoder.layers = layers[first:last]
    if last is not None:
        decoder.norm = torch.nn.Identity()
    try:
        yield decoder
    finally:
        decoder.layers, decoder.norm = layers, norm
