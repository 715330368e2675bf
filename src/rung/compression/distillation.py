"""A student that learns what its teacher would have said, token by token, and not only what was right (Hinton et al.
2015, arXiv:1503.02531)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import Message, Reply
from rung.models.engine.openvino.model import open_model
from rung.tuning.batches import MicroBatch
from rung.tuning.checks.parity import answers
from rung.tuning.compute.session import Session, states
from rung.tuning.work import Lessons

CHUNK = 256
"""Tokens whose logits are held at once."""


class SoftHead(torch.autograd.Function):  # type: ignore[misc]
    """Of each token (1 - hard) KL(teacher || student) + hard cross-entropy, over the whole vocabulary: hidden (n, d)
    and taught (n, e) -> losses (n,), in chunks of tokens. The gradient is made in the forward pass; neither head is
    trained."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, taught: Tensor, heads: tuple[Tensor, Tensor], targets: Tensor, hard: float
    ) -> Tensor:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for low in range(0, len(hidden), CHUNK):
            part = slice(low, low + CHUNK)
            own = functional.log_softmax(functional.linear(hidden[part], heads[0]).float(), -1)
            wanted = functional.log_softmax(functional.linear(taught[part], heads[1]).float(), -1)
            goal, target = wanted.exp(), targets[part, None]
            apart = (goal * (wanted - own)).sum(-1)
            losses[part] = (1 - hard) * apart - hard * own.gather(1, target)[:, 0]
            if grad is not None:
                goal.mul_(1 - hard).scatter_add_(1, target, torch.full_like(target, hard, dtype=goal.dtype))
                grad[part] = own.exp_().sub_(goal).to(hidden.dtype) @ heads[0]
        ctx.grad = grad
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden = None if ctx.grad is None else ctx.grad * grads[0][:, None].to(ctx.grad.dtype)
        return hidden, None, None, None, None


def following(teacher: Session, hard: float = 0.1) -> Callable[[Session, MicroBatch], Tensor]:
    """What a student's training minimises: the distance to the teacher on every token of the answers, and ``hard``
    parts of the right one's loss. Both must have one vocabulary."""

    def loss(student: Session, batch: MicroBatch) -> Tensor:
        with torch.no_grad():
            taught = states(teacher, batch)
        heads = tuple(each.causal.get_output_embeddings().weight for each in (student, teacher))
        targets = torch.from_numpy(batch.targets).to(student.device)
        return SoftHead.apply(states(student, batch), taught, heads, targets, hard)

    return loss


def answered(file: Path, lessons: Lessons, settings: Settings) -> Lessons:
    """The lessons with what a model answers, greedily, in the place of each conversation's last answer (one that it
    does not end stays as it was). Raises InputError for lessons without conversations, ModelError when it
    cannot be asked."""
    talks = [(id, messages) for id, messages in lessons.conversations if messages[-1].role == "assistant"]
    if not talks:
        raise InputError(
            "texts have no answers that a teacher could write",
            remedy="give --task TASK, or --teach teacher",
            code="plan",
        )
    # A token has a character at least, so this is never too few for the answers that the rows have.
    most = min(512, 16 + max(len(messages[-1].content) for _, messages in talks))

    async def ask() -> list[Reply]:
        model = open_model(str(file), settings)
        try:
            return await answers(model, [said[:-1] for _, said in talks], most)
        finally:
            await model.close()

    replies = asyncio.run(ask())
    own = [
        (id, (*said[:-1], Message("assistant", reply.text if reply.finish == "stop" else said[-1].content)))
        for (id, said), reply in zip(talks, replies, strict=True)
    ]
    return replace(lessons, conversations=own)
