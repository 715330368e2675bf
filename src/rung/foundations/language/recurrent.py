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
from functools import cache
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
    # What the input adds does not depend on the state: one product for all steps.
    bias = weights["bias_ih"] if kind == "gru" else weights["bias_ih"] + weights["bias_hh"]
    inputs = torch.nn.functional.linear(x, weights["weight_ih"], bias)
    turn = weights["weight_hh"].t()
    if kind == "lstm":
        return _lstm(inputs, turn, look)
    h = x.new_zeros(x.shape[1], len(turn))
    shown = []
    for given in inputs.unbind(0):
        h = torch.tanh(torch.addmm(given, h, turn)) if kind == "rnn" else _gru(given, h, turn, weights["bias_hh"], look)
        shown.append(h)
    return torch.stack(shown)


def _lstm(inputs: Tensor, turn: Tensor, look: Look | None) -> Tensor:
    shown, gates = _lstm_loop().apply(inputs, turn)
    if look is not None:
        for i, f, _, o in (step.unbind(1) for step in gates):
            for name, gate in (("input", i), ("forget", f), ("output", o)):
                look(name, gate)
    return shown


def _lstm_forward(ctx: Any, inputs: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """States (steps, batch, width) and gates (steps, batch, 4, width) in the order i f g o, of what the inputs add to
    the gates (steps, batch, 4 * width) and the state's weights (width, 4 * width)."""
    torch = tensors()
    steps, batch, wide = inputs.shape
    gates = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    h, c = (inputs.new_zeros(steps + 1, batch, wide // 4) for _ in range(2))
    bent = torch.empty_like(h[1:])
    four = gates.view(steps, batch, 4, -1)
    states, cells = h.unbind(0), c.unbind(0)
    parts = zip(inputs.unbind(0), gates.unbind(0), four[:, :, :2].unbind(0), bent.unbind(0), strict=True)
    for t, (given, sums, doors, out) in enumerate(parts):
        torch.addmm(given, states[t], turn, out=sums)
        i, f, g, o = four[t].unbind(1)
        doors.sigmoid_()
        g.tanh_()
        o.sigmoid_()
        torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
        torch.tanh(cells[t + 1], out=out)
        torch.mul(o, out, out=states[t + 1])
    ctx.save_for_backward(four, h, c, bent, turn)
    ctx.mark_non_differentiable(four)
    return h[1:], four


def _lstm_backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes of both inputs, from the last step to the first (Werbos 1990). What a gate's sum adds to the loss is
    the slope of the cell, or of what is shown, times a factor that is known beforehand for all steps at once: ``g i (1
    - i)`` for i, and so on. A step is left with one product back to the state before, and the weights' slope is one
    product over all steps, where an automatic gradient makes a hundred small ones."""
    torch = tensors()
    gates, h, c, bent, turn = ctx.saved_tensors
    i, f, g, o = gates.unbind(2)
    sums = torch.stack([g * i * (1 - i), c[:-1] * f * (1 - f), i * (1 - g * g), bent * o * (1 - o)], 2)
    through = o * (1 - bent * bent)
    later, carried, back = torch.zeros_like(h[0]), torch.zeros_like(h[0]), turn.t()
    flat = sums.view(len(gates), len(later), -1)
    parts = (sums[:, :, :3], sums[:, :, 3], flat, through, f, slopes[0])
    for inner, outer, whole, bend, forget, slope in zip(*(reversed(part.unbind(0)) for part in parts), strict=True):
        shown = slope + later
        cell = torch.addcmul(carried, shown, bend)
        inner.mul_(cell[:, None])
        outer.mul_(shown)
        later, carried = whole @ back, cell * forget
    return flat, h[:-1].reshape(-1, h.shape[2]).t() @ flat.view(-1, flat.shape[2])


@cache
def _lstm_loop() -> Any:
    """Both as one operation of torch."""
    parts = {"forward": staticmethod(_lstm_forward), "backward": staticmethod(_lstm_backward)}
    return type("LstmLoop", (tensors().autograd.Function,), parts)


def _gru(given: Tensor, h: Tensor, turn: Tensor, bias: Tensor, look: Look | None) -> Tensor:
    torch = tensors()
    width = h.shape[1]
    turned = torch.addmm(bias, h, turn)
    r, z = torch.sigmoid(given[:, : 2 * width] + turned[:, : 2 * width]).chunk(2, 1)
    n = torch.tanh(torch.addcmul(given[:, 2 * width :], r, turned[:, 2 * width :]))
    if look is not None:
        look("reset", r)
        look("update", z)
    return torch.lerp(n, h, z)


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
