"""YAML with the line of every value, scalars as YAML 1.2 has them, and text as it was written where text is meant.

ruamel.yaml has lines and 1.2 too, but gives scalars as values: of `labels: [1.10, TRUE, null]` it keeps no spelling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rung.core.parts.problem import Problems
from rung.foundations.text.yaml import Loader

Location = tuple[str | int, ...]
_NULL = "tag:yaml.org,2002:null"
NODES = 200_000
"""More nodes than this in a task file (aliases expanded) is a mistake or an attack, not a task."""


def _textual(path: Location) -> bool:
    # Labels, rules and mapped references are text as it is written: `labels: [1.10, true]` means "1.10" and "true".
    return path[:2] == ("answer", "labels") or path[:1] == ("rules",) or path[:3] == ("columns", "reference", "map")


class _Tree:
    def __init__(self, file: Path, problems: Problems) -> None:
        self.file, self.problems = file, problems
        self.lines: dict[Location, int] = {}
        self.count = 0

    def build(self, node: yaml.Node, path: Location, above: tuple[int, ...]) -> Any:
        self.count += 1
        if id(node) in above or self.count > NODES:
            raise yaml.MarkedYAMLError(None, None, "an alias that holds itself, or far too much", node.start_mark)
        self.lines.setdefault(path, node.start_mark.line + 1)
        above = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), above) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            out: dict[str, Any] = {}
            for key, value in self._pairs(node):
                name, line = str(key.value), key.start_mark.line + 1
                inner = (*path, name)
                if name in out:
                    first = self.lines[inner]
                    self.problems.add(
                        f"`{name}` is given twice (first on line {first})", "keep one", file=self.file, line=line
                    )
                self.lines[inner] = line
                out[name] = self.build(value, inner, above)
            return out
        empty = not node.value or (node.tag == _NULL and not isinstance(path[-1] if path else "", int))
        if _textual(path) and not empty:
            return node.value
        loader = Loader("")
        try:
            return loader.construct_object(node)
        finally:
            loader.dispose()

    def _pairs(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        own, merged = [], []
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(part, yaml.MappingNode):
                        merged.extend(part.value)
            else:
                own.append((key, value))
        names = {str(key.value) for key, _ in own}
        return [pair for pair in merged if str(pair[0].value) not in names] + own


def parse(
    file: Path,
    problems: Problems,
    what: str = "task file",
    example: str = "name a task.yaml, or make one: rung init my-task",
) -> tuple[dict[str, Any], dict[Location, int]] | None:
    """The file as plain values, and the line of each; None when it cannot be read (problems say why). ``what`` it is,
    and where an ``example`` of one is found, is said where there is none."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        problems.add(f"cannot read the {what}: {error.strerror}", example, file=file)
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(
            f"byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8",
            "save the file as UTF-8",
            file=file,
            line=line,
        )
        return None
    tree = _Tree(file, problems)
    try:
        node = yaml.compose(text, Loader=Loader)
        value = None if node is None else tree.build(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.problem, error.context) if part)
        problems.add(
            f"not valid YAML: {what}",
            "check indentation, and quote text that holds ': ' or starts with a special character",
            file=file,
            line=mark.line + 1 if mark else None,
        )
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        problems.add(f"not valid YAML: {what}", "remove what is named", file=file)
        return None
    if not isinstance(value, dict):
        got = "nothing" if value is None else f"a {type(value).__name__}"
        problems.add(f"got {got}, expected keys with values", example, file=file, line=1)
        return None
    return value, tree.lines
