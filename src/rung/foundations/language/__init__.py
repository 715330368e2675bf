"""Language models from counts to the transformer, one idea a file, in arrays and torch tensors: no torch.nn module for
what a file teaches, and a test beside each that it equals the one of torch.nn or transformers."""

from __future__ import annotations

from typing import Any

from rung.core.system.extras import require

Tensor = Any
"""A torch tensor: torch is an extra, so its types are not known here."""

Weights = dict[str, Tensor]
"""A model's numbers by name."""


def tensors() -> Any:
    """The module torch. Raises MissingExtra."""
    return require("torch", "transformers", "a model of the foundations")
