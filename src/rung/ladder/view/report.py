"""A run as one self-contained HTML file: no network, no library, opens from disk."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rung.core.codec import spell
from rung.core.protocols import Resources
from rung.core.types import Loss, Result, Training, text_of
from rung.foundations.text.page import write_page
from rung.ladder.history import read_results
from rung.ladder.records import RungRecord, RunRecord
from rung.ladder.view import numbers
from rung.store import Store


async def write_report(run: RunRecord, store: Store, resources: Resources, path: Path) -> Path:
    """Write the report of ``run`` to ``path`` (replaced in one step). Raises InputError when ``path`` cannot be
    written."""
    results = {
        record.title: await read_results(store, run, record.title, resources, what="report")
        for record in run.rungs
        if record.program
    }
    values: dict[str, Any] = {
        "run": run,
        "t": numbers,
        "primary": run.metrics[0],
        "plot": plot(run),
        "curves": curves(run),
    }
    values["data"] = _script(pack(run, results))
    write_page(files("rung.ladder") / "report.html.j2", values, path, "--report")
    return path


def pack(run: RunRecord, results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Examples and answers for the page's viewer; texts that repeat (system prompts, demonstrations) are kept once."""
    texts: dict[str, int] = {}

    def keep(text: str) -> int:
        return texts.setdefault(text, len(texts))

    examples: dict[str, dict[str, Any]] = {}
    rungs: dict[str, list[dict[str, Any]]] = {}
    for title, rows in results.items():
        rungs[title] = []
        for result in rows:
            example, answer = result.example, result.answer
            examples.setdefault(
                example.id,
                {"input": keep(text_of(example.input)), "reference": keep(spell(example.reference))},
            )
            rungs[title].append(
                {
                    "id": example.id,
                    "output": keep("" if answer.failure else spell(answer.output)),
                    "failure": keep(f"{answer.failure.where}: {answer.failure.message}") if answer.failure else None,
                    "steps": [
                        {
                            "name": step.name,
                            "note": step.note,
                            "messages": [[message.role, keep(message.content)] for message in step.messages],
                            "reply": keep(step.reply),
                        }
                        for step in answer.steps
                    ],
                    "scores": {name: [round(score.value, 4), keep(score.why)] for name, score in result.scores.items()},
                    "tokens": [answer.usage.prompt_tokens, answer.usage.cached_tokens, answer.usage.completion_tokens],
                    "seconds": round(result.seconds, 4),
                }
            )
    return {"texts": list(texts), "examples": examples, "rungs": rungs, "metric": run.metrics[0]}


def _script(document: Mapping[str, Any]) -> str:
    # Nothing in the data may end the script element or start a comment in it.
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plot(run: RunRecord) -> dict[str, Any] | None:
    """The quality-cost plot as coordinates: cost in US dollars per 1,000 answers on a log axis. None without points."""
    primary = run.metrics[0]
    points = [record for record in run.rungs if record.scored and record.online is not None]
    costs = {record.title: _cost(record) for record in points}
    if not points:
        return None
    width, height, left, right, top, bottom = 860.0, 380.0, 60.0, 124.0, 18.0, 44.0
    low, high = math.floor(math.log10(min(costs.values()))), math.ceil(math.log10(max(costs.values())))
    high = max(high, low + 1)
    values = [record.metrics[primary] for record in points]
    floor = min(0.0, *(interval.low for interval in values))
    roof = max(interval.high for interval in values)
    # A score that cannot pass 1 gets the whole unit range; others a little air.
    roof = 1.0 if 0.5 < roof <= 1.0 else roof * 1.1 or 1.0

    def x(cost: float) -> float:
        return left + (math.log10(cost) - low) / (high - low) * (width - left - right)

    def y(value: float) -> float:
        return height - bottom - (value - floor) / (roof - floor) * (height - top - bottom)

    recommended = run.recommendation.rung if run.recommendation else ""
    dots = [
        {
            "title": record.title,
            "x": round(x(costs[record.title]), 1),
            "y": round(y(interval.value), 1),
            "low": round(y(interval.low), 1),
            "high": round(y(interval.high), 1),
            "kind": "chosen" if record.title == recommended else "pareto" if record.pareto else "dominated",
            "tip": f"{record.title}: {primary} {numbers.quality(interval)}, {numbers.money(costs[record.title])} per 1,000",
        }
        for record, interval in zip(points, values, strict=True)
    ]
    _spread(dots, top, height - bottom)
    front = sorted((dot for dot in dots if dot["kind"] != "dominated"), key=lambda dot: float(str(dot["x"])))
    return {
        "width": width,
        "height": height,
        "bottom": height - bottom,
        "left": left,
        "right": width - right,
        "dots": dots,
        "front": " ".join(f"{dot['x']},{dot['y']}" for dot in front),
        "xs": [{"x": round(x(10.0**e), 1), "label": numbers.money(10.0**e)} for e in range(low, high + 1)],
        "ys": [
            {"y": round(y(floor + (roof - floor) * i / 5), 1), "label": f"{floor + (roof - floor) * i / 5:.2f}"}
            for i in range(6)
        ],
    }


