"""The lean pieces of a training step. Each computes what the model's own graph would, with less memory and
less traffic: attention without padding behind a shared prefix, LoRA in one pass, the output head on answer tokens only.

Forward and backward follow the plain formulas; tests check them against autograd over the model's own modules.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rung.tuning.batches import MicroBatch
from rung.tuning.compute.packed import BLOCK, Packed

NAME = "rung-ragged"
LONG = 512
"""Rows longer than this recompute their attention in the backward pass (flash) instead of keeping its weights."""


class Stopped(Exception):
    """Computing was ended from outside, between two layers."""


@dataclass(frozen=True, slots=True)
class LikeRows:
    """Rows of like length: ``index`` (rows, longest) into the flat tokens; ``valid`` is false on padding (None: none);
    ``mask`` (longest, prefix + longest) is true where a query must not look."""

    index: Tensor
    valid: Tensor | None
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Attended:
    """Which tokens of a flat micro-batch attend to which: a causal prefix, and rows that see it and themselves.

    As every layer is given it, it also carries the wish to ``stop``: both passes raise Stopped at the next layer.
    """

    prefix: int
    causal: Tensor
    rows: tuple[LikeRows, ...]
    stop: threading.Event | None = field(default=None, repr=False)

    @classmethod
    def of(cls, batch: MicroBatch, device: torch.device, stop: threading.Event | None = None) -> Attended:
        rows = []
        for group in batch.groups:
            valid = None if group.valid is None else torch.from_numpy(group.valid).to(device)
            mask = _causal(group.index.shape[1], batch.prefix, device)
            rows.append(LikeRows(torch.from_numpy(group.index).to(device), valid, mask))
        return cls(batch.prefix, _causal(batch.prefix, 0, device), tuple(rows), stop)

    def check(self) -> None:
        """Raises Stopped when it is wished for."""
        if self.stop is not None and self.stop.is_set():
            raise Stopped


def _causal(length: int, prefix: int, device: torch.device) -> Tensor:
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).triu_(prefix + 1)


def register() -> str:
    """Make the ragged attention known to transformers; returns the name to load a model with.

    The model is then called with one flat sequence, ``position_ids`` and ``layout``.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _interface)
    return NAME


def _interface(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, *, scaling: float, layout: Attended, **_: Any
) -> tuple[Tensor, None]:
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    own = getattr(module, "rung_prefix", None)
    if own is not None:  # prefix tuning: the virtual tokens, which always come first, have keys and values of their own
        k = torch.cat([own[0].to(k.dtype), k[own.shape[1] :]])
        v = torch.cat([own[1].to(v.dtype), v[own.shape[1] :]])
    return RaggedAttention.apply(q, k, v, scaling, layout)[None], None


Qkv = tuple[Tensor, Tensor, Tensor]
Prefix = tuple[Tensor, Tensor] | None
"""Keys and values of the common prefix, each (p, key heads, d)."""


class RaggedAttention(torch.autograd.Function):  # type: ignore[misc]
    """Grouped-query attention: q (tokens, heads, d), k and v (tokens, key heads, d) -> (tokens, heads, d)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, layout: Attended) -> Tensor:
        layout.check()
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        p = layout.prefix
        weights: list[Tensor | None] = []
        if p:
            o, w = _attend((q[None, :p], k[None, :p], v[None, :p]), None, layout.causal, scale)
            out[:p] = o[0]
            weights.append(w)
        prefix = (k[:p], v[:p]) if p else None
        for rows in layout.rows:
            i = rows.index
            o, w = _attend((q[i], k[i], v[i]), prefix, rows.mask, scale)
            if rows.valid is None:
                out[i.reshape(-1)] = o.reshape(-1, *o.shape[2:])
            else:
                out[i[rows.valid]] = o[rows.valid]
            weights.append(w)
        ctx.save_for_backward(q, k, v, *weights)
        ctx.scale, ctx.layout = scale, layout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad = grads[0]
        q, k, v, *weights = ctx.saved_tensors
        p, layout, scale = ctx.layout.prefix, ctx.layout, ctx.scale
        layout.check()
        dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
        prefix = (k[:p], v[:p]) if p else None
        if p:
            first = (q[None, :p], k[None, :p], v[None, :p])
            (a, b, c), _ = _attend_backward(grad[None, :p], first, None, weights.pop(0), (layout.causal, scale))
            dq[:p], sum_k, sum_v = a[0], b[0].float(), c[0].float()
        for rows, w in zip(layout.rows, weights, strict=True):
            i, valid = rows.index, rows.valid
            g = grad[i] if valid is None else grad[i] * valid[..., None, None]
            parts, more = _attend_backward(g, (q[i], k[i], v[i]), prefix, w, (rows.mask, scale))
            flat = i.reshape(-1) if valid is None else i[valid]
            for whole, piece in zip((dq, dk, dv), parts, strict=True):
                whole[flat] = piece.reshape(-1, *piece.shape[2:]) if valid is None else piece[valid]
            if more is not None:
                sum_k += more[0]
                sum_v += more[1]
        if p:
            dk[:p], dv[:p] = sum_k, sum_v
        return dq, dk, dv, None, None


def _fold(x: Tensor, groups: int) -> Tensor:
    """(n, s, h, d) -> (n * groups, h / groups * s, d): the query heads of one key head as more query rows."""
    n, s, h, d = x.shape
    return x.reshape(n, s, groups, h // groups, d).permute(0, 2, 3, 1, 4).reshape(n * groups, (h // groups) * s, d)


def _unfold(x: Tensor, n: int, s: int, h: int) -> Tensor:
    groups, d = x.shape[0] // n, x.shape[-1]
    return x.view(n, groups, h // groups, s, d).permute(0, 3, 1, 2, 4).reshape(n, s, h, d)


def _keys(x: Tensor, prefix: Tensor | None) -> Tensor:
    """(n, s, g, d) behind (p, g, d) -> (n * g, p + s, d)."""
    if prefix is not None:
        x = torch.cat([prefix.expand(x.shape[0], *prefix.shape), x], 1)
    return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Shapes as in ``_attend``, the prefix already in k and v; differentiable, keeps no weights."""
    repeat = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(repeat, 2).transpose(1, 2), v.repeat_interleave(repeat, 2).transpose(1, 2)
    return functional.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=~mask, scale=scale).transpose(
        1, 2
    )


