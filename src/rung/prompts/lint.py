"""What is weak in a prompt, found without a model: each finding has a rule, a place, a reason and a rewrite to try.

The rules are those that prompt guides agree on (say what, how much, in which form; one instruction must not undo another;
data apart from instructions; examples that show what is asked). They are heuristics over English text: a finding is a hint to
look, and the score is only as good as its measured relation to accuracy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rung.core.errors import InputError
from rung.core.types import Task
from rung.prompts.template.files import SUFFIXES
from rung.prompts.template.prompt import Prompt, Shot, describe
from rung.prompts.template.template import Template, Variable, split

Level = Literal["error", "warning", "hint"]
COST: dict[Level, int] = {"error": 25, "warning": 10, "hint": 4}
"""Points off 100 for a finding; a rule costs at most twice its points."""


MOST = 50
"""Places looked at for one rule in one text: enough to see the habit."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``line`` and ``column`` count from 1, ``start`` and ``end`` are offsets in characters into the text that was read."""

    rule: str
    level: Level
    line: int
    column: int
    start: int
    end: int
    text: str
    reason: str
    rewrite: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.level}: {self.rule}: {self.reason}\n    try: {self.rewrite}"


@dataclass(frozen=True, slots=True)
class LintReport:
    """Findings in the order of the text, and the score: 100 where there are none."""

    findings: tuple[Finding, ...]

    @property
    def score(self) -> int:
        lost = 0
        for rule in {finding.rule for finding in self.findings}:
            costs = [COST[finding.level] for finding in self.findings if finding.rule == rule]
            lost += min(sum(costs), 2 * max(costs))
        return max(0, 100 - lost)

    @property
    def errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A text of a prompt and what it is: a part's name, or ``system`` or ``user`` of a turn."""

    kind: str
    text: str


Hit = tuple[str, Level, int, int, str, str]
"""Rule, level, start, end (in the piece), reason, rewrite."""


def lint(text: str) -> LintReport:
    """A prompt that is one text. Places for values (``{{ name }}``, ``{name}``) count as data of unknown origin."""
    return _report([PromptPiece("text", text)], text, (), (), stated=False)


def lint_prompt(prompt: Prompt, labels: Sequence[str] = ()) -> LintReport:
    """A prompt of typed parts; places are those in ``prompt.system``."""
    return _report(_pieces(prompt), prompt.system, prompt.examples, labels, stated=bool(prompt.format))


def lint_template(template: Template, raw: str, labels: Sequence[str] = ()) -> LintReport:
    """A flat template; ``raw`` is the file's text, for the places."""
    pieces = _pieces(template.parts)
    if template.body:
        pieces += [PromptPiece(role, text) for role, text in split(template.body)]
    said = bool(template.parts.format)
    return _report(pieces, raw, template.parts.examples, labels, stated=said, variables=template.variables)


def lint_task(task: Task, raw: str) -> LintReport:
    """A task's instruction, constraints and persona; ``raw`` is the task file's text. Its answer's form is stated by rung."""
    labels = task.form.labels if task.form.kind == "labels" else ()
    pieces = [
        *_pieces(Prompt.whole(task).drop("format")),
        *(PromptPiece("note", note) for note in task.label_notes.values()),
    ]
    return _report(pieces, raw, (), labels, stated=bool(describe(task.form)), task_file=True)


def _pieces(prompt: Prompt) -> list[PromptPiece]:
    named = [(part, getattr(prompt, part)) for part in ("persona", "audience", "instruction", "context", "format")]
    return [
        *(PromptPiece(part, text) for part, text in named if text),
        *(PromptPiece("constraints", rule) for rule in prompt.constraints),
    ]


