"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290): the reward is the policy's own log-ratio to
the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rung.core.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dpo:
    """``beta``: how dear distance from the reference is. ``smooth``: share of the labels taken to be wrong
    (conservative DPO, Mitchell 2023). ``tail``: weight of what a longer answer says beyond the shorter one's length
    (LD-DPO, arXiv:2409.06411; 1: plain DPO). ``sft``: weight of the chosen answer's own loss a token, which keeps it
    probable (RPO, arXiv:2404.19733). ``epochs`` over the pairs in batches of ``pairs``."""

    name: ClassVar[str] = "dpo"

    beta: float = 0.1
    smooth: float = 0.0
    tail: float = 1.0
    sft: float = 0.0
    epochs: int = 1
    pairs: int = 8

    def validate(self) -> None:
        """Raises InputError for options that cannot learn."""
        if not (self.beta > 0 and 0 <= self.smooth < 0.5 and 0 <= self.tail <= 1 and self.sft >= 0):
            raise InputError(
                f"dpo: got beta {self.beta}, smooth {self.smooth}, tail {self.tail}, sft {self.sft}",
                remedy="expected beta above 0, smooth from 0 to below 0.5, tail of 0 to 1, sft of at least 0",
            )
        if self.epochs < 1 or self.pairs < 1:
            raise InputError(
                f"dpo: got epochs {self.epochs} and pairs {self.pairs}", remedy="expected both to be at least 1"
            )

    def loss(self, chosen: torch.Tensor, rejected: torch.Tensor, sft: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of each pair, shape (pairs,). ``chosen`` and ``rejected``: summed log-ratios to the reference;
        ``sft``: the chosen answers' mean negative log-probability a token."""
        from torch.nn import functional

        margin = self.beta * (chosen - rejected)
        loss = -(1 - self.smooth) * functional.logsigmoid(margin) - self.smooth * functional.logsigmoid(-margin)
        return loss if sft is None or not self.sft else loss + self.sft * sft
