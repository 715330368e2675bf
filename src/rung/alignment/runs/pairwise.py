"""The loop of direct preference optimisation: pairs in batches, the same policy, the same rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rung.alignment.methods.dpo import Dpo
from rung.alignment.methods.method import k3
from rung.alignment.policies.policy import LearnablePolicy, Trajectory
from rung.alignment.runs.course import UNWATCHED, Course, Spectator, Update
from rung.alignment.runs.loop import Pacing
from rung.core.errors import FitError
from rung.core.types import Progress
from rung.tuning.batches import shuffle
from rung.tuning.trainer.checkpoints import Checkpoints
from rung.tuning.trainer.optimizer import adamw

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A better and a worse answer to one prompt, as actions."""

    id: str
    chosen: Trajectory
    rejected: Trajectory


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Of ``pairs``: the share in which the chosen answer has gained more on the reference than the rejected one, the
    mean margin of that in nats, and the change of the chosen answers' own log-probability."""

    accuracy: float
    margin: float
    chosen: float


class PairLearner:
    """One DPO in progress. The reference is the policy as it is at the beginning. Afterwards the policy holds the last
    step, or, where it went further from the reference than its budget, the last one that did not."""

    def __init__(
        self, policy: LearnablePolicy, pairs: Sequence[TokenPair], method: Dpo, pace: Pacing, seed: int = 0
    ) -> None:

        self.policy, self.pairs, self.method, self.pace, self.seed = policy, pairs, method, pace, seed
        self.optimizer, kept = adamw(policy.vector, policy.grad, pace.rate, betas=(0.9, 0.99), fused=False)
        self.good = policy.vector.clone()
        self.tensors = {"vector": policy.vector, "good": self.good, **kept}
        self._start = policy.vector.clone()

    @property
    def total(self) -> int:
        return math.ceil(len(self.pairs) / self.method.pairs) * self.method.epochs

    def run(self, store: Checkpoints[Course], watch: Spectator = UNWATCHED) -> Course:
        """Go on from the last whole step. Raises FitError when told to stop, and for a loss that is no number."""
        state, note = store.restore(self.tensors)
        self.policy.set(self.policy.vector.clone())
        state = replace(state, total=self.total, resumed=state.step)
        while not state.stopped:
            watch.check(state)
            began, cpu = time.perf_counter(), time.process_time()
            update = self._step(state.step)
            spent = time.perf_counter() - began, time.process_time() - cpu
            update = replace(update, seconds=spent[0], cpu_seconds=spent[1])
            ended = update.note or ("all pairs learnt" if state.step + 1 >= self.total else "")
            state = replace(state, step=state.step + 1, updates=(*state.updates, update), stopped=ended)
            state = replace(state, flagged=bool(update.note), good=state.step - 2 if update.note else state.step)
            store.save(state, self.tensors)
            watch.record(update)
            said = f"loss {update.parts['loss']:.4f}, right {update.parts['accuracy']:.2f}, KL {update.kl:.4f}"
            watch.progress(Progress("dpo", state.step, state.total, f"{said}; {note}" if note else said))
        if state.flagged:
            self.policy.set(self.good)
        return state

    def judge(self, pairs: Sequence[TokenPair]) -> PairVerdict:
        """How the policy as it is now holds pairs, learnt from or not."""
        margins, chosen = [], []
        for at in range(0, len(pairs), self.method.pairs):
            good, bad = self._ratios(pairs[at : at + self.method.pairs])
            margins += (good - bad).tolist()
            chosen += good.tolist()
        return PairVerdict(float(np.mean([m > 0 for m in margins])), float(np.mean(margins)), float(np.mean(chosen)))

    def _chosen(self, step: int) -> list[TokenPair]:
        epoch, place = divmod(step, math.ceil(len(self.pairs) / self.method.pairs))
        order = shuffle(len(self.pairs), epoch, self.seed)
        return [self.pairs[at] for at in order[place * self.method.pairs : (place + 1) * self.method.pairs]]

    def _ratios(self, pairs: Sequence[TokenPair]) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed log-ratios of chosen and rejected answers."""
        batch = flat(pairs)
        _, reference = self._refer(batch)
        good, bad, _ = self._sums(pairs, self.policy.judge(self.policy.states(batch), batch)[0], reference)
        return good, bad

    def _refer(self, batch: Sequence[Trajectory]) -> tuple[torch.Tensor, torch.Tensor]:
        """The reference's states and log-probabilities."""
        now = self.policy.vector.clone()
        self.policy.set(self._start)
        try:
            states = self.policy.states(batch)
            return states, self.policy.judge(states, batch)[0]
        finally:
            self.policy.set(now)

    def _sums(
        self, pairs: Sequence[TokenPair], logp: torch.Tensor, reference: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Summed log-ratios (the tail beyond the shorter answer counted less), and the chosen answers' loss a token."""
        import torch

        sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        losses, at = [], 0
        for pair in pairs:
            sizes = len(pair.chosen.actions), len(pair.rejected.actions)
            for side, size in zip(sides, sizes, strict=True):
                ratio = logp[at : at + size] - reference[at : at + size]
                shared = min(sizes)
                side.append(ratio[:shared].sum() + self.method.tail * ratio[shared:].sum())
                at += size
            losses.append(-logp[at - sum(sizes) : at - sizes[1]].mean())
        return torch.stack(sides[0]), torch.stack(sides[1]), torch.stack(losses)

    def _step(self, step: int) -> Update:
        import torch

        pairs, policy = self._chosen(step), self.policy
        batch = flat(pairs)
        before, reference = self._refer(batch)
        states = policy.states(batch)
        logp, entropy = policy.judge(states, batch)
        kl = float(policy.apart(states, before).mean())
        leaf = logp.detach().clone().requires_grad_()
        good, bad, sft = self._sums(pairs, leaf, reference)
        loss = self.method.loss(good, bad, sft).mean()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FitError(
                f"the loss became {value} at pair batch {step + 1} ({', '.join(pair.id for pair in pairs[:4])})",
                remedy=f"lower rate (it is {self.pace.rate:g}), or look at those pairs; the last good state is kept",
            )
        note, norm = "", 0.0
        if self.pace.budget and not kl <= self.pace.budget:
            note = f"the policy is {kl:.4f} nats an action from its reference, and its budget is {self.pace.budget:g}"
        else:
            self.good.copy_(policy.vector)
            (slope,) = torch.autograd.grad(loss, leaf)
            norm = self._descend(batch, slope)
        margin = (good - bad).detach()
        return Update(
            step=step + 1,
            reward=float(self.method.beta * margin.mean()),
            parts={
                "loss": value,
                "accuracy": float((margin > 0).double().mean()),
                "chosen": float(good.detach().mean()),
            },
            kl=kl,
            kl3=float(k3(logp, reference).mean()),
            entropy=float(entropy.mean()),
            length=float(np.mean([len(one.actions) for one in batch])),
            norm=norm,
            tokens=sum(len(one.actions) for one in batch),
            note=note,
        )

    def _descend(self, batch: Sequence[Trajectory], slope: torch.Tensor) -> float:
        """One optimizer step along the losses' slope by each action's log-probability; the gradient's norm."""
        import torch

        policy = self.policy
        policy.grad.zero_()
        policy.push(batch, slope)
        norm = float(torch.linalg.vector_norm(policy.grad))
        if norm > self.pace.norm:
            policy.grad.mul_(self.pace.norm / norm)
        self.optimizer.step()
        policy.set(policy.vector.clone())
        policy.grad.zero_()
        return norm


def flat(pairs: Sequence[TokenPair]) -> list[Trajectory]:
    """Chosen and rejected answers, pair after pair."""
    return [one for pair in pairs for one in (pair.chosen, pair.rejected)]