def _report(
    pieces: Sequence[PromptPiece],
    raw: str,
    shots: Sequence[Shot],
    labels: Sequence[str],
    *,
    stated: bool,
    variables: Sequence[Variable] = (),
    task_file: bool = False,
) -> LintReport:
    asked = [piece for piece in pieces if piece.kind not in ("persona", "audience", "context", "note", "assistant")]
    whole = "\n".join(piece.text for piece in asked)
    placed: list[tuple[PromptPiece, Hit]] = []
    for piece in pieces:
        placed += [(piece, hit) for hit in _piece_hits(piece, asked, variables)]
    first = next((piece for piece in asked if piece.text.strip()), None)
    if first is None:
        first = PromptPiece("instruction", "")
        placed.append(
            (first, ("empty", "error", 0, 0, "there is no instruction", "Say what is to be done, in one sentence."))
        )
    else:
        placed += [(first, hit) for hit in _missing(whole, first, stated)]
        if all(piece.kind in ("format", "constraints") for piece in asked):
            reason = "nothing says what is to be done, only what an answer looks like"
            placed.append(
                (first, ("missing-instruction", "warning", 0, 0, reason, "Say which one intent the message has."))
            )
    placed += _conflicts(asked)
    placed += [(first, hit) for hit in _examples(shots, whole, labels)]
    if labels:
        if not task_file:
            placed += [(first, hit) for hit in _unsaid(whole, shots, labels)]
        placed += [(piece, hit) for piece in asked for hit in _strangers(piece, labels)]
    findings = {_place(raw, piece, hit) for piece, hit in placed}
    return LintReport(tuple(sorted(findings, key=lambda finding: (finding.start, finding.rule, finding.end))))


def _place(raw: str, piece: PromptPiece, hit: Hit) -> Finding:
    rule, level, start, end, reason, rewrite = hit
    at = raw.find(piece.text) if piece.text else 0
    if at >= 0:
        start, end = at + start, at + end
    else:  # the file folds its lines: look for the words themselves, after the beginning of the text they stand in
        opening = re.search(_loose(piece.text[:40]), raw)
        base = opening.start() if opening else 0
        words = re.compile(_loose(piece.text[start:end])).search(raw, base) if end > start else None
        start, end = (words.start(), words.end()) if words else (base, base)
    line = raw.count("\n", 0, start) + 1
    column = start - (raw.rfind("\n", 0, start) + 1) + 1
    return Finding(rule, level, line, column, start, end, raw[start:end], reason, rewrite)


def _loose(text: str) -> str:
    return r"\s+".join(re.escape(word) for word in text.split())


# ---------------------------------------------------------------- one text

_VAGUE_TASK = re.compile(
    r"\b((?:tell (?:me|us) (?:something |more |all |everything )?about|talk (?:to me )?about|say something about"
    r"|write (?:me )?(?:something )?about|give (?:me |us )?(?:some |more )?info(?:rmation)? (?:on|about)"
    r"|(?:i want|i'd like) to know about|help (?:me |us )?with|deal with|handle|what about|discuss|look (?:at|into))"
    r"\s+([^.?!\n]{1,80}))",
    re.I,
)
_VAGUE = {
    r"(?:some|several|a few|a couple of|many|various|lots of)(?= (?!of (?:the|these|those)\b)\w)": ("how many is open", "a number: three"),
    r"(?:etc\.?|and so on|and so forth|and the like)": ("the list has no end", "the whole list, or the rule that makes it"),
    r"(?:good|nice|great|better|best possible|high[- ]quality|proper(?:ly)?|appropriate(?:ly)?|suitable|reasonable|adequate)(?! (?:morning|evening|day))": (
        "by what measure is open", "the property that you would check"),
    r"(?:interesting|engaging|compelling|cool|catchy|impressive)": ("it is a matter of taste", "what the reader should learn or do"),
    r"(?:stuff|things|something|somehow|whatever|kind of|sort of)": ("it names nothing", "the thing itself"),
    r"(?:short|brief|briefly|concise|concisely|long|detailed|in detail)": ("how long is open", "a limit: at most 50 words"),
    r"(?:if (?:possible|needed|necessary|appropriate)|as (?:needed|appropriate)|where (?:appropriate|possible))": (
        "when is left to the model", "the condition: if the text names a date"),
    r"(?:try to|attempt to|maybe|perhaps|ideally|hopefully)": ("it may be left undone", "the instruction without it"),
}  # fmt: skip
_VAGUE_WORDS = [(re.compile(rf"\b{pattern}\b" if not pattern.endswith("?)") else rf"\b{pattern}", re.I), *said) for pattern, said in _VAGUE.items()]  # fmt: skip
_POINTER = re.compile(
    r"\b(this|that|these|those|it|they|them)\b(?=\s*(?:[.,;:!?]|$)|\s+(?:is|are|was|were|in|into|for|with|to|and|as|by|using|should|so)\b)",
    re.I,
)
_ELSEWHERE = re.compile(r"\b(the above|above mentioned|mentioned above|as before|the former|the latter|same as (?:before|above|last time)|previously)\b", re.I)  # fmt: skip
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\s|$)|\n|$)")
_SLOT = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)[^{}]*\}\}|(?<![{$%])\{([A-Za-z_]\w*)\}(?!\})|%\((\w+)\)s|\$\{(\w+)\}")


