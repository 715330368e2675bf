"""Encoder and decoder: one text is read whole, another is written while looking at it (Vaswani 2017).

The encoder's layers attend both ways, so each place of the source knows the whole of it. The decoder's attend to what
was written so far, and then, by cross-attention, to the encoder's places: queries come from what is being written, keys
and values from what was read. The width is the same all through; places are told by sinusoids. Training shows the
decoder the true text shifted by one ("teacher forcing"), writing feeds it its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.foundations.language import Tensor, Weights, tensors
from rung.foundations.language.attention import later, multi_head
from rung.foundations.language.position import sinusoidal
from rung.foundations.language.training import cross_entropy, normal

PAD, BEGIN, END = 0, 1, 2
"""Symbols that are no part of a text."""


@dataclass(frozen=True)
class EncoderDecoder:
    """``symbols`` are those of source and target together; ``layers`` of each side."""

    symbols: int
    width: int
    layers: int
    heads: int
    weights: Weights

    @classmethod
    def fresh(cls, symbols: int, width: int = 64, layers: int = 2, heads: int = 4, seed: int = 0) -> EncoderDecoder:
        shapes: dict[str, Sequence[int]] = {"embedding": (symbols, width), "out.norm.weight": (width,)}
        for side, parts in (("encoder", ("self",)), ("decoder", ("self", "cross"))):
            for at in range(layers):
                name = f"{side}.{at}"
                for part in parts:
                    shapes |= {f"{name}.{part}.{matrix}": (width, width) for matrix in "qkvo"}
                    shapes[f"{name}.{part}.norm.weight"] = (width,)
                shapes |= {f"{name}.wide": (4 * width, width), f"{name}.narrow": (width, 4 * width)}
                shapes[f"{name}.norm.weight"] = (width,)
        return cls(symbols, width, layers, heads, normal(shapes, seed))

    def encode(self, source: Tensor) -> Tensor:
        """Of ids of shape (batch, length): vectors of shape (batch, length, width)."""
        x, hidden = self._embed(source), self._padding(source)
        for at in range(self.layers):
            x = self._attend(f"encoder.{at}.self", x, None, hidden)
            x = self._think(f"encoder.{at}", x)
        return x

    def decode(self, target: Tensor, read: Tensor, source: Tensor) -> Tensor:
        """Logits of what comes after each of ``target``, shape (batch, length, symbols)."""
        x, hidden = self._embed(target), self._padding(source)
        mask = later(target.shape[1], target.shape[1])
        for at in range(self.layers):
            x = self._attend(f"decoder.{at}.self", x, None, mask)
            x = self._attend(f"decoder.{at}.cross", x, read, hidden)
            x = self._think(f"decoder.{at}", x)
        return self._norm(x, "out") @ self.weights["embedding"].t()

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        """Mean -ln P of each symbol of ``target`` (which begins with BEGIN and ends with END, then PAD)."""
        wanted = target[:, 1:]
        return cross_entropy(self.decode(target[:, :-1], self.encode(source), source), wanted, wanted != PAD)

    def write(self, source: Tensor, most: int) -> list[list[int]]:
        """The most probable symbol each time, until END or ``most``."""
        torch = tensors()
        with torch.inference_mode():
            read = self.encode(source)
            out = torch.full((len(source), 1), BEGIN)
            for _ in range(most):
                following = self.decode(out, read, source)[:, -1].argmax(-1, keepdim=True)
                out = torch.cat([out, following], 1)
                if bool((out == END).any(1).all()):
                    break
        rows = out[:, 1:].tolist()
        return [row[: row.index(END)] if END in row else row for row in rows]

    def _embed(self, ids: Tensor) -> Tensor:
        places = sinusoidal(tensors().arange(ids.shape[1]), self.width)
        return self.weights["embedding"][ids] * self.width**0.5 + places

    @staticmethod
    def _padding(ids: Tensor) -> Tensor:
        return (ids == PAD)[:, None, None, :]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale = tensors().rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
        return x * scale * self.weights[f"{name}.norm.weight"]

    def _attend(self, name: str, x: Tensor, other: Tensor | None, hidden: Tensor) -> Tensor:
        own = self._norm(x, name)
        mixed, _ = multi_head(own, own if other is None else other, self.weights, name, self.heads, hidden)
        return x + mixed

    def _think(self, name: str, x: Tensor) -> Tensor:
        wide = tensors().relu(self._norm(x, name) @ self.weights[f"{name}.wide"].t())
        return x + wide @ self.weights[f"{name}.narrow"].t()


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids as one array of shape (rows, longest), PAD behind the short ones."""
    torch = tensors()
    wide = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[PAD] * (wide - len(row))] for row in rows])
