"""The decoder of a transformer: layers that attend to what came before and then think about each place by itself.

A layer adds two things to the stream of vectors that runs through it. First what attention brings from earlier places:
several heads, each with its own queries; some heads may share keys and values (grouped queries, Ainslie 2023). Then
what a feed-forward network makes of each place alone: it is most of the weights, widens the vector, lets a gate decide
which of the wide features count (SwiGLU, Shazeer 2020), and narrows it again. Before each the vector is scaled to
length (RMSNorm, Zhang & Sennrich 2019), so that the stream itself is never squeezed. The last vectors are compared with
every symbol's embedding: these are the logits.

The names of weights are Hugging Face's for the Llama family, so this file computes a small network trained on one text
and SmolLM2 alike, number for number. ``look`` is shown every intermediate by name. With a ``cache`` of keys and values
a text that grows is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rung.foundations.language import Tensor, Weights, tensors
from rung.foundations.language.attention import attend, join, later, split
from rung.foundations.language.position import rotary, sinusoidal
from rung.foundations.language.training import normal

Look = Callable[[str, Tensor], None]


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """``heads`` of queries share ``groups`` of keys and values; ``hidden`` is the width inside the feed-forward
    network; ``places`` how many learned positions there are."""

    symbols: int
    width: int
    layers: int
    heads: int
    groups: int
    hidden: int
    position: str = "rotary"
    places: int = 512
    base: float = 10_000.0
    epsilon: float = 1e-5


@dataclass
class KeyValueCache:
    """Keys and values of what was read, by layer, each of shape (batch, groups, length, width)."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return int(self.layers[0][0].shape[2]) if self.layers else 0

    def choose(self, rows: Tensor) -> None:
        """Go on with these rows of the batch, in this order."""
        self.layers = [(k[rows], v[rows]) for k, v in self.layers]


@dataclass(frozen=True)
class DecoderModel:
    """A language model of that shape."""

    shape: DecoderShape
    weights: Weights

    @classmethod
    def fresh(cls, shape: DecoderShape, seed: int) -> DecoderModel:
        """Random weights; what a layer adds is smaller the more layers there are, so that the stream begins near the
        embedding."""
        head = shape.width // shape.heads
        inner = (shape.layers * 2) ** -0.5
        shapes: dict[str, Sequence[int]] = {"model.embed_tokens.weight": (shape.symbols, shape.width)}
        for at in range(shape.layers):
            layer = f"model.layers.{at}"
            shapes |= {
                f"{layer}.input_layernorm.weight": (shape.width,),
                f"{layer}.self_attn.q_proj.weight": (shape.width, shape.width),
                f"{layer}.self_attn.k_proj.weight": (shape.groups * head, shape.width),
                f"{layer}.self_attn.v_proj.weight": (shape.groups * head, shape.width),
                f"{layer}.self_attn.o_proj.weight": (shape.width, shape.width),
                f"{layer}.post_attention_layernorm.weight": (shape.width,),
                f"{layer}.mlp.gate_proj.weight": (shape.hidden, shape.width),
                f"{layer}.mlp.up_proj.weight": (shape.hidden, shape.width),
                f"{layer}.mlp.down_proj.weight": (shape.width, shape.hidden),
            }
        shapes["model.norm.weight"] = (shape.width,)
        if shape.position == "learned":
            shapes["position"] = (shape.places, shape.width)
        weights = normal(shapes, seed)
        for name in weights:
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weights[name] *= inner
        return cls(shape, weights)

    def logits(
        self, ids: Tensor, look: Look | None = None, cache: KeyValueCache | None = None, *, last: bool = False
    ) -> Tensor:
        """Of shape (batch, length, symbols): what comes after each of ``ids`` of shape (batch, length), which go on
        from what the ``cache`` holds; ``last``: after the last of them only, shape (batch, 1, symbols)."""
        torch = tensors()
        see = look or (lambda name, value: None)
        w, shape = self.weights, self.shape
        past = cache.length if cache is not None else 0
        places = torch.arange(past, past + ids.shape[1])
        x = w["model.embed_tokens.weight"][ids]
        if shape.position == "learned":
            x = x + w["position"][places]
        elif shape.position == "sinusoidal":
            x = x + sinusoidal(places, shape.width) * shape.width**-0.5
        see("embedding", x)
        hidden = later(ids.shape[1], past + ids.shape[1])
        for at in range(shape.layers):
            x = x + self._attend(at, self._norm(x, f"model.layers.{at}.input_layernorm"), places, hidden, see, cache)
            x = x + self._think(at, self._norm(x, f"model.layers.{at}.post_attention_layernorm"))
            see(f"layer {at}", x)
        x = self._norm(x[:, -1:] if last else x, "model.norm")
        see("norm", x)
        logits = x @ w["lm_head.weight" if "lm_head.weight" in w else "model.embed_tokens.weight"].t()
        see("logits", logits)
        return logits

    def _norm(self, x: Tensor, name: str) -> Tensor:
        scale = tensors().rsqrt(x.square().mean(-1, keepdim=True) + self.shape.epsilon)
        return x * scale * self.weights[f"{name}.weight"]

    def _attend(
        self, at: int, x: Tensor, places: Tensor, hidden: Tensor, see: Look, cache: KeyValueCache | None
    ) -> Tensor:
        torch, shape, name = tensors(), self.shape, f"model.layers.{at}.self_attn"
        q, k, v = (
            split(x @ self.weights[f"{name}.{part}_proj.weight"].t(), heads)
            for part, heads in (("q", shape.heads), ("k", shape.groups), ("v", shape.groups))
        )
        if shape.position == "rotary":
            q, k = rotary(q, places, shape.base), rotary(k, places, shape.base)
        if cache is not None:
            if at < len(cache.layers):
                k, v = (torch.cat(pair, 2) for pair in zip(cache.layers[at], (k, v), strict=True))
                cache.layers[at] = (k, v)
            else:
                cache.layers.append((k, v))
        if shape.groups < shape.heads:
            k, v = (part.repeat_interleave(shape.heads // shape.groups, 1) for part in (k, v))
        mixed, weights = attend(q, k, v, hidden)
        see(f"attention {at}", weights)
        return join(mixed) @ self.weights[f"{name}.o_proj.weight"].t()

    def _think(self, at: int, x: Tensor) -> Tensor:
        gate, up, down = (self.weights[f"model.layers.{at}.mlp.{part}_proj.weight"] for part in ("gate", "up", "down"))
        return (tensors().nn.functional.silu(x @ gate.t()) * (x @ up.t())) @ down.t()