def _piece_hits(piece: PromptPiece, asked: Sequence[PromptPiece], variables: Sequence[Variable]) -> Iterator[Hit]:
    text = piece.text
    if piece.kind == "assistant":
        return
    if piece.kind == "persona" and (found := re.match(r"\s*(?:I am|As)\b", text)):
        said = re.sub(r"^\s*(?:I am|As)\s+", "", text).strip().rstrip(".") or "an experienced clerk"
        yield "persona-form", "warning", *found.span(), "the persona is written after `You are`", said
    if piece.kind not in ("context", "note", "persona", "audience"):
        for found in islice(_VAGUE_TASK.finditer(text), MOST):
            topic = found[2].strip()
            reason = f"{found[1].rsplit(topic, 1)[0].strip()!r} does not say what an answer must hold"
            yield "vague-task", "error", *found.span(1), reason, f"List the five facts about {topic} that ... needs, one sentence each."  # fmt: skip
        for pattern, reason, instead in _VAGUE_WORDS:
            for found in islice(pattern.finditer(text), MOST):
                if re.search(r"\bat (?:most|least)\b[^.]{0,25}$", text[max(0, found.start() - 60) : found.start()]):
                    continue
                line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
                if piece.kind == "format" and line.startswith("- "):  # what a label means, not how to answer
                    continue
                yield "vague-word", "warning", *found.span(), f"{found[0]!r}: {reason}", f"write {instead}"
        yield from _pointers(text, piece is (asked[0] if asked else None))
        for found in _SENTENCE.finditer(text):
            words = len(found[0].split())
            if words > 60:
                yield (
                    "long-sentence",
                    "hint",
                    *found.span(),
                    f"a sentence of {words} words",
                    "one instruction a sentence",
                )
    yield from _injections(piece, variables)


def _pointers(text: str, first: bool) -> Iterator[Hit]:
    opening = _SENTENCE.search(text)
    end = opening.end() if opening else 0
    if first:
        for found in islice(_POINTER.finditer(text, 0, end), MOST):
            before = text[: found.start()]
            # A noun before the pronoun may be what it stands for: "Read the message and sort it."
            if re.search(r"\b(?:the|a|an|each|every|this|that|your|my|its)\s+[\w-]+", before, re.I) or _SLOT.search(
                before
            ):
                continue
            # "that" after a noun or a verb of saying begins a clause.
            if (
                found[1].lower() == "that"
                and re.search(r"\w\s+$", before)
                and not re.search(r"(?:^|[.!?]\s*)\w+\s+$", before)
            ):
                continue
            yield "ambiguous-reference", "warning", *found.span(), f"what {found[1]!r} stands for has not been said", "name it: the message"  # fmt: skip
    for found in islice(_ELSEWHERE.finditer(text), MOST):
        yield "ambiguous-reference", "warning", *found.span(), f"{found[1]!r} points at something the model may not see there", "repeat the thing, or name its section"  # fmt: skip


def _injections(piece: PromptPiece, variables: Sequence[Variable]) -> Iterator[Hit]:
    known = {variable.name: variable for variable in variables}
    text = piece.text
    if piece.kind in ("context", "note"):
        return
    for found in islice(_SLOT.finditer(text), MOST):
        name = next(group for group in found.groups() if group)
        variable = known.get(name)
        if (
            variable is not None and (variable.trusted or variable.kind in ("integer", "number", "boolean"))
        ) or name == "parts":
            continue
        if piece.kind in ("user", "text") and text.strip() == found[0]:
            continue
        inside = piece.kind in ("system", "persona", "audience", "instruction", "constraints", "format")
        if not inside and _delimited(text, found.start(), found.end()):
            continue
        if inside:
            reason = f"{name} stands among the instructions: what a user writes there reads as one"
            rewrite = f"move {{{{ {name} }}}} to the user turn or the context; if it is your own text, declare it trusted: true"
            yield "injection-prone", "error", *found.span(), reason, rewrite
        else:
            reason = f"nothing tells where {name} begins and ends"
            yield "injection-prone", "warning", *found.span(), reason, f"<{name}>\n{found[0]}\n</{name}>"


