"""What runs through a model while training rows are read: which inputs, channels, heads and layers matter, in one
forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.types import Task
from rung.models.adapters import adapters
from rung.prompts.template.prompt import show
from rung.tuning.compute import rounding

if TYPE_CHECKING:
    from rung.tuning.batches import TokenRow
    from rung.tuning.compute.session import Session

FEW = 256
"""Calibration of fewer tokens is refused: the means of so few say nothing."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """``squares``: of each matrix the mean square of its inputs; ``influence``: by how much each layer turns its input
    (1 - cosine, ShortGPT, arXiv:2403.03853). ``tokens`` were read; ``key`` names the rows."""

    squares: Mapping[str, NDArray[np.float32]]
    influence: tuple[float, ...]
    tokens: int
    key: str

    def outputs(self, name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much each input of a matrix adds to its outputs, squared and summed: shape (columns,)."""
        energy: NDArray[np.float32] = self.squares[name] * np.square(weight).sum(0)
        return energy


def calibrate(session: Session, rows: Sequence[TokenRow], tokens: int = rounding.CALIBRATION) -> Calibration:
    """Read about so many tokens of ``rows``, spread over all of them. Raises InputError (code "calibration") for too
    few."""
    chosen = rounding.some(rows, tokens)
    count = sum(map(len, chosen))
    if count < FEW:
        raise InputError(
            f"calibration has {count} tokens, expected {FEW} or more",
            remedy="give more training rows, or a text: --calibrate FILE",
            code="calibration",
        )
    with _turning(session) as turned:
        squares = rounding.measure(session, chosen)
    influence = tuple(total / max(1, seen) for total, seen in turned)
    return Calibration(squares, influence, count, digest([row.ids for row in chosen]))


@contextmanager
def _turning(session: Session) -> Iterator[list[tuple[float, int]]]:
    """While open, sums of 1 - cosine between each layer's input and output, and of how many tokens."""
    import torch

    layers = adapters.layers_of(session.causal)
    found: list[tuple[float, int]] = [(0.0, 0)] * len(layers)

    def watch(place: int) -> Any:
        def see(_: Any, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
            before = given[0] if given else named["hidden_states"]
            after = out[0] if isinstance(out, tuple) else out
            a, b = (x.detach().reshape(-1, x.shape[-1]).float() for x in (before, after))
            total, seen = found[place]
            cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
            found[place] = total + float((1 - cosine).sum()), seen + len(a)

        return see

    held = [layer.register_forward_hook(watch(place), with_kwargs=True) for place, layer in enumerate(layers)]
    try:
        yield found
    finally:
        for one in held:
            one.remove()


LINE = 60
"""Bytes of a line from which on it is told from others: shorter ones, such as headings, may well occur twice."""


def demand_apart(task: Task | None, texts: Sequence[str], judged: Sequence[str]) -> None:
    """Raise InputError (code "overlap") when calibration reads what the result is judged by: an input of the task's
    test split, or a line of a text that is measured."""
    tested = {show(dict(example.input)) for example in task.test} if task else set()
    if task and (shared := [example.id for example in task.train if show(dict(example.input)) in tested]):
        raise _overlap(f"{len(shared)} rows of {task.name}'s train split are in its test split")
    lines, short = _lines(judged)
    inputs = {value for example in (task.test if task else ()) for value in example.input.values()}
    for text in texts:
        own, others = _lines([text])
        if common := (own & lines) or (2 * len(others & short) > len(short) and others & short):
            raise _overlap(f"{len(common)} lines of the calibration text are in the text that is measured")
        if found := next((value for value in inputs if len(value) >= LINE and value in text), None):
            raise _overlap(f"the calibration text holds a test input ({found[:40]!r}...)")


def _lines(texts: Sequence[str]) -> tuple[set[str], set[str]]:
    """Lines that are long enough to tell texts apart, and the others, of which it takes most."""
    found = {line.strip() for text in texts for line in text.splitlines()} - {""}
    long = {line for line in found if len(line.encode()) >= LINE}
    return long, found - long


def _overlap(said: str) -> InputError:
    return InputError(
        f"{said}: the result would be judged by what it was fitted to",
        remedy="give another text or task",
        code="overlap",
    )
