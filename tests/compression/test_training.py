"""What is trained behind a compression: a teacher's words, and weights that stay on a grid or under a mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rung.compression import distillation, projection, structure
from rung.compression.activations import coarse, losses_of, quantize
from rung.tuning.batches import TokenRow, assemble
from rung.tuning.compute import export, rounding
from rung.tuning.compute.session import Session, losses, open_session, states
from rung.tuning.weights import Base
from tests.tuning.conftest import RECIPE


@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_a_teachers_loss_and_gradient_are_the_plain_formulas(hard: float) -> None:
    draw = torch.Generator().manual_seed(0)
    hidden, taught = (torch.randn(300, 8, generator=draw) for _ in range(2))
    one, two = torch.randn(50, 8, generator=draw), torch.randn(50, 8, generator=draw)
    targets = torch.randint(50, (300,), generator=draw)
    own, plain = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    found = distillation.SoftHead.apply(own, taught, (one, two), targets, hard)
    goal = torch.log_softmax(taught @ two.T, -1)
    said = torch.log_softmax(plain @ one.T, -1)
    apart = torch.nn.functional.kl_div(said, goal, log_target=True, reduction="none").sum(-1)
    wanted = (1 - hard) * apart + hard * torch.nn.functional.nll_loss(said, targets, reduction="none")
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-4, atol=1e-4)
    found.sum().backward()
    wanted.sum().backward()
    torch.testing.assert_close(own.grad, plain.grad, rtol=1e-4, atol=1e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny: Base, rows: list[TokenRow]) -> None:
    session, teacher = open_session(tiny, RECIPE), open_session(tiny, RECIPE)
    found = distillation.following(teacher, hard=0.0)(session, assemble(rows))
    assert float(found.detach().abs().max()) < 1e-5


def test_a_constrained_session_computes_with_projected_weights(tiny: Base, rows: list[TokenRow]) -> None:
    """As the plain model does over weights that were projected and merged; also after its values have moved."""
    session = open_session(tiny, RECIPE)
    weights = export.merge(session)
    grid = {name: rounding.four_bits(tensor.numpy())[1] for name, tensor in weights.items() if "proj" in name}
    project = projection.on_grid(grid)
    projection.constrain(session, project)
    with torch.no_grad():
        session.vector.add_(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
    session.push()
    merged = export.merge(session)
    fresh = open_session(tiny, RECIPE)
    names = {name.replace(".base_layer", ""): tensor for name, tensor in fresh.causal.state_dict().items()}
    with torch.no_grad():
        for name in grid:
            names[name].copy_(project(name, merged[name]))
        torch.testing.assert_close(losses(session, assemble(rows)), losses(fresh, assemble(rows)), rtol=1e-4, atol=1e-4)
    name = "model.layers.0.mlp.down_proj.weight"
    codes = merged[name].numpy() / grid[name].repeat(rounding.BLOCK, 1)
    assert np.abs(codes - np.rint(codes)).max() < 1e-3
    assert not torch.equal(merged[name], project(name, weights[name]))  # it moved to other points of the grid


def test_a_masked_session_stays_sparse_and_still_learns(tiny: Base, rows: list[TokenRow]) -> None:
    session = open_session(tiny, RECIPE)
    weights, squares = export.merge(session), rounding.measure(session, rows)
    masks = structure.masks(weights, squares, "2:4")
    projection.constrain(session, projection.masked(masks))
    first = float(losses(session, assemble(rows)).mean())
    optimizer = torch.optim.Adam([session.vector.requires_grad_(False)], 3e-3)
    for _ in range(10):
        session.grad.zero_()
        losses(session, assemble(rows)).mean().backward()
        session.vector.grad = session.grad
        optimizer.step()
        session.push()
    assert float(losses(session, assemble(rows)).detach().mean()) < first
    merged = export.merge(session)
    assert all(float(merged[name][~mask].abs().max()) < 1e-6 for name, mask in masks.items())


def test_activations_on_a_grid() -> None:
    x = torch.tensor([-1.0, -0.4, 0.0, 0.26, 1.0])
    torch.testing.assert_close(quantize(x, 2), torch.tensor([-1.0, 0.0, 0.0, 0.0, 1.0]))
    torch.testing.assert_close(quantize(x, 8, 0.5), torch.tensor([-0.5, -0.4, 0.0, 0.26, 0.5]), atol=0.003, rtol=0)


def test_calibrated_activations_lose_less_than_naive_ones(session: Session, rows: list[TokenRow]) -> None:
    """Where one input is much larger than the others: its column is moved into the weights."""
    with torch.no_grad():
        for layer in session.causal.base_model.layers:
            layer.post_attention_layernorm.weight[5] = 60.0
    exact = losses_of(session, rows)
    with torch.no_grad():
        before = states(session, assemble(rows))
        apart = []
        for given in (None, rows):
            with coarse(session, 6, given):
                apart.append(float((states(session, assemble(rows)) - before).square().mean()))
    assert apart[1] < 0.7 * apart[0]
    np.testing.assert_array_equal(losses_of(session, rows), exact)  # nothing is left behind
    for layer in session.causal.base_model.layers:
        with torch.no_grad():
            layer.post_attention_layernorm.weight[5] = 1.0