def _attend(qkv: Qkv, prefix: Prefix, mask: Tensor, scale: float) -> tuple[Tensor, Tensor | None]:
    """Output (n, s, h, d), and the weights where they are kept for the backward pass."""
    q, k, v = qkv
    n, s, h, _ = q.shape
    if mask.shape[1] > LONG:
        return _flash(q, *_behind(k, v, prefix), mask, scale), None
    groups = k.shape[2]
    pk, pv = prefix or (None, None)
    w = torch.bmm(_fold(q, groups), _keys(k, pk).transpose(1, 2)).mul_(scale)
    w.view(n * groups, h // groups, s, -1).masked_fill_(mask, float("-inf"))
    w = torch.softmax(w, -1)
    return _unfold(torch.bmm(w, _keys(v, pv)), n, s, h), w


def _behind(k: Tensor, v: Tensor, prefix: Prefix) -> tuple[Tensor, Tensor]:
    """Keys and values behind those of the prefix, in every row."""
    if prefix is None:
        return k, v
    pk, pv = prefix
    n = k.shape[0]
    return torch.cat([pk.expand(n, *pk.shape), k], 1), torch.cat([pv.expand(n, *pv.shape), v], 1)


def _attend_backward(
    g: Tensor, qkv: Qkv, prefix: Prefix, w: Tensor | None, setting: tuple[Tensor, float]
) -> tuple[Qkv, Prefix]:
    """Gradients of q, k, v, and of the prefix's k and v (summed over the rows, float32). ``setting``: mask and
    scale."""
    (q, k, v), (mask, scale) = qkv, setting
    n, s, h, d = q.shape
    groups, p = k.shape[2], 0 if prefix is None else prefix[0].shape[0]
    if w is None:
        k, v = _behind(k, v, prefix)
        with torch.enable_grad():
            q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
            dq, dk, dv = torch.autograd.grad(_flash(q, k, v, mask, scale), (q, k, v), g)
    else:
        pk, pv = prefix or (None, None)
        folded, key, value = _fold(g, groups), _keys(k, pk), _keys(v, pv)
        ds = torch.bmm(folded, value.transpose(1, 2))
        ds = torch._softmax_backward_data(ds, w, -1, w.dtype).mul_(scale)
        dq = _unfold(torch.bmm(ds, key), n, s, h)
        dk = torch.bmm(ds.transpose(1, 2), _fold(q, groups)).view(n, groups, p + s, d).transpose(1, 2)
        dv = torch.bmm(w.transpose(1, 2), folded).view(n, groups, p + s, d).transpose(1, 2)
    if not p:
        return (dq, dk, dv), None
    sums = dk[:, :p].sum(0, dtype=torch.float32), dv[:, :p].sum(0, dtype=torch.float32)
    return (dq, dk[:, p:], dv[:, p:]), sums


@dataclass(frozen=True, slots=True)
class Frozen:
    """What LoRA lies over: a matrix (a tensor, or packed and opened each time it is needed), its bias, and the scaling
    of B A."""

    weight: Tensor | Packed
    bias: Tensor | None
    scaling: float


class LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    """x W^T + bias + scaling ((x * keep) A^T) B^T with W frozen; A and B are float32 masters computed in x's type.
    ``keep`` is dropout's mask, already scaled (None: no dropout)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Frozen, a: Tensor, b: Tensor, keep: Tensor | None = None) -> Tensor:
        flat, a, b = x.reshape(-1, x.shape[-1]), a.to(x.dtype), b.to(x.dtype)
        kept = flat if keep is None else flat * keep.view_as(flat)
        low = kept @ a.t()
        out = functional.linear(flat, _opened(base.weight, x.dtype), base.bias).addmm_(low, b.t(), alpha=base.scaling)
        ctx.save_for_backward(kept, a, b, low, keep)
        ctx.base, ctx.shape = base, x.shape  # frozen, so it needs no guard of autograd's
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, a, b, low, keep = ctx.saved_tensors
        g = grads[0].reshape(-1, grads[0].shape[-1])
        gb = (g @ b).mul_(ctx.base.scaling)
        db = (g.t() @ low).float().mul_(ctx.base.scaling)
        da = (gb.t() @ x).float()
        dx = None
        if ctx.needs_input_grad[0]:
            dx = g @ _opened(ctx.base.weight, g.dtype)
            dx = (dx.addmm_(gb, a) if keep is None else dx.add_((gb @ a).mul_(keep.view_as(dx)))).view(ctx.shape)
        return dx, None, da, db, None


def _opened(weight: Tensor | Packed, dtype: Any) -> Tensor:
    return weight.open(dtype) if isinstance(weight, Packed) else weight


class SwiGlu(torch.autograd.Function):  # type: ignore[misc]
    """silu(gate) * up, keeping only gate and up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grads[0] * up, gate), functional.silu(gate).mul_(grads[0])


