"""Source files as holes to fill: what stands after a hole, what stands before it, and the rest of the line that is
missing.

A base model has no tokens for filling in the middle, so the prompt shows the code after the hole first and ends with
the code before
it: suffix, prefix, middle, as in Bavarian et al. 2022 (section 3, SPM), and the answer goes on where the prompt ends.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from rung.documents.formats.code import LANGUAGES

BEFORE, AFTER = 8, 4
"""Lines shown before and after the hole."""
WIDTH = 600
"""Characters shown of either at most."""
HOLES = 8
"""Holes taken of one file at most, spread over it."""
SHORTEST, LONGEST = 6, 80
"""Characters of what is missing."""
SPARE = 40
"""Lines of a file for each hole."""

_LEFT_OUT = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "venv", "vendor"}
)
_STDLIB = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "turtledemo",
        "ensurepip",
        "lib-dynload",
        "distutils",
        "encodings",
        "pydoc_data",
    }
)
_CODE = {suffix: name for suffix, name in LANGUAGES.items() if name not in ("toml", "yaml", "ini", "css")}
_REMARK = ("#", "//", "/*", "*", "--", ";", '"""', "'''", "import ", "from ", "package ", "use ", "using ")
_JOINT = re.compile(r"(?:=|\(|,|\breturn|\bif|\bin|\bnot|\band|\bor|->|=>)\s+|\(|\.(?=[a-zA-Z_])")


def stdlib() -> Path:
    """The folder of this interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def holes(folder: Path) -> Iterator[tuple[Path, int, dict[str, str]]]:
    """For each hole its file, its 1-based line and a row: ``before``, ``after``, ``middle``, ``file``, ``split``.

    The same files give the same holes everywhere. All holes of one file are in one split, drawn from a hash of its path
    within ``folder`` (60% train, 15% dev, 25% test), so that a new file moves none. Holes lie in lines of statements:
    in Python told by the syntax tree, elsewhere by how the line looks. Raises OSError for a folder that cannot be read.
    """
    seen: set[tuple[str, str]] = set()
    whole = folder.resolve() == stdlib().resolve()
    for file in _files(folder, _STDLIB if whole else frozenset()):
        name = file.relative_to(folder).as_posix()
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines = text.replace("\r\n", "\n").split("\n")
        for at in _places(lines, text, file.suffix.lower(), name):
            line = lines[at]
            cut = _cut(line, name)
            before = [*lines[max(0, at - BEFORE) : at], line[:cut]]
            context = ("".join(before), "".join(lines[at + 1 : at + 1 + AFTER]))
            if context in seen:  # a file that is there twice
                continue
            seen.add(context)
            yield (
                file,
                at + 1,
                {
                    "before": "\n".join(before)[-WIDTH:],
                    "after": "\n".join(lines[at + 1 : at + 1 + AFTER])[:WIDTH],
                    "middle": line[cut:].rstrip(),
                    "file": name,
                    "split": _split(name),
                },
            )


def _files(folder: Path, unwanted: frozenset[str]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for place, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = sorted(
            name for name in inner if not name.startswith(".") and name not in _LEFT_OUT and name not in unwanted
        )
        for name in sorted(names):
            if Path(name).suffix.lower() in _CODE and not name.startswith("."):
                yield Path(place) / name


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).digest(), "big")


def _split(name: str) -> str:
    share = _draw(name) / 2**48
    return "train" if share < 0.6 else "dev" if share < 0.75 else "test"


def _places(lines: list[str], text: str, suffix: str, name: str) -> list[int]:
    """0-based lines with a hole, in order: of each stretch of the file the one that the hash draws."""
    fit = [at for at in _statements(lines, text, suffix) if len(lines[at].strip()) >= SHORTEST and at > 0]
    fit = [at for at in fit if SHORTEST <= len(lines[at].rstrip()) - _cut(lines[at], name) <= LONGEST]
    count = min(HOLES, max(1, len(lines) // SPARE), len(fit))
    out = []
    for part in range(count):
        stretch = fit[part * len(fit) // count : (part + 1) * len(fit) // count]
        out.append(min(stretch, key=lambda at: _draw(f"{name}\n{lines[at]}")))
    return out


def _statements(lines: list[str], text: str, suffix: str) -> list[int]:
    """Lines that hold one whole statement, without remarks, imports and texts."""
    if suffix in (".py", ".pyi"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other people's escapes
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
        found = set()
        for node in _within(tree):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return | ast.Raise | ast.Assert) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await | ast.Yield)
            ):
                if node.lineno == node.end_lineno and node.col_offset:  # inside something, on one line
                    found.add(node.lineno - 1)
            elif isinstance(node, ast.If | ast.While | ast.For | ast.With):
                head = node.test if isinstance(node, ast.If | ast.While) else None
                if head is not None and node.lineno == head.end_lineno and node.col_offset:
                    found.add(node.lineno - 1)
        # The tree counts form feeds and the like as part of a line; so does a split at line feeds.
        return sorted(at for at in found if at < len(lines))
    return [
        at
        for at, line in enumerate(lines)
        if line[:1] in (" ", "\t") and line.rstrip()[-1:] in ";){," and not line.strip().startswith(_REMARK)
    ]


def _within(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements. (``ast.walk`` looks through their expressions, too, which takes three times as long.)"""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            todo += getattr(node, name, ())


def _cut(line: str, name: str) -> int:
    """Where in the line the hole begins: behind a joint that the hash draws, or at its first sign."""
    body = line.rstrip()
    start = len(body) - len(body.lstrip())
    joints = [found.end() for found in _JOINT.finditer(body, start) if SHORTEST <= len(body) - found.end() <= LONGEST]
    return joints[_draw(f"{name}\n{line}") % len(joints)] if joints else start