def curves(run: RunRecord) -> list[dict[str, Any]]:
    """The losses of each training as coordinates, on axes of their own; rungs that share a training share a picture."""
    shared: dict[Training, list[str]] = {}
    for record in run.rungs:
        if record.training is not None and record.training.train:
            shared.setdefault(record.training, []).append(record.title)
    return [_curve(training, titles) for training, titles in shared.items()]


def _curve(training: Training, titles: Sequence[str]) -> dict[str, Any]:
    width, height, left, right, top, bottom = 460.0, 240.0, 46.0, 12.0, 12.0, 36.0
    values = [point.loss for point in (*training.train, *training.dev)]
    low, high = min(0.0, *values), max(values) or 1.0

    def x(step: int) -> float:
        return round(left + step / max(training.steps, 1) * (width - left - right), 1)

    def y(loss: float) -> float:
        return round(height - bottom - (loss - low) / (high - low) * (height - top - bottom), 1)

    def line(points: Sequence[Loss]) -> str:
        return " ".join(f"{x(point.step)},{y(point.loss)}" for point in points)

    best = next((point for point in training.dev if point.step == training.best), None)
    said = f"{training.steps} of {training.total} steps: {training.stopped}"
    if best is not None:
        said += f"; dev loss {training.dev[0].loss:.3f} at step {training.dev[0].step}, {best.loss:.3f} at step {best.step}, which is kept"
    return {
        "title": ", ".join(titles),
        "said": said,
        "width": width,
        "height": height,
        "left": left,
        "right": width - right,
        "bottom": height - bottom,
        "train": line(training.train),
        "dev": line(training.dev),
        "dots": [
            {"x": x(p.step), "y": y(p.loss), "best": p is best, "tip": f"dev loss {p.loss:.4f} after step {p.step}"}
            for p in training.dev
        ],
        "xs": [{"x": x(step), "label": step} for step in sorted({0, training.steps // 2, training.steps})],
        "ys": [{"y": y(low + (high - low) * i / 4), "label": f"{low + (high - low) * i / 4:.2f}"} for i in range(5)],
    }


def _spread(dots: list[dict[str, Any]], top: float, bottom: float) -> None:
    """Give every dot a label height of its own, so that names of close points can be read."""
    placed: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda dot: (dot["y"], dot["x"])):
        level = float(dot["y"]) - 6
        while any(abs(level - other) < 12 and abs(float(dot["x"]) - at) < 120 for at, other in placed):
            level += 12
        placed.append((float(dot["x"]), level))
        dot["label"] = round(min(max(level, top + 8), bottom - 4), 1)


def _cost(record: RungRecord) -> float:
    return max(record.online.cost * 1000 if record.online else 0.0, 1e-7)