def _delimited(text: str, start: int, end: int) -> bool:
    before, after = text[:start].rstrip(" \t\r\n"), text[end:].lstrip(" \t\r\n")
    pairs = (('"""', '"""'), ("'''", "'''"), ("```", "```"), ("~~~", "~~~"), ('"', '"'), ("“", "”"), ("<<<", ">>>"))
    if any(before.endswith(left) and after.startswith(right) for left, right in pairs):
        return True
    if re.search(r"(?:```|~~~)\w*$", before) and after.startswith(("```", "~~~")):
        return True
    opened, closed = re.search(r"<([\w-]+)[^<>]*>$", before), re.match(r"</([\w-]+)>", after)
    if opened and closed and opened[1] == closed[1]:
        return True
    opened, closed = re.search(r"\[([\w -]+)\]$", before), re.match(r"\[/([\w -]+)\]", after)
    return bool(opened and closed and opened[1] == closed[1])


# ---------------------------------------------------------------- the whole

_FORM = re.compile(
    r"\b(?:list|rank|sort|order|order(?:ed)?|translate|json|yaml|xml|csv|markdown|table|bullets?|bullet points?|numbered|steps|label|category|intent|one of"
    r"|(?:one|two|three|four|five|\d+|a single|single|each) (?:words?|sentences?|lines?|paragraphs?|items?|numbers?|letters?|labels?|names?|points?|facts?)"
    r"|yes or no|true or false|answer (?:with|in|by|as)|reply (?:with|in|as)|respond (?:with|in|as)|return|output|format|number|code|function"
    r"|in order|headings?|as a|in the form|nothing else|which (?:one|of))\b",
    re.I,
)
_LIMIT = re.compile(
    r"\b(?:at (?:most|least)|no more than|no less than|fewer than|less than|more than|up to|exactly|only|must|never|do not|don't|without|within|between"
    r"|in order|one of|nothing else|\d+|one|two|three|four|five|six|ten|each|every|all|if|unless|single)\b",
    re.I,
)


def _missing(whole: str, first: PromptPiece, stated: bool) -> Iterator[Hit]:
    end = len(first.text.rstrip())
    if not stated and not _FORM.search(whole):
        yield "missing-format", "warning", 0, end, "the form of the answer is not said", "add: Answer with ... (one word, three bullet points, a JSON object with the keys ...)."  # fmt: skip
    if not _LIMIT.search(whole) and not stated:
        yield "missing-constraints", "hint", 0, end, "nothing limits the answer: no length, scope or exclusion", "add: Use at most 50 words. Use only the text above."  # fmt: skip


_NOT = r"(?<!not )(?<!n't )(?<!never )(?<!not be )(?<!without )(?<!no )"
_PAIRS = (
    ("short", rf"{_NOT}\b(?:brief(?:ly)?|concise(?:ly)?|short|one word|one sentence|a single (?:word|sentence)|terse)\b",
     "long", rf"{_NOT}\b(?:in (?:great )?detail|detailed|comprehensive(?:ly)?|in[- ]depth|thorough(?:ly)?|elaborate|exhaustive(?:ly)?|long)\b"),
    ("the answer alone", r"\b(?:nothing else|only the (?:answer|label|number|name)|(?:do not|don't|without|no) explan\w+|(?:do not|don't) explain)\b",
     "an explanation", rf"{_NOT}(?<!do not )(?<!don't )\b(?:explain (?:why|your|how)|give (?:your |the )?reasons?|step by step|justify|show your (?:work|reasoning))\b"),
    ("JSON", rf"{_NOT}\b(?:json)\b", "prose or a list", rf"{_NOT}\b(?:bullet(?:s| points?)|prose|plain text|a table|markdown|an essay|a paragraph)\b"),
    ("one", r"\b(?:exactly one|only one|a single|one (?:label|word|category|intent))\b",
     "several", r"\b(?:all that apply|one or more|as many as|every (?:label|category|intent) that|multiple (?:labels|categories|answers))\b"),
    ("formal", rf"{_NOT}\b(?:formal(?:ly)?|professional(?: tone)?)\b", "informal", rf"{_NOT}\b(?:informal(?:ly)?|casual(?:ly)?|slang|chatty)\b"),
    ("bullets", r"\b(?:use|with|in|as) bullet", "no bullets", r"\b(?:no|not use|without|avoid) (?:bullet|list)"),
)  # fmt: skip
_LANGUAGES = re.compile(r"\b(?:answer|reply|respond|write)(?: only)? in (English|French|German|Spanish|Italian|Norwegian|Dutch|Portuguese|Chinese|Japanese)\b", re.I)  # fmt: skip
_MOST = re.compile(r"\b(?:at most|no more than|fewer than|less than|up to|under)\s+(\d+)\s+(word|sentence|line|item|point|character)s?\b", re.I)  # fmt: skip
_LEAST = re.compile(r"\b(?:at least|no less than|more than|over|minimum of)\s+(\d+)\s+(word|sentence|line|item|point|character)s?\b", re.I)  # fmt: skip
_ALWAYS = re.compile(r"\b(?:always|must)\s+(?!not\b)(\w+(?:\s+\w+){1,2})", re.I)
_NEVER = re.compile(r"\b(?:never|must not|do not|don't)\s+(\w+(?:\s+\w+){1,2})", re.I)


