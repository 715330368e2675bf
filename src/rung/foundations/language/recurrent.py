"""Recurrent networks: a state that is carried from symbol to symbol, and three ways to change it.

**RNN** (Elman 1990): ``h' = tanh(W x + U h)``. All of the state is written anew at each step, so what was seen fades,
and so does the gradient that could teach the network to keep it.

**LSTM** (Hochreiter & Schmidhuber 1997; forget gate: Gers 2000) keeps a second state ``c`` that is only scaled and
added to: ``c' = f * c + i * g`` and ``h' = o * tanh(c')``. Three gates between 0 and 1, read off x and h, say how much
of the old is kept (f), how much of the new is written (i) and how much is shown (o). Where f is near 1 both the memory
and its gradient last.

**GRU** (Cho 2014) does it with one state and two gates: ``h' = (1 - z) * n + z * h`` with
``n = tanh(W x + r * (U h))``.

Weights are laid out as torch.nn has them (gates i f g o of an LSTM, r z n of a GRU), so they can be compared number by
number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rung.foundations.language import Tensor, Weights, tensors
from rung.foundations.language.training import normal

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
Look = Callable[[str, Tensor], None]


def unroll(kind: str, x: Tensor, weights: Weights, look: Look | None = None) -> Tensor:
    """States of shape (steps, batch, width) of inputs of shape (steps, batch, inputs), from a state of 0.

    ``weights``: weight_ih (gates * width, inputs), weight_hh (gates * width, width), bias_ih, bias_hh. ``look`` is
    shown every gate of every step by name, each of shape (batch, width).
    """
    torch = tensors()
    width = weights["weight_hh"].shape[1]
    step = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}[kind]
    # What the input adds does not depend on the state: one product for all steps.
    bias = weights["bias_ih"] if kind == "gru" else weights["bias_ih"] + weights["bias_hh"]
    inputs = torch.nn.functional.linear(x, weights["weight_ih"], bias).unbind(0)
    turn = weights["weight_hh"].t()
    h = x.new_zeros(x.shape[1], width)
    state: tuple[Tensor, ...] = (h, h) if kind == "lstm" else (h,)
    shown = []
    for given in inputs:
        state = step(given, state, turn, weights["bias_hh"], look)
        shown.append(state[0])
    return torch.stack(shown)


def _rnn(given: Tensor, state: Any, turn: Tensor, bias: Tensor, look: Look | None) -> tuple[Tensor, ...]:
    return (tensors().tanh(tensors().addmm(given, state[0], turn)),)


def _lstm(given: Tensor, state: Any, turn: Tensor, bias: Tensor, look: Look | None) -> tuple[Tensor, ...]:
    torch = tensors()
    h, c = state
    sums = torch.addmm(given, h, turn)
    i, f, _, o = torch.sigmoid(sums).chunk(4, 1)
    c = torch.addcmul(f * c, i, torch.tanh(sums[:, 2 * h.shape[1] : 3 * h.shape[1]]))
    if look is not None:
        for name, gate in (("input", i), ("forget", f), ("output", o)):
            look(name, gate)
    return o * torch.tanh(c), c


def _gru(given: Tensor, state: Any, turn: Tensor, bias: Tensor, look: Look | None) -> tuple[Tensor, ...]:
    torch = tensors()
    (h,) = state
    width = h.shape[1]
    turned = torch.addmm(bias, h, turn)
    r, z = torch.sigmoid(given[:, : 2 * width] + turned[:, : 2 * width]).chunk(2, 1)
    n = torch.tanh(torch.addcmul(given[:, 2 * width :], r, turned[:, 2 * width :]))
    if look is not None:
        look("reset", r)
        look("update", z)
    return (torch.lerp(n, h, z),)


@dataclass(frozen=True)
class RecurrentModel:
    """A language model: an embedding, one recurrent layer, and a product that says what comes next."""

    kind: str
    weights: Weights

    @classmethod
    def fresh(cls, kind: str, symbols: int, inputs: int, width: int, seed: int) -> RecurrentModel:
        rows = GATES[kind] * width
        shapes: dict[str, Sequence[int]] = {
            "embedding": (symbols, inputs),
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, width),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
            "out": (symbols, width),
            "out_bias": (symbols,),
        }
        weights = normal(shapes, seed)
        torch = tensors()
        weights["embedding"] *= inputs**0.5
        weights |= {"bias_ih": torch.zeros(rows), "bias_hh": torch.zeros(rows)}
        if kind == "lstm":  # open forget gates at the beginning (Gers 2000): what is kept can be learnt from
            weights["bias_ih"][width : 2 * width] = 1.0
        return cls(kind, weights)

    def logits(self, ids: Tensor, look: Look | None = None) -> Tensor:
        """Of shape (batch, length, symbols): what comes after each of ``ids`` of shape (batch, length)."""
        torch = tensors()
        states = unroll(self.kind, self.weights["embedding"][ids.t()], self.weights, look)
        return torch.nn.functional.linear(states, self.weights["out"], self.weights["out_bias"]).transpose(0, 1)
