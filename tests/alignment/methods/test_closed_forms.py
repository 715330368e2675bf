"""Each method against what is known exactly: expected gradients, optima, and derivatives by finite differences."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from rung.alignment.methods.dpo import Dpo
from rung.alignment.methods.grpo import Grpo
from rung.alignment.methods.method import Actions, AlignMethod, Rollouts, to_go
from rung.alignment.methods.ppo import Ppo
from rung.alignment.methods.reinforce import Reinforce
from rung.alignment.methods.rloo import Rloo
from rung.alignment.methods.trpo import Trpo, search, solve
from rung.alignment.policies.policy import rollouts
from rung.alignment.policies.table import TablePolicy
from rung.alignment.runs.loop import slopes
from rung.core.errors import InputError
from tests.alignment.bandit import Bandit, exact, plays

WORTH = np.array([[0.2, 1.0, -0.5]])
METHODS: tuple[AlignMethod, ...] = (
    Reinforce(kl=0.1),
    Rloo(kl=0.1),
    Grpo(),
    Grpo(scale="std", length="sequence"),
    Ppo(),
    Trpo(),
)


def policy() -> TablePolicy:
    made = TablePolicy(1, 3)
    made.set(torch.tensor([0.3, -0.4, 0.9], dtype=torch.float64))
    return made


def expected(
    method: AlignMethod, replies: int, *, reference: torch.Tensor | None = None, value: float = 0.0
) -> torch.Tensor:
    """The mean gradient over every possible draw of ``replies`` arms, weighted by its probability."""
    table = policy()
    return expected_of(table, method, replies, reference, value)


def expected_of(
    table: TablePolicy, method: AlignMethod, replies: int, reference: torch.Tensor | None = None, value: float = 0.0
) -> torch.Tensor:
    bandit = Bandit(table, WORTH)
    odds = torch.softmax(table.logits, 1)[0]
    beside = torch.log_softmax(table.logits if reference is None else reference[None], 1)[0]
    total = torch.zeros_like(table.vector)
    for arms in product(range(3), repeat=replies):
        batch = plays([0] * replies, arms, bandit)
        old, _ = table.judge(table.states(batch), batch)
        apart = (old - beside[list(arms)]).numpy()
        given = rollouts(batch, apart, np.full(replies, value), 0.3)
        parts = torch.from_numpy(method.credit(given)), torch.from_numpy(method.weigh(given))
        slope, _ = slopes(method, old, old, beside[list(arms)], parts)
        table.grad.zero_()
        table.push(batch, -slope)
        total += table.grad * float(odds[list(arms)].prod())
    return total


@pytest.mark.parametrize(
    ("method", "share"),
    [(Reinforce(), 1.0), (Rloo(), 1.0), (Grpo(kl=0.0), 2 / 3), (Ppo(), 1.0), (Trpo(), 1.0)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_expected_gradient_is_the_exact_one(method: AlignMethod, share: float) -> None:
    """GRPO's mean has the answer itself in it, which shortens the gradient to (n - 1)/n and turns it nowhere."""
    replies = 2 if method.name != "grpo" else 3
    wanted = share * exact(policy(), WORTH).flatten()
    assert torch.allclose(expected(method, replies, value=0.4), wanted, atol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{getattr(method, 'scale', '')}")
def test_the_loss_has_the_derivative_that_finite_differences_have(method: AlignMethod) -> None:
    draw = torch.Generator().manual_seed(3)
    old, reference, advantage = torch.randn(3, 12, generator=draw, dtype=torch.float64)
    weight = torch.rand(12, generator=draw, dtype=torch.float64)
    logp = (old + 0.3 * torch.randn(12, generator=draw, dtype=torch.float64)).requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        return method.loss(Actions(values, old, reference, advantage, weight))

    assert torch.autograd.gradcheck(loss, (logp,))
    slope, _ = slopes(method, logp, old, reference, (advantage, weight))
    assert torch.allclose(slope, torch.autograd.grad(loss(logp), logp)[0])


def test_dpo_has_the_derivative_that_finite_differences_have() -> None:
    draw = torch.Generator().manual_seed(4)
    given = tuple(row.clone().requires_grad_() for row in torch.randn(3, 6, generator=draw, dtype=torch.float64))
    method = Dpo(beta=0.3, smooth=0.1, sft=0.2)
    assert torch.autograd.gradcheck(lambda a, b, c: method.loss(a, b, c).sum(), given)


def test_a_rloo_with_a_price_on_distance_ends_at_the_reference_tilted_by_the_reward() -> None:
    """The optimum of E r - kl KL(p || q) is p = q exp(r / kl) / Z."""
    table, price = policy(), 0.5
    reference = table.vector.clone()
    wanted = torch.softmax(reference + torch.from_numpy(WORTH[0]) / price, 0)
    for _ in range(150):
        table.set(table.vector + 2.0 * expected_of(table, Rloo(kl=price), 2, reference))
    assert torch.allclose(torch.softmax(table.vector, 0), wanted, atol=2e-3)


def test_dpo_ends_at_the_reference_tilted_by_the_reward() -> None:
    """With every pair preferred as Bradley and Terry say, the loss is least at p = q exp(r / beta) / Z (section 4 of the paper)."""
    reward, method = torch.from_numpy(WORTH[0]), Dpo(beta=0.5)
    reference = torch.tensor([0.3, -0.4, 0.9], dtype=torch.float64)
    logits = reference.clone().requires_grad_()
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    odds = torch.stack([torch.sigmoid(reward[a] - reward[b]) for a, b in pairs])
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        ratio = torch.log_softmax(logits, 0) - torch.log_softmax(reference, 0)
        good, bad = (torch.stack([ratio[pair[side]] for pair in pairs]) for side in (0, 1))
        loss = (odds * method.loss(good, bad)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    wanted = torch.softmax(reference + reward / method.beta, 0)
    assert torch.allclose(torch.softmax(logits.detach(), 0), wanted, atol=1e-5)


def test_conjugate_gradient_solves_what_is_positive_definite() -> None:
    draw = torch.Generator().manual_seed(5)
    half, right = (
        torch.randn(6, 6, generator=draw, dtype=torch.float64),
        torch.randn(6, generator=draw, dtype=torch.float64),
    )
    matrix = half @ half.t() + torch.eye(6, dtype=torch.float64)
    found = solve(lambda vector: matrix @ vector, right, 20)
    assert torch.allclose(found, torch.linalg.solve(matrix, right), atol=1e-8)


def test_the_trust_region_step_is_the_natural_gradient_and_as_long_as_the_bound() -> None:
    """All arms as often as they are drawn: S'S / n is then diag(p) - pp', the Fisher information of a softmax."""
    table = TablePolicy(1, 3)
    batch = plays([0, 0, 0], [0, 1, 2], Bandit(table, WORTH))
    method = Trpo(bound=1e-4, damping=1e-9)
    gradient = exact(table, WORTH).flatten()
    step = method.direction(table.scores(batch), gradient, len(batch))
    fisher = torch.eye(3, dtype=torch.float64) / 3 - torch.full((3, 3), 1 / 9, dtype=torch.float64)
    natural = torch.linalg.pinv(fisher) @ gradient
    assert torch.allclose(step / step.norm(), natural / natural.norm(), atol=1e-6)
    before = table.states(batch)
    table.set(table.vector + step)
    assert float(table.apart(before, table.states(batch)).mean()) == pytest.approx(1e-4, rel=0.02)


def test_the_line_search_takes_nothing_beyond_the_bound() -> None:
    assert search(lambda fraction: (fraction * 0.02, 1.0), 0.01).fraction == 0.5
    assert search(lambda fraction: (fraction, -1.0), 10.0).fraction == 0.0
    assert search(lambda fraction: (float("nan"), 1.0), 0.01).kl == 0.0


def test_generalised_advantages_are_returns_less_values_where_the_trace_is_one() -> None:
    draw = np.random.default_rng(0)
    lengths = np.array([3, 1, 4])
    rewards, values = draw.normal(size=(2, 8))
    given = Rollouts(rewards, lengths, np.zeros(3, np.intp), np.zeros(8), values)
    assert np.allclose(Ppo(trace=1.0).credit(given), to_go(rewards, lengths) - values)
    following = np.array([values[1], values[2], 0, 0, values[5], values[6], values[7], 0])
    assert np.allclose(Ppo(trace=0.0).credit(given), rewards + following - values)


@pytest.mark.parametrize(
    ("method", "replies"), [(Rloo(), 1), (Grpo(), 1), (Grpo(scale="mean"), 4), (Ppo(trace=2.0), 4), (Trpo(bound=0), 4)]
)
def test_what_cannot_learn_is_refused(method: AlignMethod, replies: int) -> None:
    with pytest.raises(InputError):
        method.validate(replies)


def test_dpo_refuses_what_cannot_learn() -> None:
    for method in (Dpo(beta=0), Dpo(smooth=0.5), Dpo(epochs=0), Dpo(tail=2)):
        with pytest.raises(InputError):
            method.validate()
