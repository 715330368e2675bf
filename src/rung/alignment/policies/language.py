"""A language model with a LoRA adapter as a policy: an action is a token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rung.alignment.policies.policy import Batch
from rung.models.adapters.lora import Lora, matrices
from rung.tuning.batches import MicroBatch, TokenRow, split
from rung.tuning.compute.lower import CachedOutputs
from rung.tuning.compute.session import Session, below, states
from rung.tuning.trainer.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from rung.tuning.compute.replicas import Replicas

Piece = tuple[MicroBatch, np.ndarray[tuple[int], np.dtype[np.intp]]]
"""Some rows of a batch, and the flat places of their actions in it."""
CHUNK = 64
"""Actions whose logits over the whole vocabulary are held at once: 12 MB of them, in each thread and a few copies. With
four times as many a run of GRPO needed 0.3 GB more, and no less time."""


class LanguagePolicy:
    """The session's model, its probabilities sharpened by ``temperature`` as its replies are sampled, computed by
    ``replicas`` of it side by side. What frozen layers put out is computed once for a batch and kept while it is asked
    for again."""

    def __init__(self, replicas: Replicas, recipe: Recipe, temperature: float = 1.0) -> None:
        self.replicas, self.recipe, self.temperature = replicas, recipe, temperature
        self.session = replicas.sessions[0]
        self._held: tuple[int, ...] = ()

    @property
    def vector(self) -> torch.Tensor:
        return self.session.vector

    @property
    def grad(self) -> torch.Tensor:
        return self.session.grad

    @property
    def width(self) -> int:
        return int(self.session.causal.config.hidden_size)

    def set(self, vector: torch.Tensor) -> None:
        self.session.set(vector)

    def lora(self) -> Lora:
        """The adapter as the engine takes it."""
        named = {name.replace(".default", ""): part.cpu().numpy() for name, part in self.session.named().items()}
        recipe = self.recipe
        scaling = recipe.alpha / (recipe.rank**0.5 if recipe.rslora else recipe.rank)
        key = hashlib.blake2b(self.vector.cpu().numpy().tobytes(), digest_size=16).hexdigest()
        return Lora(self.session.base.folder, key, recipe.rank, matrices(named, scaling))

    def states(self, batch: Batch) -> torch.Tensor:
        import torch

        def work(session: Session, piece: Piece) -> torch.Tensor:
            with torch.no_grad():
                return states(session, piece[0]) / self.temperature

        pieces = self._pieces(batch)
        found = self.replicas.run(pieces, work, train=False)
        out = found[0].new_empty(sum(len(one.actions) for one in batch), found[0].shape[1])
        for (_, index), hidden in zip(pieces, found, strict=True):
            out[index] = hidden
        return out

    def judge(self, states: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        targets = torch.tensor([token for one in batch for token in one.actions], device=states.device)
        logp, entropy = [], []
        for at, logs in self._logs(states):
            logp.append(logs.gather(1, targets[at : at + len(logs), None])[:, 0])
            entropy.append(-(logs.exp() * logs).sum(1))
        return torch.cat(logp), torch.cat(entropy)

    def apart(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        import torch

        pairs = zip(self._logs(one), self._logs(other), strict=True)
        return torch.cat([(mine.exp() * (mine - theirs)).sum(1) for (_, mine), (_, theirs) in pairs])

    def features(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        return states

    def push(self, batch: Batch, coefficients: torch.Tensor) -> None:
        self.replicas.clear()
        self.replicas.run(
            self._pieces(batch), lambda session, piece: self._push(session, piece, coefficients), train=False
        )
        self.replicas.gather()

    def scores(self, batch: Batch) -> torch.Tensor:
        import torch

        def work(session: Session, one: int) -> torch.Tensor:
            session.grad.zero_()
            (piece,) = self._split([batch[one]], 1)
            self._push(session, piece, torch.ones(len(batch[one].actions)))
            return session.grad.clone()

        self._pieces(batch)
        rows = self.replicas.run(range(len(batch)), work, train=False)
        self.session.grad.zero_()
        return torch.stack(rows)

    def _push(self, session: Session, piece: Piece, coefficients: torch.Tensor) -> None:
        import torch

        from rung.tuning.compute import kernels

        micro, index = piece
        if not bool(coefficients[index].any()):
            return
        weight = session.causal.get_output_embeddings().weight
        hidden = states(session, micro) / self.temperature
        targets = torch.from_numpy(micro.targets).to(session.device)
        losses = kernels.Head.apply(hidden, weight, targets, CHUNK)
        (-losses * coefficients[index].to(losses.dtype)).sum().backward()

    def mismatch(self, states: torch.Tensor, batch: Batch) -> float | None:
        """Mean distance between the log-probabilities that the sampler gave (at temperature 1) and those computed here,
        over the first actions of a batch; None where it gave none."""
        import torch

        said = torch.tensor([value for one in batch for value in one.sampled], device=states.device)[:CHUNK]
        if not len(said):
            return None
        targets = torch.tensor([token for one in batch for token in one.actions], device=states.device)[
            : len(said), None
        ]
        _, logs = next(self._logs(states[: len(said)] * self.temperature))
        return float((logs.gather(1, targets)[:, 0] - said).abs().mean())

    def _logs(self, states: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Log-probabilities of all tokens, some actions at a time: their place and shape (actions, vocabulary)."""
        import torch

        weight = self.session.causal.get_output_embeddings().weight.detach()
        for at in range(0, len(states), CHUNK):
            yield at, torch.log_softmax((states[at : at + CHUNK].detach() @ weight.t()).float(), -1)

    def _pieces(self, batch: Batch) -> list[Piece]:
        """The batch in pieces for all replicas, with what the frozen layers put out for it computed."""
        pieces = self._split(batch, self.replicas.count)
        held = tuple(hash(row.ids) for micro, _ in pieces for row in micro.members)
        if self.session.frozen and held != self._held:
            kept = CachedOutputs()
            found = self.replicas.run([micro for micro, _ in pieces], below, train=False)
            for (micro, _), outputs in zip(pieces, found, strict=True):
                kept.put(micro, outputs)
            for session in self.replicas.sessions:
                session.kept = kept
            self._held = held
        return pieces

    def _split(self, batch: Batch, count: int) -> list[Piece]:
        """The turns of one conversation, which stand behind one another in a batch, are one row: what they share is
        computed once. ``split`` and ``assemble`` change the order of rows, so places go by the row's id."""
        rows: list[TokenRow] = []
        places: list[np.ndarray[tuple[int], np.dtype[np.intp]]] = []
        at = 0
        for one in batch:
            mine = np.arange(at, at + len(one.actions))
            at += len(one.actions)
            before: tuple[bool, ...] = ()
            if rows and one.context[: len(rows[-1])] == rows[-1].ids:
                before, mine = rows.pop().trained, np.concatenate([places.pop(), mine])
            trained = (*before, *(False,) * (len(one.context) - len(before)), *(True,) * len(one.actions))
            rows.append(TokenRow(str(len(rows)), (*one.context, *one.actions), trained))
            places.append(mine)
        return [
            (micro, np.concatenate([places[int(row.id)] for row in micro.members]))
            for micro in split(rows, self.recipe.tokens, count)
        ]
