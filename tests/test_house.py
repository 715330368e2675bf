"""The house rules that a machine can check, with today's exceptions, which may only shrink.

``python -m tests.test_house`` prints the exceptions as they are now; what stands in exceptions.yaml and is better now must be
taken out there, so that it cannot grow back.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "rung"
LISTED = Path(__file__).parent / "exceptions.yaml"

CAPS = {"file": 400, "function": 60, "class": 250, "parameters": 6, "nouns": 8}
"""Lines of a file, of a function, of a class; parameters of a function; Python files and sub-rooms of one folder."""

BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
TEXTS = ("message", "remedy", "text")
WORDS = ("not in", "in")

Found = dict[str, dict[str, int]]


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
        if "versions" not in path.parts
    }


def definitions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in (node for body in BODIES for node in getattr(tree, body, ())):  # expressions define nothing
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{node.name}" if inside else node.name
            yield name, node
            yield from definitions(node, name)
        else:
            yield from definitions(node, inside)


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def arity(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters, less self or cls."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (bool(names) and names[0] in ("self", "cls"))


@cache
def oversized() -> Found:
    """What is over a cap, by kind and place."""
    found: Found = defaultdict(dict)
    for name, tree in trees().items():
        lines = len((SOURCE / name).read_text(encoding="utf-8").splitlines())
        found["file"][name] = lines
        for inner, node in definitions(tree):
            place = f"{name}:{inner}"
            if isinstance(node, ast.ClassDef):
                found["class"][place] = length(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found["function"][place] = length(node)
                found["parameters"][place] = arity(node)
    for folder in sorted({path.parent for path in SOURCE.rglob("*.py")}):
        inner_rooms = [p for p in folder.iterdir() if p.is_dir() and (p / "__init__.py").exists()]
        nouns = [p for p in folder.glob("*.py") if not p.name.startswith("__") and p.name != "rungs.py"]
        if folder != SOURCE:
            found["nouns"][str(folder.relative_to(SOURCE))] = len(nouns) + len(inner_rooms)
    return {kind: {place: n for place, n in places.items() if n > CAPS[kind]} for kind, places in found.items()}


def twins() -> dict[str, list[str]]:
    """Public classes that have one name in several files."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    return {name: places for name, places in sorted(homes.items()) if len(places) > 1}


def readers() -> list[str]:
    """Comparisons of a constant text with an error's or a problem's words: branches that must match on a code."""
    found = []
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare) or len(node.ops) != 1:
                continue
            sides = (node.left, node.comparators[0])
            constant = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
            words = any(isinstance(side, ast.Attribute) and side.attr in ("message", "remedy") for side in sides)
            spoken = any(
                isinstance(side, ast.Call)
                and isinstance(side.func, ast.Name)
                and side.func.id == "str"
                and side.args
                and isinstance(side.args[0], ast.Name)
                and side.args[0].id in ("error", "failure", "problem", "trouble")
                for side in sides
            )
            if constant and (words or spoken):
                found.append(f"{name}:{node.lineno}")
    return found


def now() -> dict[str, object]:
    return {**oversized(), "twins": sorted(twins())}


@pytest.mark.parametrize("kind", sorted(CAPS))
def test_nothing_is_over_its_cap_but_what_was(kind: str) -> None:
    listed: dict[str, int] = yaml.safe_load(LISTED.read_text(encoding="utf-8")).get(kind) or {}
    found = oversized()[kind]
    grown = {place: n for place, n in found.items() if n > listed.get(place, 0)}
    assert not grown, f"over {CAPS[kind]}: make it smaller"
    better = {place: found.get(place) for place, n in listed.items() if found.get(place, 0) < n}
    assert not better, "smaller than tests/exceptions.yaml says: write it down there (python -m tests.test_house)"


def test_a_public_class_has_its_name_to_itself() -> None:
    listed = set(yaml.safe_load(LISTED.read_text(encoding="utf-8"))["twins"] or ())
    found = twins()
    assert not {name: places for name, places in found.items() if name not in listed}
    assert not listed - set(found), "no longer twins: take them out of tests/exceptions.yaml"


def test_nothing_branches_on_the_words_of_a_message() -> None:
    assert readers() == []


def test_the_slow_files_are_there_and_the_longest_comes_first() -> None:
    lines = (Path(__file__).parent / "slow.txt").read_text(encoding="utf-8").splitlines()
    seconds = [float(line.split()[0]) for line in lines]
    assert seconds == sorted(seconds, reverse=True)
    assert [line for line in lines if not (Path(__file__).parent / line.split()[1]).is_file()] == []


def test_the_caps_see_what_they_should() -> None:
    tree = ast.parse(
        "class A:\n def f(self, a, b, *, c): ...\nif error.message == 'x': pass\nif 'x' in str(error): pass"
    )
    names = [name for name, _ in definitions(tree)]
    assert names == ["A", "A.f"]
    node = next(node for name, node in definitions(tree) if name == "A.f")
    assert isinstance(node, ast.FunctionDef)
    assert arity(node) == 3


if __name__ == "__main__":
    sys.stdout.write(yaml.safe_dump(now(), sort_keys=True, width=120))
