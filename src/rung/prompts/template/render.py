"""Prompts as text: chat messages, plain text, bracketed segments, Markdown, XML.

A prompt is compiled once into (literal, slot) pairs; an input then costs one join. What a user or a data set wrote
(input, context, the texts of examples) is data: it only ever fills a slot, escaped so that it cannot end the slot's own
section.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape as _entities
from typing import Any, Literal, get_args

from rung.core.errors import InputError
from rung.core.types import Example, Input, Message

Style = Literal["chat", "plain", "brackets", "markdown", "xml"]
STYLES: tuple[Style, ...] = get_args(Style)

OUTPUT = "\0output"
"""The slot of an example's answer: no field of an input can be called so."""

KEPT = 16_384
"""Examples whose chat turns are kept ready, for selections that show now these, now those of one pool."""

_BREAK = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_TAG = re.compile(
    r"&(?=#)|\[(?=[^\w\[]*(?:/|(?:persona|audience|instruction|context|rules|format|example|input|output)\b))", re.I
)
_CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TICKS = re.compile("`+")
_FENCES = re.compile("`{3,}|~{3,}")
_HEADING = re.compile("(^|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029])([^\\S\n\r]*)(?=[#=-])")
_LABEL = re.compile(r"(?m)^[ \t]*([^\W\d_][^\n:{}<>\[\]]{0,60}?)[ \t]*:")
_LEAD = re.compile(r"(?m)^[ \t]*(#{1,6}(?=\s)|-{3,}|={3,}|\*{2,}|`{3,}|~{3,})")
_ANGLE = re.compile(r"</?\s*([A-Za-z][\w.-]*)")
_SQUARE = re.compile(r"\[/?\s*([A-Za-z][\w.-]*)")
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


def style_of(name: str) -> Style:
    """The style of that name. Raises InputError naming those there are."""
    for style in STYLES:
        if style == name:
            return style
    raise InputError(f"there is no style {name!r}", remedy=f"styles: {', '.join(STYLES)}")


# ---------------------------------------------------------------- data


@lru_cache(maxsize=256)
def guard(around: str) -> Callable[[str], str]:
    """An escape for data inside the text ``around`` it, which changes nothing in data that does not imitate that text.

    A value one of whose later lines begins like a line of ``around`` (a label with its colon, a heading, a rule, a
    fence) is moved in by four spaces; tags and bracketed names that occur in ``around`` lose their bracket, quotation
    fences (three backticks, tildes or quotes) are taken apart.
    """
    labels = {" ".join(found[1].split()).casefold() for found in _LABEL.finditer(around)}
    leads = {found[1] for found in _LEAD.finditer(around)}
    tags = {found[1].casefold() for found in _ANGLE.finditer(around)}
    names = {found[1].casefold() for found in _SQUARE.finditer(around)}
    fences = [found for found in ("`" * 3, "~" * 3, '"' * 3, "'" * 3) if found in around]
    if not (labels or leads or tags or names or fences):
        return str
    angle = re.compile(rf"<(?=[^\w<]*(?:{_any(tags)})\b)", re.I) if tags else None
    square = re.compile(rf"\[(?=[^\w\[]*(?:{_any(names)})\b)", re.I) if names else None
    starts = [*(rf"{re.escape(label)}\s*:".replace("\\ ", r"\s+") for label in sorted(labels)), *map(re.escape, leads)]
    line = (
        re.compile(rf"(?:{_BREAK.pattern})[^\S\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]*(?:{'|'.join(starts)})", re.I)
        if starts
        else None
    )

    def escape(text: str) -> str:
        if angle is not None:
            text = angle.sub("&lt;", text)
        if square is not None:
            text = square.sub("&#91;", text)
        for fence in fences:
            if fence in text:
                text = re.sub(f"{fence}{fence[0]}*", lambda found: "".join(f"\\{mark}" for mark in found[0]), text)
        return indent(text, "    ") if line is not None and line.search(text) else text

    return escape


def _any(words: set[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words))


def indent(text: str, by: str = "  ") -> str:
    """Every line but the first moved in, so that no line of data starts where headings start."""
    return _BREAK.sub(lambda found: found[0] + by, text)


def bracket(text: str) -> str:
    """Whatever could be read as a bracketed tag loses its bracket to ``&#91;``; ``unbracket`` gives the text back."""
    return _TAG.sub(lambda found: "&#91;" if found[0] == "[" else "&#38;", text)


def unbracket(text: str) -> str:
    return re.sub("&#(91|38);", lambda found: "[" if found[1] == "91" else "&", text)


def fence(text: str) -> str:
    """The text between fences longer than any run of backticks in it (CommonMark 0.31, section 4.5): nothing is
    changed."""
    marks = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    return f"{marks}text\n{text}\n{marks}"


