"""Each lean piece against autograd over the plain formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rung.tuning.batches import TokenRow, assemble
from rung.tuning.compute import kernels


def rows_of(lengths: list[int], prefix: int) -> list[TokenRow]:
    out = []
    for index, length in enumerate(lengths):
        ids = (*range(prefix), *(1000 * (index + 1) + step for step in range(length)))
        out.append(TokenRow(str(index), ids, (False,) * (prefix + length - 1) + (True,)))
    return out


def plain(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], prefix: int, scale: float) -> Tensor:
    """Row by row: each attends causally to the prefix and itself."""
    repeat = q.shape[1] // k.shape[1]
    out = torch.zeros_like(q)
    offset = prefix
    spans = [(prefix, prefix)] if prefix else []
    for length in sorted(lengths):
        spans.append((offset, offset + length))
        offset += length
    for low, high in spans:
        own = torch.arange(low, high)
        index = torch.cat([torch.arange(prefix), own])
        if low == high:
            own = index = torch.arange(prefix)
        one = [x.index_select(0, i).transpose(0, 1) for x, i in ((q, own), (k, index), (v, index))]
        mask = torch.ones(len(own), len(index), dtype=torch.bool).tril(len(index) - len(own))
        keys, values = one[1].repeat_interleave(repeat, 0), one[2].repeat_interleave(repeat, 0)
        o = functional.scaled_dot_product_attention(one[0], keys, values, attn_mask=mask, scale=scale)
        out = out.index_copy(0, own, o.transpose(0, 1))
    return out


@pytest.mark.parametrize("long", [512, 4])
@pytest.mark.parametrize(
    ("lengths", "prefix"), [([7], 0), ([3, 5, 5, 9], 0), ([3, 5, 5, 9], 6), ([40, 2, 90, 33], 11), ([1, 1, 4], 3)]
)
def test_attention_equals_rows_alone(
    lengths: list[int], prefix: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "LONG", long)
    rows = rows_of([length + 1 for length in lengths], prefix)  # the last token of a row is only a target
    batch = assemble(rows)
    assert batch.prefix == (prefix if len(rows) > 1 else 0)
    torch.manual_seed(0)
    total = len(batch.ids)
    q, k, v = (torch.randn(total, heads, 8, dtype=torch.float64).requires_grad_() for heads in (4, 2, 2))
    weight = torch.randn(total, 4, 8, dtype=torch.float64)
    layout = kernels.Attended.of(batch, torch.device("cpu"))
    mine = kernels.RaggedAttention.apply(q, k, v, 0.3, layout)
    want = plain(q, k, v, lengths, batch.prefix, 0.3)
    torch.testing.assert_close(mine, want)
    for got, expected in zip(
        torch.autograd.grad((mine * weight).sum(), (q, k, v)),
        torch.autograd.grad((want * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_lora_equals_plain(bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6).requires_grad_()
    a, b = torch.randn(3, 6).requires_grad_(), torch.randn(4, 3).requires_grad_()
    weight, offset = torch.randn(4, 6), torch.randn(4) if bias else None
    mine = kernels.LoraLinear.apply(x, kernels.Frozen(weight, offset, 1.5), a, b)
    want = functional.linear(x, weight, offset) + 1.5 * (x @ a.t()) @ b.t()
    torch.testing.assert_close(mine, want)
    shape = torch.randn_like(want)
    for got, expected in zip(
        torch.autograd.grad((mine * shape).sum(), (x, a, b)),
        torch.autograd.grad((want * shape).sum(), (x, a, b)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_head_equals_cross_entropy(chunk: int) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(10, 6).requires_grad_(), torch.randn(17, 6)
    targets = torch.from_numpy(np.arange(10) % 17)
    mine = kernels.Head.apply(hidden, head, targets, chunk)
    want = functional.cross_entropy(hidden @ head.t(), targets, reduction="none")
    torch.testing.assert_close(mine, want)
    scale = torch.rand(10)
    (got,) = torch.autograd.grad((mine * scale).sum(), hidden)
    (expected,) = torch.autograd.grad((want * scale).sum(), hidden)
    torch.testing.assert_close(got, expected)


def test_swiglu_equals_plain() -> None:
    gate, up = torch.randn(5, 7).requires_grad_(), torch.randn(5, 7).requires_grad_()
    mine, want = kernels.SwiGlu.apply(gate, up), functional.silu(gate) * up
    torch.testing.assert_close(mine, want)
    for got, expected in zip(
        torch.autograd.grad(mine.square().sum(), (gate, up)),
        torch.autograd.grad(want.square().sum(), (gate, up)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


def test_lora_with_dropout_equals_plain() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8).requires_grad_()
    weight, a, b = torch.randn(6, 8), torch.randn(3, 8).requires_grad_(), torch.randn(6, 3).requires_grad_()
    keep = torch.empty_like(x).bernoulli_(0.7).div_(0.7)
    mine = kernels.LoraLinear.apply(x, kernels.Frozen(weight, None, 1.5), a, b, keep)
    want = x @ weight.t() + 1.5 * ((x * keep) @ a.t()) @ b.t()
    torch.testing.assert_close(mine, want)
    for got, expected in zip(
        torch.autograd.grad(mine.square().sum(), (x, a, b)),
        torch.autograd.grad(want.square().sum(), (x, a, b)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
