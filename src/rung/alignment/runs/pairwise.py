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
    """Of ``pairs``: the share in which the chosen answer has gained more on the reference than the rejected one, the mean margin of
    that in nats, and the change of the chosen answers' own log-probability."""

    accuracy: float
    margin: float
    chosen: float


class PairLearner:
    """One DPO in progress. The reference is the policy as it is at the beginning; its log-probabilities are computed once."""

    def __init__(
        self, policy: LearnablePolicy, pairs: Sequence[TokenPair], method: Dpo, pace: Pacing, seed: int = 0
    ) -> None:

        self.policy, self.pairs, self.method, self.pace, self.seed = policy, pairs, method, pace, seed
        self._reference: dict[str, torch.Tensor] = {}
        self.optimizer, kept = adamw(policy.vector, policy.grad, pace.rate, betas=(0.9, 0.99), fused=False)
        self.tensors = {"vector": policy.vector, **kept}
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
            ended = "all pairs learnt" if state.step + 1 >= self.total else ""
            state = replace(state, step=state.step + 1, updates=(*state.updates, update), stopped=ended)
            store.save(state, self.tensors)
            watch.record(update)
            said = f"loss {update.parts['loss']:.4f}, right {update.parts['accuracy']:.2f}, KL {update.kl:.4f}"
            watch.progress(Progress("dpo", state.step, state.total, f"{said}; {note}" if note else said))
        return state

    def judge(self, pairs: Sequence[TokenPair]) -> PairVerdict:
        """How the policy as it is now holds pairs, learnt from or not."""
        margins, chosen = [], []
        for at in range(0, len(pairs), self.method.pairs):
            good, bad, _ = self._ratios(pairs[at : at + self.method.pairs])
            margins += (good - bad).tolist()
            chosen += good.tolist()
        return PairVerdict(float(np.mean([m > 0 for m in margins])), float(np.mean(margins)), float(np.mean(chosen)))

    def _chosen(self, step: int) -> list[TokenPair]:
        epoch, place = divmod(step, math.ceil(len(self.pairs) / self.method.pairs))
        order = shuffle(len(self.pairs), epoch, self.seed)
        return [self.pairs[at] for at in order[place * self.method.pairs : (place + 1) * self.method.pairs]]

    def _ratios(self, pairs: Sequence[TokenPair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Summed log-ratios of chosen and rejected answers, and the flat log-probabilities behind them."""
        batch = flat(pairs)
        logp, _ = self.policy.judge(self.policy.states(batch), batch)
        good, bad, _ = self._sums(pairs, logp)
        return good, bad, logp

    def _sums(self, pairs: Sequence[TokenPair], logp: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Summed log-ratios (the tail beyond the shorter answer counted less), and the chosen answers' loss a token."""
        import torch

        self._remember(pairs)
        goods, bads, losses, at = [], [], [], 0
        for pair in pairs:
            sizes = len(pair.chosen.actions), len(pair.rejected.actions)
            sums = []
            for side, size in zip(("chosen", "rejected"), sizes, strict=True):
                ratio = logp[at : at + size] - self._reference[f"{pair.id} {side}"]
                shared = min(sizes)
                sums.append(ratio[:shared].sum() + self.method.tail * ratio[shared:].sum())
                if side == "chosen":
                    losses.append(-logp[at : at + size].mean())
                at += size
            goods.append(sums[0])
            bads.append(sums[1])
        return torch.stack(goods), torch.stack(bads), torch.stack(losses)

    def _remember(self, pairs: Sequence[TokenPair]) -> None:
        new = [pair for pair in pairs if f"{pair.id} chosen" not in self._reference]
        if not new:
            return
        now = self.policy.vector.clone()
        self.policy.set(self._start)
        batch = flat(new)
        logp, _ = self.policy.judge(self.policy.states(batch), batch)
        self.policy.set(now)
        at = 0
        for pair in new:
            for side, one in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                self._reference[f"{pair.id} {side}"] = logp[at : at + len(one.actions)]
                at += len(one.actions)

    def _step(self, step: int) -> Update:
        import torch

        pairs, policy = self._chosen(step), self.policy
        batch = flat(pairs)
        logp, entropy = policy.judge(policy.states(batch), batch)
        leaf = logp.detach().clone().requires_grad_()
        good, bad, sft = self._sums(pairs, leaf)
        loss = self.method.loss(good, bad, sft).mean()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FitError(
                f"the loss became {value} at pair batch {step + 1} ({', '.join(pair.id for pair in pairs[:4])})",
                remedy=f"lower rate (it is {self.pace.rate:g}), or look at those pairs; the last good state is kept",
            )
        (slope,) = torch.autograd.grad(loss, leaf)
        policy.grad.zero_()
        policy.push(batch, slope)
        norm = float(torch.linalg.vector_norm(policy.grad))
        if norm > self.pace.norm:
            policy.grad.mul_(self.pace.norm / norm)
        self.optimizer.step()
        policy.set(policy.vector.clone())
        policy.grad.zero_()
        margin = (good - bad).detach()
        reference = torch.cat(
            [self._reference[f"{pair.id} {side}"] for pair in pairs for side in ("chosen", "rejected")]
        )
        return Update(
            step=step + 1,
            reward=float(self.method.beta * margin.mean()),
            parts={
                "loss": value,
                "accuracy": float((margin > 0).double().mean()),
                "chosen": float(good.detach().mean()),
            },
            kl=float(k3(logp, reference).mean()),
            kl3=float(k3(logp, reference).mean()),
            entropy=float(entropy.mean()),
            length=float(np.mean([len(one.actions) for one in batch])),
            norm=norm,
            tokens=sum(len(one.actions) for one in batch),
        )


def flat(pairs: Sequence[TokenPair]) -> list[Trajectory]:
    """Chosen and rejected answers, pair after pair."""
    return [one for pair in pairs for one in (pair.chosen, pair.rejected)]