def entities(text: str) -> str:
    """Character data of XML 1.0: ``& < >`` as entities; characters that XML cannot hold become U+FFFD."""
    return _entities(_CONTROL.sub("\ufffd", text), quote=False)


def _inline(text: str) -> str:
    """Data inside a Markdown paragraph: it opens no heading and neither opens nor closes a fence."""
    text = _FENCES.sub(lambda found: "".join(f"\\{mark}" for mark in found[0]), text)
    return _HEADING.sub(r"\1\2\\", text)


ESCAPES: Mapping[Style, Callable[[str], str]] = {
    "chat": str,  # a message ends where the model's template ends it: the models' room keeps control tokens out of content
    "plain": indent,
    "brackets": bracket,
    "markdown": _inline,
    "xml": entities,
}
"""How a value is escaped where it stands inside text that somebody wrote (templates)."""


def show(reference: Any) -> str:
    """A reference as the text that a model would answer: JSON for structures, the first of several accepted answers."""
    if isinstance(reference, str):
        return reference
    if isinstance(reference, list | tuple) and reference and all(isinstance(item, str) for item in reference):
        return str(reference[0])
    return json.dumps(reference, ensure_ascii=False)


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True, slots=True)
class Pairs:
    """A text cut at its slots: (literal, slot that follows it) and the literal after the last slot."""

    pairs: tuple[tuple[str, str], ...]
    tail: str

    @classmethod
    def of(cls, text: str, names: Sequence[str]) -> Pairs:
        """Cut ``text`` where ``mark(i)`` stands for ``names[i]``."""
        pieces = re.split("\0([0-9]+)\0", text)
        pairs = tuple((pieces[at], names[int(pieces[at + 1])]) for at in range(0, len(pieces) - 1, 2))
        return cls(pairs, pieces[-1])

    def fill(self, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
        pieces: list[str] = []
        for literal, slot in self.pairs:
            pieces.append(literal)
            pieces.append(escape(values[slot]))
        pieces.append(self.tail)
        return "".join(pieces)


def mark(index: int) -> str:
    return f"\0{index}\0"


@dataclass(frozen=True, slots=True)
class StyleLayout:
    """How one style writes sections. ``own`` is applied to the author's words, ``data`` to a slot's value, ``section``
    gets a name and a finished text, ``field`` a field's name and its slot, ``rules`` the rules."""

    own: Callable[[str], str]
    data: Callable[[str], str]
    section: Callable[[str, str], str]
    field: Callable[[str, str], str]
    rules: Callable[[Sequence[str]], str]
    fields: Callable[[Sequence[str]], str] = "\n".join
    example: Callable[[str], str] = str
    joint: str = "\n\n"


def _listed(rules: Sequence[str]) -> str:
    return "\n".join(f"- {rule}" for rule in rules)


def _plain_section(name: str, text: str) -> str:
    if name in ("persona", "audience", "instruction", "format"):
        return text
    return f"{name.capitalize()}:{text if text.startswith(chr(10)) else f' {text}'}"


def _xml_field(name: str, slot: str) -> str:
    if _NAME.fullmatch(name) and name.lower() not in ("input", "output", "field"):
        return f"<{name}>{slot}</{name}>"
    quoted = entities(name).replace('"', "&quot;")
    return f'<field name="{quoted}">{slot}</field>'


def _brackets_section(name: str, text: str) -> str:
    return f"[{name.upper()}]\n{text}\n[/{name.upper()}]"


def _brackets_field(name: str, slot: str) -> str:
    name = re.sub(r"[\[\]/\s]+", "_", name)
    return f"[INPUT {name}]\n{slot}\n[/INPUT {name}]"


LAYOUTS: Mapping[Style, StyleLayout] = {
    "plain": StyleLayout(
        own=str,
        data=lambda text: indent(text, "      "),
        section=_plain_section,
        field=lambda name, slot: f"  {indent(name)}: {slot}",
        rules=lambda rules: "\n" + _listed(rules),
        fields=lambda lines: "\n" + "\n".join(lines),
        example=lambda text: f"Example:\n{text}",
    ),
    "brackets": StyleLayout(
        own=str,
        data=bracket,
        section=_brackets_section,
        field=_brackets_field,
        rules=_listed,
        example=lambda text: _brackets_section("example", text),
    ),
    "markdown": StyleLayout(
        own=str,
        data=fence,
        section=lambda name, text: f"## {name.capitalize()}\n{text}",
        field=lambda name, slot: f"{indent(name)}:\n{slot}",
        rules=_listed,
        example=lambda text: "## Example\n" + re.sub(r"(?m)^## (Input|Output)$", r"\1:", text),
    ),
    "xml": StyleLayout(
        own=entities,
        data=entities,
        section=lambda name, text: f"<{name}>{text}</{name}>",
        field=_xml_field,
        rules=lambda rules: "".join(f"<rule>{rule}</rule>" for rule in rules),
        fields="".join,
        example=lambda text: f"<example>{text}</example>",
        joint="\n",
    ),
}


@dataclass(frozen=True, slots=True)
class Sections:
    """A prompt's parts as sentences, in the order in which they are written; empty ones are left out."""

    persona: str = ""
    audience: str = ""
    instruction: str = ""
    context: str = ""
    rules: tuple[str, ...] = ()
    format: str = ""
    shots: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = ()


class Rendering:
    """One prompt in one style, compiled: called with an input (and examples) it gives the messages.

    Chat gives a system message, a user and an assistant turn for each example, and the input as the last user turn; the
    other styles give one user message.
    """

    def __init__(self, sections: Sections, style: Style, system: str = "") -> None:
        self.style = style
        self._pairs: dict[tuple[str, ...], tuple[Pairs, Pairs]] = {}
        shots = [(dict(fields), output) for fields, output in sections.shots]
        if style == "chat":
            head = [Message("system", system)] if system else []
            self._head = (*head, *(turn for shot in shots for turn in _turns(*shot)))
            self._last: tuple[Any, tuple[Message, ...]] = ((), self._head)
            self._turns: dict[int, tuple[Example, tuple[Message, Message]]] = {}
            return
        self._layout = layout = LAYOUTS[style]
        pieces = []
        for name in ("persona", "audience", "instruction", "context", "rules", "format"):
            value = getattr(sections, name)
            if not value:
                continue
            if name == "rules":
                text = layout.rules([_clean(layout.own(rule)) for rule in value])
            elif name == "context":
                text = layout.data(_clean(value))
            else:
                text = layout.own(value)
            pieces.append(layout.section(name, text))
        self._static = "".join(_clean(piece) + layout.joint for piece in pieces)
        self._static += "".join(self._example(shot, output) for shot, output in shots)

    def __call__(self, input: Input | str, examples: Sequence[Example] = ()) -> tuple[Message, ...]:
        if self.style == "chat":
            return self._chat(input, examples)
        value = {"input": input} if isinstance(input, str) else input
        shots = "".join(self._example(example.input, show(example.reference)) for example in examples)
        asked = self._compiled(tuple(value))[1].fill(value, self._layout.data)
        return (Message("user", f"{self._static}{shots}{asked}"),)

    def _chat(self, input: Input | str, examples: Sequence[Example]) -> tuple[Message, ...]:
        last, head = self._last
        if examples is not last:
            if examples:
                turns = list(self._head)
                for shown in examples:
                    known = self._turns.get(id(shown))
                    # The example is kept beside its turns, so that its identity is not given to another one.
                    if known is None or known[0] is not shown:
                        if len(self._turns) >= KEPT:
                            self._turns.clear()
                        known = self._turns[id(shown)] = (shown, _turns(shown.input, show(shown.reference)))
                    turns += known[1]
                head = tuple(turns)
            else:
                head = self._head
            if isinstance(examples, tuple):  # the same examples for every input: their turns are made once
                self._last = (examples, head)
        return (*head, Message("user", turn_text(input)))

    def _example(self, input: Input, output: str) -> str:
        return self._compiled(tuple(input))[0].fill({**input, OUTPUT: output}, self._layout.data)

    def _compiled(self, names: tuple[str, ...]) -> tuple[Pairs, Pairs]:
        """The pairs of an example and of the input, for inputs with these fields."""
        if (known := self._pairs.get(names)) is not None:
            return known
        layout = self._layout
        if len(names) == 1:
            inner = mark(0)
        else:
            inner = layout.fields([layout.field(_clean(name), mark(at)) for at, name in enumerate(names)])
        ask = layout.section("input", inner)
        between = "" if self.style == "xml" else "\n"
        shot = layout.example(ask + between + layout.section("output", mark(len(names)))) + layout.joint
        pairs = Pairs.of(shot, (*names, OUTPUT)), Pairs.of(ask, names)
        if len(self._pairs) < 64:
            self._pairs[names] = pairs
        return pairs


def _clean(text: str) -> str:
    """The author's words without NUL, which marks slots while a prompt is compiled."""
    return text.replace("\0", "")


def _turns(input: Input, output: str) -> tuple[Message, Message]:
    return Message("user", turn_text(input)), Message("assistant", output)


def turn_text(input: Input | str) -> str:
    """The input as a chat turn: as ``core.types.text_of``, save that a value one of whose later lines begins like a
    field (``name:``) is moved in, so that no field can be forged by what stands in another."""
    if isinstance(input, str):
        return input
    if len(input) == 1:
        return next(iter(input.values()))
    escape = guard("\n".join(f"{name}:" for name in input))
    return "\n".join(f"{name}: {escape(value)}" for name, value in input.items())
