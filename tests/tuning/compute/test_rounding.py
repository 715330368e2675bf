from __future__ import annotations

import numpy as np
import torch

from rung.tuning.batches import TokenRow, assemble
from rung.tuning.compute import export, rounding
from rung.tuning.compute.session import Session, states


def drawn(rows: int = 40, columns: int = 96) -> rounding.Matrix:
    return np.random.default_rng(0).standard_t(4, (rows, columns)).astype(np.float32)


def test_four_bits_lose_less_than_the_package_does() -> None:
    """Q4_0 as the gguf package reads it back; zeros, one large value and a whole block of one value included."""
    import gguf

    weight = drawn()
    weight[0], weight[1, :32], weight[2, 5] = 0.0, 0.25, 900.0
    kind = gguf.GGMLQuantizationType.Q4_0
    codes, scales = rounding.four_bits(weight)
    ours, theirs = rounding.pack(codes, scales), gguf.quants.quantize(weight, kind)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_array_equal(gguf.quants.dequantize(ours, kind), rounding.opened(codes, scales))
    lost = [((gguf.quants.dequantize(packed, kind) - weight) ** 2).reshape(-1, 32).sum(1) for packed in (ours, theirs)]
    assert np.median(lost[0][9:] / lost[1][9:]) < 0.95
    assert (lost[0] <= lost[1] * 1.001 + 1e-6).mean() > 0.98
    assert lost[0][:4].max() < 1e-6


def test_weighted_blocks_make_the_products_better() -> None:
    """A few inputs that are large, as before a down projection: the error of x W is what shrinks, that of W grows."""
    draw = np.random.default_rng(1)
    weight, x = drawn(), draw.normal(0, 1, (200, 96)).astype(np.float32)
    x[:, [3, 40, 41, 77]] *= 20
    squares = (x**2).mean(0)
    plain = rounding.opened(*rounding.four_bits(weight))
    mended = rounding.opened(*rounding.four_bits(weight, squares))
    one, two = (float(((x @ (rounded - weight).T) ** 2).sum()) for rounded in (plain, mended))
    assert two < 0.5 * one
    assert ((mended - weight) ** 2).sum() > ((plain - weight) ** 2).sum()


def test_inputs_that_are_all_zero_or_all_alike_change_nothing() -> None:
    weight = drawn()
    plain = rounding.plain("w", weight)
    for squares in (np.zeros(96, np.float32), np.full(96, 3.0, np.float32)):
        np.testing.assert_array_equal(rounding.weighted({"w": squares})("w", weight), plain)
    np.testing.assert_array_equal(rounding.weighted({})("w", weight), plain)


def test_what_lies_on_a_grid_stays_on_it() -> None:
    codes, scales = rounding.four_bits(drawn())
    scales[3, 1] = 0.0
    codes[3, 32:64] = 0
    values = rounding.opened(codes, scales) * 1.0003
    np.testing.assert_array_equal(rounding.kept({"w": scales})("w", values), rounding.pack(codes, scales))


def test_measured_squares_are_those_of_the_inputs(session: Session, rows: list[TokenRow]) -> None:
    """Of a layer's first matrix the normed hidden states: computed here by the model's own modules."""
    with torch.no_grad():
        session.vector.add_(0.05)
        session.push()
    found = rounding.measure(session, rows[:1])
    assert set(found) == {name for name in export.merge(session) if name.endswith("proj.weight")}
    causal = session.causal
    seen: list[torch.Tensor] = []
    held = causal.base_model.layers[1].input_layernorm.register_forward_hook(lambda *given: seen.append(given[2]))
    with torch.no_grad():
        states(session, assemble(rows[:1]))
    held.remove()
    wanted = seen[0][0].float().square().mean(0).numpy()
    name = "model.layers.1.self_attn.q_proj.weight"
    np.testing.assert_allclose(found[name], wanted, rtol=1e-5)


def test_few_rows_are_chosen_all_over(rows: list[TokenRow]) -> None:
    chosen = rounding.some(rows, 2 * len(rows[0]))
    assert rows[0] in chosen
    assert 1 <= len(chosen) <= 3
    assert rounding.some(rows, 1 << 20) == rows
    assert rounding.some(rows[:1], 1) == rows[:1]


def test_rows_keep_their_blocks_where_rotary_order_moves_them() -> None:
    """Permuted packed rows are packed permuted rows."""
    weight = drawn(64, 64)
    one = export.permute(rounding.plain("q", weight), 4)
    np.testing.assert_array_equal(one, rounding.plain("q", export.permute(weight, 4)))
