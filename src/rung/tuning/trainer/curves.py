"""What a training writes while it runs: a line a step in ``curves.jsonl``, TensorBoard files, and a curve for the
terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rung.core.system.extras import require
from rung.tuning.trainer.state import Trained

BARS = "▁▂▃▄▅▆▇█"


class Curves:
    """Writes points every ``points`` steps, and every look at dev. Use it as the ``record`` of a training.

    A resumed training writes its points again from where it went on; readers take the last of a step.
    """

    def __init__(self, folder: Path, board: Path | None = None, points: int = 1) -> None:
        self._path, self._points, self._checked = folder / "curves.jsonl", points, 0
        self._writer: Any = None
        if board is not None:
            require("tensorboard", "tensorboard", "writing TensorBoard files")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(board))
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def __call__(self, state: Trained, rate: float) -> None:
        new, self._checked = state.checks[self._checked :], len(state.checks)
        if state.step % self._points and not new:
            return
        point: dict[str, Any] = {"step": state.step, "loss": state.losses[-1], "rate": rate, "seconds": state.seconds}
        if new:
            point["dev"] = new[-1].loss
        self.write(point)

    def write(self, point: Mapping[str, Any]) -> None:
        """One point: ``step`` and numbers by name. ``seconds`` are no curve."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(point) + "\n")
        if self._writer is not None:
            for name, value in point.items():
                if name not in ("step", "seconds"):
                    self._writer.add_scalar(
                        {"loss": "train/loss", "dev": "dev/loss"}.get(name, name), value, point["step"]
                    )


def read(folder: Path) -> list[dict[str, float]]:
    """The points of a training's folder by step; what a kill left half-written is left out."""
    points: dict[int, dict[str, float]] = {}
    path = folder / "curves.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            point = json.loads(line)
            points[int(point["step"])] = point
        except (ValueError, KeyError, TypeError):
            continue
    return [points[step] for step in sorted(points)]


def spark(values: Sequence[float], width: int = 40) -> str:
    """A curve in one line of text: means of ``width`` stretches, highest to lowest over eight bars."""
    if not values:
        return ""
    size = len(values) / min(width, len(values))
    means = []
    for place in range(min(width, len(values))):
        part = values[int(place * size) : max(int(place * size) + 1, int((place + 1) * size))]
        means.append(sum(part) / len(part))
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[min(7, int((value - low) / span * 7.999))] for value in means)
