"""What is weak in one text of a prompt: words, pronouns, places where a user's text reads as an instruction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rung.prompts.lint.rules import Hit, PromptPiece, finds, pattern, rules
from rung.prompts.template.template import Variable

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\s|$)|\n|$)")
_SLOT = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)[^{}]*\}\}|(?<![{$%])\{([A-Za-z_]\w*)\}(?!\})|%\((\w+)\)s|\$\{(\w+)\}")


def piece_hits(piece: PromptPiece, asked: Sequence[PromptPiece], variables: Sequence[Variable]) -> Iterator[Hit]:
    """What is weak in one text; ``asked`` are the instructions, in their order."""
    text = piece.text
    if piece.kind == "assistant":
        return
    if piece.kind == "persona" and (found := re.match(r"\s*(?:I am|As)\b", text)):
        said = re.sub(r"^\s*(?:I am|As)\s+", "", text).strip().rstrip(".") or "an experienced clerk"
        yield "persona-form", "warning", *found.span(), "the persona is written after `You are`", said
    if piece.kind not in ("context", "note", "persona", "audience"):
        for rule in rules()["words"]:
            yield from _worded(piece, rule)
        if asked and piece is asked[0]:
            yield from _pointers(text)
        for found in _SENTENCE.finditer(text):
            if (words := len(found[0].split())) > 60:
                yield (
                    "long-sentence",
                    "hint",
                    *found.span(),
                    f"a sentence of {words} words",
                    "one instruction a sentence",
                )
    if piece.kind not in ("context", "note"):
        yield from _injections(piece, variables)


def _worded(piece: PromptPiece, rule: Mapping[str, Any]) -> Iterator[Hit]:
    """Places that match a rule of the table."""
    text, before = piece.text, rule.get("except")
    for source, *said in rule["find"]:
        for found in finds(source, text):
            if before and pattern(before).search(text[max(0, found.start() - 60) : found.start()]):
                continue
            line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
            if not rule.get("listed", True) and piece.kind == "format" and line.startswith("- "):
                continue
            groups = {name: value.strip() for name, value in found.groupdict().items()}
            words = groups | dict(zip(("why", "instead"), said, strict=False))
            reason, rewrite = (rule[name].format(found[0], **words) for name in ("reason", "rewrite"))
            yield rule["rule"], rule["level"], *found.span(), reason, rewrite


def _pointers(text: str) -> Iterator[Hit]:
    """Pronouns of the first sentence that stand for nothing that was said."""
    opening = _SENTENCE.search(text)
    for found in finds(rules()["pointer"], text, 0, opening.end() if opening else 0):
        before = text[: found.start()]
        # A noun before the pronoun may be what it stands for: "Read the message and sort it."
        noun = r"\b(?:the|a|an|each|every|this|that|your|my|its)\s+[\w-]+"
        if re.search(noun, before, re.I) or _SLOT.search(before):
            continue
        # "that" after a noun or a verb of saying begins a clause.
        clause = re.search(r"\w\s+$", before) and not re.search(r"(?:^|[.!?]\s*)\w+\s+$", before)
        if not (found[1].lower() == "that" and clause):
            reason = f"what {found[1]!r} stands for has not been said"
            yield "ambiguous-reference", "warning", *found.span(), reason, "name it: the message"


def _injections(piece: PromptPiece, variables: Sequence[Variable]) -> Iterator[Hit]:
    known = {variable.name: variable for variable in variables}
    text = piece.text
    for found in islice(_SLOT.finditer(text), rules()["most"]):
        name = next(group for group in found.groups() if group)
        variable = known.get(name)
        safe = variable is not None and (variable.trusted or variable.kind in ("integer", "number", "boolean"))
        if safe or name == "parts" or (piece.kind in ("user", "text") and text.strip() == found[0]):
            continue
        if piece.kind in ("system", "persona", "audience", "instruction", "constraints", "format"):
            reason = f"{name} stands among the instructions: what a user writes there reads as one"
            rewrite = f"move {{{{ {name} }}}} to the user turn or the context; if it is your own text, declare it trusted: true"
            yield "injection-prone", "error", *found.span(), reason, rewrite
        elif not _delimited(text, found.start(), found.end()):
            reason = f"nothing tells where {name} begins and ends"
            yield "injection-prone", "warning", *found.span(), reason, f"<{name}>\n{found[0]}\n</{name}>"


_QUOTES = (('"""', '"""'), ("'''", "'''"), ("```", "```"), ("~~~", "~~~"), ('"', '"'), ("“", "”"), ("<<<", ">>>"))


def _delimited(text: str, start: int, end: int) -> bool:
    before, after = text[:start].rstrip(" \t\r\n"), text[end:].lstrip(" \t\r\n")
    if any(before.endswith(left) and after.startswith(right) for left, right in _QUOTES):
        return True
    if re.search(r"(?:```|~~~)\w*$", before) and after.startswith(("```", "~~~")):
        return True
    for left, right in ((r"<([\w-]+)[^<>]*>$", r"</([\w-]+)>"), (r"\[([\w -]+)\]$", r"\[/([\w -]+)\]")):
        opened, closed = re.search(left, before), re.match(right, after)
        if opened and closed and opened[1] == closed[1]:
            return True
    return False
