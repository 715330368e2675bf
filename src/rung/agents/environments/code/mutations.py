"""Small changes of code, one token each: mistakes as they are planted, and as they are searched for (mutation analysis:
DeMillo, Lipton and Sayward 1978; repair by the same changes: Debroy and Wong 2010)."""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass

_SWAPS = {
    "<": ("<=", ">"), "<=": ("<", ">="), ">": (">=", "<"), ">=": (">", "<="), "==": ("!=",), "!=": ("==",),
    "+": ("-",), "-": ("+",), "//": ("/",), "/": ("//",), "+=": ("-=",), "-=": ("+=",), "%": ("//",),
    "and": ("or",), "or": ("and",), "True": ("False",), "False": ("True",), "min": ("max",), "max": ("min",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutation:
    """Changed code: in ``line`` (from 1) ``before`` became ``after``."""

    code: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"line {self.line}: `{self.before}` becomes `{self.after}`"


def mutations(code: str) -> list[Mutation]:
    """Every change of one token, in the order of the code; none where it cannot be read. Docstrings and comments
    stay."""
    lines, found = code.splitlines(keepends=True), []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return []
    for token in tokens:
        text = token.string
        if token.type == tokenize.NUMBER and text.isdigit() and len(text) < 10:
            swaps: tuple[str, ...] = (str(int(text) + 1), *([str(int(text) - 1)] if int(text) else []))
        elif token.type in (tokenize.OP, tokenize.NAME):
            swaps = _SWAPS.get(text, ())
        else:
            continue
        (row, start), (_, end) = token.start, token.end
        for swap in swaps:
            line = lines[row - 1]
            changed = [*lines[: row - 1], line[:start] + swap + line[end:], *lines[row:]]
            found.append(Mutation("".join(changed), row, text, swap))
    return found
