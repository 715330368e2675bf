"""Tasks of HumanEval (Chen et al. 2021) and MBPP (Austin et al. 2021), read from a file of JSON Lines."""

from __future__ import annotations

import ast
import builtins
import doctest
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.errors import InputError


@dataclass(frozen=True, slots=True)
class CodeTask:
    """``prompt`` says what is asked, as a function's head (HumanEval) or in words (MBPP); ``head`` is what code may go
    on from. ``shown`` are the examples that it names, as statements; ``tests`` the hidden ones."""

    id: str
    prompt: str
    head: str
    solution: str
    shown: tuple[str, ...]
    tests: Any


def read_tasks(place: Path) -> list[CodeTask]:
    """The tasks of a file (.jsonl, .jsonl.gz), or of the one that a folder holds. Raises InputError for anything
    else."""
    files = sorted(place.glob("*.jsonl*")) if place.is_dir() else [place]
    if len(files) != 1 or not files[0].is_file():
        raise InputError(
            f"{place} is no file of tasks", remedy="give HumanEval's or MBPP's .jsonl or .jsonl.gz, or its folder"
        )
    try:
        data = files[0].read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        return [_task(json.loads(line)) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            f"{files[0]} holds no tasks of HumanEval or MBPP: {type(error).__name__}: {error}",
            remedy="expected prompt, canonical_solution, entry_point, test; or text, code, test_list",
        ) from None


def _task(row: dict[str, Any]) -> CodeTask:
    if "prompt" in row and "canonical_solution" in row:
        head = str(row["prompt"])
        return CodeTask(
            str(row["task_id"]),
            head,
            head,
            head + row["canonical_solution"],
            _examples(head, row["entry_point"]),
            row["test"],
        )
    tests = [*([row["test_setup_code"]] if row.get("test_setup_code") else []), *row["test_list"]]
    first = str(row["test_list"][0])
    prompt = f"{row['text']}\nFor example: {first}"
    setup = tuple(tests[: len(tests) - len(row["test_list"])])
    return CodeTask(str(row["task_id"]), prompt, "", str(row["code"]).replace("\r\n", "\n"), (*setup, first), tests)


def _examples(head: str, name: str) -> tuple[str, ...]:
    """The examples of a docstring (``>>>``) that call the function, as statements."""
    try:
        defined = [node for node in ast.walk(ast.parse(f"{head}\n    pass\n")) if isinstance(node, ast.FunctionDef)]
        about = next(ast.get_docstring(node) or "" for node in defined if node.name == name)
        found = doctest.DocTestParser().get_examples(about)
    except (ValueError, SyntaxError, StopIteration):
        return ()
    pairs = [(one.source, one.want) for one in found]
    arrow = re.compile(rf"^\s*({re.escape(name)}\(.*\))\s*(?:==>?|=>|[\u279e\u2192]|->)\s*(.+?)\.?\s*$", re.MULTILINE)
    pairs += [] if pairs else arrow.findall(about)
    return tuple(
        f"assert ({call.strip()}) == ({want.strip()})" for call, want in pairs if _is_example(call, want, name)
    )


def _is_example(call: str, want: str, name: str) -> bool:
    """Whether a call is one of the function with nothing that is not defined, and what it gives a literal."""
    try:
        ast.literal_eval(want.strip())
        nodes = list(ast.walk(ast.parse(call.strip(), mode="eval")))
    except (SyntaxError, ValueError):
        return False
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return "#" not in call and name in names and names <= {name, *dir(builtins)}