class Head(torch.autograd.Function):  # type: ignore[misc]
    """Cross-entropy of each token under the output head: hidden (n, d) -> losses (n,), in chunks of tokens.

    The gradients are made in the forward pass, so that no logits outlive their chunk (as in Liger-Kernel,
    arXiv:2410.10989). A weight that is trained gets its gradient too; then all losses must be weighed alike, as a sum
    or mean of them does (else RuntimeError).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for low in range(0, len(hidden), chunk):
            part, target = hidden[low : low + chunk], targets[low : low + chunk, None]
            logits = functional.linear(part, weight).float()
            norm = torch.logsumexp(logits, -1, keepdim=True)
            losses[low : low + chunk] = (norm - logits.gather(1, target))[:, 0]
            if grad is not None or weight_grad is not None:
                logits.sub_(norm).exp_()
                logits.scatter_add_(1, target, torch.full_like(norm, -1.0))
                error = logits.to(weight.dtype)
                if grad is not None:
                    grad[low : low + chunk] = error @ weight
                if weight_grad is not None:
                    weight_grad += error.t() @ part
        ctx.grad, ctx.weight_grad, ctx.dtype = grad, weight_grad, weight.dtype
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden = weight = None
        if ctx.grad is not None:
            hidden = ctx.grad * grads[0][:, None].to(ctx.grad.dtype)
        if ctx.weight_grad is not None:
            if not bool((grads[0] == grads[0][0]).all()):
                raise RuntimeError("losses under a trained head must be weighed alike")
            weight = (ctx.weight_grad * grads[0][0]).to(ctx.dtype)
        return hidden, weight, None, None


def pack(model: Any, bits: int) -> None:
    """Keep the frozen matrix under every LoRA layer in ``bits``; the layer opens it each time it computes."""
    from peft.tuners.lora.layer import Linear

    for module in model.modules():
        if isinstance(module, Linear):
            weight = module.base_layer.weight
            if weight.numel() % BLOCK:
                continue
            module.rung_packed = Packed.of(weight, bits)
            module.base_layer.weight = torch.nn.Parameter(weight.new_empty(0), requires_grad=False)


def slim(model: Any) -> None:
    """Give the plain LoRA layers, SwiGLU blocks and RMS norms of a model the lean forward; all others keep their own.

    DoRA and other variants are left as peft computes them.
    """
    from peft.tuners.lora.layer import Linear

    silu = getattr(model.config, "hidden_act", "") in ("silu", "swish")
    for module in model.modules():
        if isinstance(module, Linear) and type(module) is Linear:
            plain = not module.lora_variant
            if plain and not module.lora_bias["default"] and not module.fan_in_fan_out:
                module.forward = MethodType(_lora_forward, module)
        elif silu and all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
            module.forward = MethodType(_swiglu_forward, module)
        elif type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(_norm_forward, module)


def _lora_forward(self: Any, x: Tensor) -> Tensor:
    base = self.base_layer
    a, b = self.lora_A["default"].weight, self.lora_B["default"].weight
    weight = getattr(self, "rung_packed", base.weight)
    drop = self.lora_dropout["default"]
    keep = None
    if isinstance(drop, torch.nn.Dropout) and drop.training and drop.p > 0:
        keep = torch.empty_like(x).bernoulli_(1 - drop.p).div_(1 - drop.p)
    return LoraLinear.apply(x, Frozen(weight, base.bias, self.scaling["default"]), a, b, keep)


def _swiglu_forward(self: Any, x: Tensor) -> Tensor:
    return self.down_proj(SwiGlu.apply(self.gate_proj(x), self.up_proj(x)))


def _norm_forward(self: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), self.weight, self.variance_epsilon)
