"""A workflow as a picture: Mermaid text, or SVG in layers from left to right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from html import escape

from rung.core.codec import spell
from rung.workflow.definition import Flow, FlowStep

_WIDE, _HIGH, _GAP, _ROW = 190, 44, 60, 64


def mermaid(flow: Flow) -> str:
    """The workflow as a Mermaid flowchart: inputs round, steps square, what lies within one in a frame."""
    lines = ["flowchart LR", *(f"  in_{name}([{name}])" for name in flow.inputs)]
    lines += _nodes(flow.steps, "s", "  ")
    lines += _edges(flow.steps, "s", {name: f"in_{name}" for name in flow.inputs})
    written = _writers(flow.steps, "s")
    for name in flow.outputs:
        lines += [f"  out_{name}([{name}])", f"  {written.get(name, f'in_{name}')} --> out_{name}"]
    return "\n".join(lines) + "\n"


def _title(step: FlowStep) -> str:
    """A step in a few words."""
    what = step.given[step.kind]
    match step.kind:
        case "agent" | "tool":
            words = f"{step.name}: {what}" if step.name != what else step.name
        case "vote":
            words = f"{step.name}: vote of {', '.join(what)}"
        case "when" | "each":
            words = f"{step.kind}{' of' * (step.kind == 'each')} {what}"
        case "repeat":
            words = f"repeat until {step.given.get('until', step.given.get('most'))}"
        case _:
            words = f"{step.name} = {spell(what)}"
    return words if len(words) <= 60 else f"{words[:57]}..."


def _nodes(steps: Sequence[FlowStep], id: str, indent: str) -> Iterator[str]:
    for at, step in enumerate(steps):
        me, title = f"{id}{at}", _title(step).replace('"', "'")
        if not step.parts:
            yield f'{indent}{me}["{title}"]'
            continue
        yield f'{indent}subgraph {me}["{title}"]'
        for arm, part in step.parts.items():
            framed = step.kind == "when"
            if framed:
                yield f'{indent}  subgraph {me}_{arm}["{arm}"]'
            yield from _nodes(part, f"{me}_{arm}_", indent + "    ")
            if framed:
                yield f"{indent}  end"
        yield f"{indent}end"


def _writers(steps: Sequence[FlowStep], id: str) -> dict[str, str]:
    return {name: f"{id}{at}" for at, step in enumerate(steps) for name in step.writes}


def _edges(steps: Sequence[FlowStep], id: str, known: dict[str, str]) -> Iterator[str]:
    there = {**known, **_writers(steps, id)}
    for at, step in enumerate(steps):
        for name in sorted(step.reads):
            if name in there:
                yield f"  {there[name]} -- {name} --> {id}{at}"
        for arm, part in step.parts.items():
            yield from _edges(part, f"{id}{at}_{arm}_", {})


def svg(flow: Flow) -> str:
    """The workflow as SVG: each step to the right of all that it waits for, the steps within one listed in its box."""
    writers = {name: step.name for step in flow.steps for name in step.writes}
    needs = {step.name: {writers[name] for name in step.reads if name in writers} for step in flow.steps}
    layer: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        layer[name] = 1 + max((layer[other] for other in needs[name]), default=0)
    lines = {step.name: [_title(step), *_inside(step, 1)] for step in flow.steps}
    last = max(layer.values(), default=0) + 1
    columns: list[list[tuple[str, list[str]]]] = [[] for _ in range(last + 1)]
    columns[0] = [(f"in:{name}", [name]) for name in flow.inputs]
    for step in flow.steps:
        columns[layer[step.name]].append((step.name, lines[step.name]))
    columns[last] = [(f"out:{name}", [name]) for name in flow.outputs]
    places: dict[str, tuple[int, int, int]] = {}
    parts, deepest = [], 0
    for at, column in enumerate(columns):
        y = 20
        for name, shown in column:
            high = _HIGH + 16 * (len(shown) - 1)
            places[name] = (20 + at * (_WIDE + _GAP), y, high)
            round_ = 22 if name.startswith(("in:", "out:")) else 6
            x = places[name][0]
            parts.append(f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{high}" rx="{round_}" class="box"/>')
            parts += [
                f'<text x="{x + 10}" y="{y + 26 + 16 * row}">{escape(text[:34])}</text>'
                for row, text in enumerate(shown)
            ]
            y += high + _ROW - _HIGH
        deepest = max(deepest, y)
    ends = [(name, step.name) for step in flow.steps for name in sorted(step.reads)]
    for name, to in [*ends, *((name, f"out:{name}") for name in flow.outputs)]:
        begin = places.get(writers.get(name, f"in:{name}"))
        if begin is None or to not in places:
            continue
        (x1, y1, h1), (x2, y2, h2) = begin, places[to]
        a, b, mid = y1 + h1 // 2, y2 + h2 // 2, (x1 + _WIDE + x2) // 2
        parts.append(f'<path d="M{x1 + _WIDE},{a} C{mid},{a} {mid},{b} {x2},{b}" class="edge"/>')
    width = 40 + len(columns) * _WIDE + (len(columns) - 1) * _GAP
    style = ".box{fill:#fff;stroke:#456}.edge{fill:none;stroke:#89a}text{font:12px sans-serif;fill:#123}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{deepest + 10}"><style>{style}</style>'
        f"{''.join(parts)}</svg>\n"
    )


def _inside(step: FlowStep, deep: int) -> list[str]:
    found = []
    for arm, part in step.parts.items():
        if step.kind == "when":
            found.append(f"{'  ' * deep}{arm}:")
        for inner in part:
            found += [f"{'  ' * deep}- {_title(inner)}", *_inside(inner, deep + 1)]
    return found
