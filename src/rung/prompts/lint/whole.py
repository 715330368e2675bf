"""What is weak in a prompt as a whole: what is missing, what contradicts itself, labels and examples."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from rung.prompts.lint.rules import Hit, Level, Linted, Placed, PromptPiece, finds, pattern, rules
from rung.prompts.template.prompt import Shot


def missing(whole: str, first: PromptPiece, given: Linted) -> Iterator[Hit]:
    """An instruction, the form of the answer, limits."""
    if not first.text.strip():
        yield "empty", "error", 0, 0, "there is no instruction", "Say what is to be done, in one sentence."
        return
    for rule in rules()["wanted"] if not given.stated else ():
        if not pattern(rule["find"]).search(whole):
            yield rule["rule"], rule["level"], 0, len(first.text.rstrip()), rule["reason"], rule["rewrite"]
    if all(piece.kind in ("format", "constraints") for piece in given.asked):
        reason = "nothing says what is to be done, only what an answer looks like"
        yield "missing-instruction", "warning", 0, 0, reason, "Say which one intent the message has."


def conflicts(pieces: Sequence[PromptPiece]) -> Iterator[Placed]:
    """Instructions that undo one another."""
    table = rules()

    def every(source: str) -> list[tuple[PromptPiece, re.Match[str]]]:
        return [(piece, found) for piece in pieces for found in finds(source, piece.text)]

    def conflict(second: tuple[PromptPiece, re.Match[str]], one: re.Match[str], what: str, rewrite: str) -> Placed:
        piece, found = second
        return piece, ("conflict", "error", *found.span(), f"{found[0]!r} against {one[0]!r}: {what}", rewrite)

    for one, left, other, right in table["opposites"]:
        if (lefts := every(left)) and (rights := every(right)):
            said = f"the answer cannot be {one} and {other}"
            yield conflict(rights[0], lefts[0][1], said, f"keep one of them: {lefts[0][1][0]!r}")
    for (_, most), least in product(every(table["at_most"]), every(table["at_least"])):
        if most[2].lower() == least[1][2].lower() and int(least[1][1]) > int(most[1]):
            yield conflict(least, most, "no answer has both", f"between {most[1]} and {least[1][1]} {most[2]}s")
    languages = every(table["language"])
    for language in languages[1:]:
        if language[1][1] != languages[0][1][1]:
            yield conflict(language, languages[0][1], "two languages", f"keep one: {languages[0][1][0]}")
    for (_, always), never in product(every(table["always"]), every(table["never"])):
        if always[1].lower().split()[:2] == never[1][1].lower().split()[:2]:
            yield conflict(never, always, "asked for and forbidden", "say when each holds, or keep one")


def strangers(piece: PromptPiece, labels: Sequence[str]) -> Iterator[Hit]:
    """Words shaped like the labels (with an underscore) that are none of them."""
    if not any("_" in label for label in labels):
        return
    known = {label.lower() for label in labels}
    for found in re.finditer(r"\b[A-Za-z]+(?:_[A-Za-z]+)+\b", piece.text):
        if found[0].lower() not in known:
            near = min(labels, key=lambda label: -len(set(label.lower().split("_")) & set(found[0].lower().split("_"))))
            yield "unknown-label", "error", *found.span(), f"{found[0]!r} is not one of the labels", near


def unsaid(whole: str, shots: Sequence[Shot], labels: Sequence[str]) -> Iterator[Hit]:
    """Labels that the prompt never names."""
    named = {shot.output.strip() for shot in shots}
    absent = [label for label in labels if label not in named and label.casefold() not in whole.casefold()]
    if absent:
        level: Level = "error" if len(absent) == len(labels) else "warning"
        said = f"{len(absent)} of {len(labels)} labels are not named, {absent[0]} for one"
        yield "labels-unsaid", level, 0, 0, said, f"Answer with exactly one of: {', '.join(labels[:3])}, ..."


def examples(shots: Sequence[Shot], whole: str, labels: Sequence[str]) -> Iterator[Hit]:
    """Demonstrations that are no answer, repeat or contradict one another, or have another shape than is asked for."""
    known = {label.casefold(): label for label in labels}
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for at, shot in enumerate(shots, 1):
        said = shot.output.strip()
        answer = f"example {at} answers {_short(said)}"
        if labels and said not in labels:
            near = known.get(said.casefold(), labels[0])
            yield "example-label", "error", 0, 0, f"{answer}, which is not a label", f"output: {near}"
        if shot.input in seen and seen[shot.input] != said:
            reason = f"{answer} where the same input was answered {_short(seen[shot.input])}"
            yield "example-conflict", "error", 0, 0, reason, "keep the right one"
        elif shot.input in seen:
            reason = f"example {at} repeats an earlier one"
            yield "example-repeat", "warning", 0, 0, reason, "show another case in its place"
        seen.setdefault(shot.input, said)
        for wanted, asked, good in rules()["shapes"]:
            if pattern(asked).search(whole) and not _has_shape(said, good):
                reason = f"the instruction asks for {wanted}, {answer}"
                yield "example-format", "error", 0, 0, reason, f"an output that is {wanted}"
    yield from _styles([shot.output.strip() for shot in shots] if not labels else ())


def _styles(outputs: Iterable[str]) -> Iterator[Hit]:
    """Answers of examples that are written in different ways."""
    tests: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("end with a full stop", lambda text: text.endswith(".")),
        ("begin with a capital", lambda text: text[:1].isupper()),
    )
    for what, test in tests:
        votes = [test(text) for text in outputs if text and not text[0].isdigit()]
        if len(votes) >= 3 and 0 < sum(votes) < len(votes):
            odd = 1 + votes.index(sum(votes) * 2 < len(votes))
            reason = f"some examples' answers {what} and some do not (example {odd})"
            yield "example-style", "hint", 0, 0, reason, "write all answers one way"


def _has_shape(text: str, shape: str) -> bool:
    if shape != "json":
        return pattern(shape).fullmatch(text) is not None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