def _conflicts(pieces: Sequence[PromptPiece]) -> list[tuple[PromptPiece, Hit]]:
    out: list[tuple[PromptPiece, Hit]] = []

    def every(pattern: re.Pattern[str]) -> list[tuple[PromptPiece, re.Match[str]]]:
        return [(piece, found) for piece in pieces for found in islice(pattern.finditer(piece.text), MOST)]

    def tell(second: tuple[PromptPiece, re.Match[str]], one: re.Match[str], what: str, rewrite: str) -> None:
        piece, found = second
        reason = f"{found[0]!r} against {one[0]!r}: {what}"
        out.append((piece, ("conflict", "error", *found.span(), reason, rewrite)))

    for one, left, other, right in _PAIRS:
        lefts, rights = every(re.compile(left, re.I)), every(re.compile(right, re.I))
        if lefts and rights:
            tell(
                rights[0],
                lefts[0][1],
                f"the answer cannot be {one} and {other}",
                f"keep one of them: {lefts[0][1][0]!r}",
            )
    for most in every(_MOST):
        for least in every(_LEAST):
            if most[1][2].lower() == least[1][2].lower() and int(least[1][1]) > int(most[1][1]):
                tell(least, most[1], "no answer has both", f"between {most[1][1]} and {least[1][1]} {most[1][2]}s")
    languages = every(_LANGUAGES)
    for language in languages[1:]:
        if language[1][1] != languages[0][1][1]:
            tell(language, languages[0][1], "two languages", f"keep one: {languages[0][1][0]}")
    for always in every(_ALWAYS):
        for never in every(_NEVER):
            wanted, barred = always[1][1].lower().split(), never[1][1].lower().split()
            if wanted[:2] == barred[:2]:
                tell(never, always[1], "asked for and forbidden", "say when each holds, or keep one")
    return out


def _strangers(piece: PromptPiece, labels: Sequence[str]) -> Iterator[Hit]:
    """Words shaped like the labels (with an underscore) that are none of them."""
    if not any("_" in label for label in labels):
        return
    known = {label.lower() for label in labels}
    for found in re.finditer(r"\b[A-Za-z]+(?:_[A-Za-z]+)+\b", piece.text):
        if found[0].lower() not in known:
            near = min(labels, key=lambda label: -len(set(label.lower().split("_")) & set(found[0].lower().split("_"))))
            yield "unknown-label", "error", *found.span(), f"{found[0]!r} is not one of the labels", near


def _unsaid(whole: str, shots: Sequence[Shot], labels: Sequence[str]) -> Iterator[Hit]:
    """Labels that the prompt never names."""
    named = {shot.output.strip() for shot in shots}
    absent = [label for label in labels if label not in named and label.casefold() not in whole.casefold()]
    if absent:
        level: Level = "error" if len(absent) == len(labels) else "warning"
        said = f"{len(absent)} of {len(labels)} labels are not named, {absent[0]} for one"
        yield "labels-unsaid", level, 0, 0, said, f"Answer with exactly one of: {', '.join(labels[:3])}, ..."


def _examples(shots: Sequence[Shot], whole: str, labels: Sequence[str]) -> Iterator[Hit]:
    known = {label.casefold(): label for label in labels}
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for at, shot in enumerate(shots, 1):
        said = shot.output.strip()
        if labels and said not in labels:
            near = known.get(said.casefold(), labels[0])
            yield (
                "example-label",
                "error",
                0,
                0,
                f"example {at} answers {_short(said)}, which is not a label",
                f"output: {near}",
            )
        if shot.input in seen and seen[shot.input] != said:
            yield "example-conflict", "error", 0, 0, f"example {at} answers {_short(said)} where the same input was answered {_short(seen[shot.input])}", "keep the right one"  # fmt: skip
        elif shot.input in seen:
            yield (
                "example-repeat",
                "warning",
                0,
                0,
                f"example {at} repeats an earlier one",
                "show another case in its place",
            )
        seen.setdefault(shot.input, said)
        for wanted, pattern, good in _SHAPES:
            if re.search(pattern, whole, re.I) and not good(said):
                yield "example-format", "error", 0, 0, f"the instruction asks for {wanted}, example {at} answers {_short(said)}", f"an output that is {wanted}"  # fmt: skip
    outputs = [shot.output.strip() for shot in shots]
    for what, test in _STYLES:
        votes = [test(text) for text in outputs if text and not text[0].isdigit()]
        if len(votes) >= 3 and 0 < sum(votes) < len(votes) and not labels:
            odd = 1 + votes.index(sum(votes) * 2 < len(votes))
            yield (
                "example-style",
                "hint",
                0,
                0,
                f"some examples' answers {what} and some do not (example {odd})",
                "write all answers one way",
            )


_STYLES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("end with a full stop", lambda text: text.endswith(".")),
    ("begin with a capital", lambda text: text[:1].isupper()),
)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


_SHAPES: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("one word", r"\b(?:one|a single) word\b", lambda text: len(text.split()) == 1),
    ("yes or no", r"\byes or no\b", lambda text: text.strip(" .").lower() in ("yes", "no")),
    ("JSON", r"\bjson\b", _is_json),
    ("a number", r"\b(?:answer|reply|respond) with (?:one|a|the) number\b", lambda text: bool(re.fullmatch(r"[-+$]?[\d,]+(?:\.\d+)?%?", text))),
    ("one sentence", r"\b(?:one|a single) sentence\b", lambda text: len(re.findall(r"[.!?](?:\s|$)", text)) <= 1),
)  # fmt: skip


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


# ---------------------------------------------------------------- what there is to lint


def lint_source(what: str) -> tuple[str, LintReport]:
    """Lint a template file, a task file (or a pack's name), a text file, or the text itself; also its title.

    A template's own mistake (syntax, a variable that is not declared) is a finding. Raises InputError for a file that
    cannot be read, or a task that has mistakes.
    """
    from pathlib import Path

    from rung import tasks
    from rung.core import registry
    from rung.prompts.patterns.written import Saved
    from rung.prompts.template import library

    path = Path(what)
    short = len(what) < 1000 and "\n" not in what
    if short and (
        what in registry.table("pack") or path.is_dir() or (path.is_file() and path.suffix in (".yaml", ".yml"))
    ):
        file = tasks.locate(what)
        examination = tasks.examine(what)
        if examination.task is None:
            raise InputError(f"{what}: the task has mistakes", remedy=f"type: rung validate {what}")
        return str(file), lint_task(examination.task, file.read_text(encoding="utf-8"))
    if short and path.is_file():
        try:
            raw = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"cannot read the prompt: {error}", file=path, remedy="give a text file in UTF-8"
            ) from None
        if path.suffix == ".txt" and not raw.startswith("---"):
            return what, lint(raw)
        try:
            return what, lint_template(library.find(what, Saved()).flat, raw)
        except InputError as error:
            at = error.line or 1
            start = sum(len(line) for line in raw.splitlines(keepends=True)[: at - 1])
            said = Finding("template", "error", at, 1, start, start, "", error.message, error.remedy)
            return what, LintReport((said,))
    if short and path.suffix.lower() in (*SUFFIXES, ".yaml", ".yml") and " " not in what:
        raise InputError(f"{what}: no such file", remedy="name a file, or give the prompt's text in quotes")
    return "text", lint(what)
