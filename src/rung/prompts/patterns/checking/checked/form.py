"""Checkable instructions compiled into the form of the answer: what a program can check, a decoder can often enforce.

``compile_form`` turns instructions of IFEval's kinds (metrics/rules/instructions.py) into one grammar: bullets,
sections, paragraphs, placeholders, highlights, a title, JSON, a fixed choice, two answers, a repeated request, a
postscript, an end phrase, quotation marks, case, no comma, forbidden words and letters, and bounds on words and
sentences. What a grammar can only force into the text where it does not belong (a letter so often, a language) is
left to the model; keywords too, unless they are asked for: then each gets a sentence with room before and behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.core.types import ResponseFormat
from rung.metrics.rules.instructions import CHOICES, CheckableInstruction, count_words

_WORD = "[A-Za-z0-9_]"
_GAP = "[^A-Za-z0-9_]"
_SIGNS = "\"'(),-.:;<>[]*!?%&$/"
"""Signs that a text in one case may have beside letters, digits and white space."""


@dataclass(frozen=True, slots=True)
class CompiledForm:
    """``form`` (free text where nothing compiled) guarantees ``kept``, once the text is whole; ``left`` it does not."""

    form: ResponseFormat
    kept: tuple[CheckableInstruction, ...] = ()
    left: tuple[CheckableInstruction, ...] = ()


def compile_form(instructions: Sequence[CheckableInstruction], tokens: int, *, keywords: bool = False) -> CompiledForm:
    """One grammar for the instructions that can be enforced in a text of about ``tokens`` tokens; ``keywords``: words
    that must be in it too.

    Where two of them give the text a shape (bullets and sections) the first is enforced, and of two that exclude each
    other too; the rest is left to the model.
    """
    return _Writer(instructions, tokens, keywords).compiled()


class _Writer:
    """Collects the pieces of one grammar. ``room`` is how many characters are left for text of the model's own."""

    def __init__(self, instructions: Sequence[CheckableInstruction], tokens: int, keywords: bool) -> None:
        self.given = list(instructions)
        self.keywords = keywords
        self.kept: list[CheckableInstruction] = []
        kinds = {one.name for one in self.given}
        self.case = "lower" if "english_lowercase" in kinds else "upper" if "english_capital" in kinds else ""
        # Letters in capitals take more tokens each.
        self.tokens = tokens
        self.room = int(tokens * (1.6 if self.case == "upper" else 3.0))
        self.excluded: set[str] = set()
        self.rules: list[str] = []
        self.lead: list[str] = []
        self.tail: list[str] = []

    def compiled(self) -> CompiledForm:
        self._letters()
        for one in self.given:
            match one.name:
                case "quotation":
                    self.excluded.add('"')
                    self.kept.append(one)
                case "repeat_prompt" | "title" | "postscript" | "end_checker":
                    self._edge(one)
                case "forbidden_words" | "frequency":
                    self._forbid(one)
        quoted = any(one.name == "quotation" for one in self.kept)
        body = self._body()
        if not self.kept:
            return CompiledForm(ResponseFormat(), (), tuple(self.given))
        mark = '"' if quoted else ""
        skeleton = mark + "".join(self.lead) + body + "".join(self.tail) + mark
        terms = [f"/{skeleton}/", *self.rules]
        pattern = "start: ANSWER\nANSWER: " + " & ".join(terms)
        left = [one for one in self.given if not any(one is kept for kept in self.kept)]
        return CompiledForm(ResponseFormat("grammar", pattern=pattern), tuple(self.kept), tuple(left))

    # ------------------------------------------------ letters

    def _letters(self) -> None:
        """What holds for every character: the class of characters that free text is made of."""
        for one in self.given:
            match one.name:
                case "english_lowercase" | "english_capital":
                    if (one.name == "english_lowercase") == (self.case == "lower"):
                        self.kept.append(one)
                case "no_comma":
                    self.excluded.add(",")
                    self.kept.append(one)
                case "letter_frequency" if one.options["let_relation"] == "less than":
                    letter, bound = str(one.options["letter"]), int(one.options["let_frequency"])
                    if len(letter) != 1 or bound < 1:
                        continue
                    both = _members({letter.lower(), letter.upper()})
                    if bound == 1:
                        self.excluded |= {letter.lower(), letter.upper()}
                    else:
                        self.rules.append(f"/[^{both}]*([{both}][^{both}]*){{0,{bound - 1}}}/")
                    self.kept.append(one)

    def free(self, *without: str, lines: bool = True) -> str:
        """The class of free text, less some characters; ``lines``: with line breaks."""
        excluded = self.excluded | set(without)
        if not self.case:
            return f"[^{_members(excluded | (set() if lines else {chr(10)}))}]" if excluded or not lines else "(?s:.)"
        letters = "abcdefghijklmnopqrstuvwxyz" if self.case == "lower" else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        allowed = set(letters + "0123456789 " + _SIGNS + ("\n" if lines else "")) - excluded
        return f"[{_members(allowed)}]"

    def letter(self) -> str:
        """The class of letters that a word may begin with."""
        letters = {"lower": "abcdefghijklmnopqrstuvwxyz", "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}.get(
            self.case, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        )
        return f"[{_members(set(letters) - self.excluded)}]"

    def literal(self, text: str) -> str | None:
        """A given text in the case that is asked for; None where another instruction forbids what is in it."""
        text = text.lower() if self.case == "lower" else text.upper() if self.case == "upper" else text
        never = [one for one in self.given if one.name in ("no_comma", "forbidden_words")]
        never += [one for one in self.given if one.name.endswith("frequency") and "less than" in one.options.values()]
        clash = any(not one.holds(text) for one in never)
        if clash or self.excluded - {'"', ","} & set(text):
            return None
        return text

    # ------------------------------------------------ both ends

    def _edge(self, one: CheckableInstruction) -> None:
        """What stands first or last."""
        if any(other.name in ("json_format", "constrained_response") for other in self.given):
            return
        match one.name:
            case "repeat_prompt":
                text = self.literal(str(one.options["prompt_to_repeat"]).strip())
                if text is None or len(text) > self.room * 0.8:
                    return
                self.lead.insert(0, _escaped(text) + r"\n\n")
                self.room -= len(text)
            case "title":
                if {"<", ">"} & self.excluded:
                    return
                self.lead.append(f"<<{self.letter()}{self.free('<', '>', lines=False)}{{2,60}}>>" + r"\n")
                self.room -= 70
            case "postscript":
                text = self.literal(str(one.options["postscript_marker"]))
                if text is None:
                    return
                # An empty line would make it a paragraph of its own.
                gap = r"\n" if any(other.name == "nth_paragraph_first_word" for other in self.given) else r"\n\n"
                self.tail.insert(0, gap + _escaped(text) + f" {self.free('*', lines=False)}{{8,100}}")
                self.room -= 120
            case "end_checker":
                text = self.literal(str(one.options["end_phrase"]).strip())
                if text is None or not text or len(text) > self.room * 0.8:
                    return
                self.tail.append(r"(\n\n| )" + _escaped(text))
                self.room -= len(text)
        self.kept.append(one)

    def _forbid(self, one: CheckableInstruction) -> None:
        """Words that are not to come, or less than so often."""
        if one.name == "forbidden_words":
            words = "|".join(_escaped(str(word)) for word in one.options["forbidden_words"])
            self.rules.append(f"~/((?s:.)*{_GAP})?(?i:{words})({_GAP}(?s:.)*)?/")
            self.kept.append(one)
        elif one.options["relation"] == "less than":
            word = _escaped(str(one.options["keyword"]).strip())
            self.rules.append(f"~/((?s:.)*(?i:{word})){{{max(1, int(one.options['frequency']))}}}(?s:.)*/")
            self.kept.append(one)

    # ------------------------------------------------ the text between

    def _body(self) -> str:
        """The first instruction that gives the text a shape, else free text; then bounds on its length."""
        for one in self.given:
            shape = SHAPES[one.name](self, one.options) if one.name in SHAPES else None
            if shape is not None:
                self.kept.append(one)
                return shape
        if (bounded := self._bounded()) is not None:
            return bounded
        # What must come last needs a bound on what comes before it.
        ends = self.tail or any(one.name == "quotation" for one in self.kept)
        return f"{self.free()}{{1,{max(40, self.room)}}}" if ends else f"{self.free()}+"

    def words_of(self, count: int) -> tuple[int, int]:
        """How many words a text of ``count`` sentences may have, least and most; the bounds that say so are kept."""
        least, most = 6 * count, min(25 * count, self.tokens * 5 // 8)
        for one in self.given:
            if one.name == "number_words" and not self.lead and not self.tail:
                bound = int(one.options["num_words"])
                if one.options["relation"] == "at least":
                    least = bound
                else:
                    most = min(most, bound - 1)
                self.kept.append(one)
        return least, most

    def _bounded(self) -> str | None:
        """Free text of a bounded number of words or sentences."""
        for one in self.given:
            if one.name == "number_words":
                bound = int(one.options["num_words"])
                # The class of free text cannot be put into the pattern of words: the two are intersected.
                word, gap = f"{_WORD}{{1,20}}", f"{_GAP}{{1,3}}"
                if one.options["relation"] == "less than":
                    if bound < 2 or bound * 1.5 > self.tokens or self.lead or self.tail:
                        continue
                    found = f"{_GAP}{{0,2}}({word}{gap}){{0,{bound - 2}}}{word}{_GAP}{{0,3}}"
                elif bound * 1.6 <= self.tokens - 16:
                    found = f"{_GAP}{{0,2}}({word}{gap}){{{bound},}}"
                else:
                    continue
                if not self.case and not self.excluded:
                    self.kept.append(one)
                    return found
                if not self.lead and not self.tail and '"' not in self.excluded:
                    self.kept.append(one)
                    self.rules.append(f"/{found}/")
                    return f"{self.free()}+"
            if one.name == "number_sentences":
                bound = int(one.options["num_sentences"])
                said = self.free(".", "!", "?", "*")
                if one.options["relation"] == "less than" and bound >= 2 and not self.lead and not self.tail:
                    self.kept.append(one)
                    widest = min(220, max(30, self.room // (bound - 1)))
                    one_more = f"{self.letter()}{said}{{10,{widest}}}[.!?]"
                    return f"{one_more}([ {_escaped(chr(10))}]{one_more}){{0,{bound - 2}}}"
                if one.options["relation"] == "at least" and bound >= 1 and self.room // bound >= 35:
                    self.kept.append(one)
                    one_more = f"{self.letter()}{said}{{10,{self.room // bound - 3}}}[.!?]"
                    return f"({one_more}[ {_escaped(chr(10))}]){{{bound - 1}}}{one_more}"
        return None

    def text(self, width: int) -> str:
        """A text that begins with a letter and has no stars, of at most about ``width`` characters."""
        return f"{self.letter()}{self.free('*')}{{15,{width}}}"

    def share(self, count: int, taken: int, least: int) -> int | None:
        """Characters for each of ``count`` parts that need ``taken`` besides; None where they are fewer than
        ``least``."""
        width = self.room // max(1, count) - taken
        return width if count >= 1 and width >= least else None


# ---------------------------------------------------------------- shapes: a text's regular expression, None where it
# does not fit

Given = Mapping[str, Any]


def _json(writer: _Writer, given: Given) -> str | None:
    value = writer.free('"', "\\", lines=False)
    pair = f'"{writer.letter()}{{2,20}}": "{value}{{1,{max(20, writer.room // 5)}}}"'
    more = "" if "," in writer.excluded else f"(, {pair}){{0,4}}"
    writer.excluded.discard('"')
    return rf"\{{{pair}{more}\}}"


def _choice(writer: _Writer, given: Given) -> str | None:
    fit = [text for choice in CHOICES if (text := writer.literal(choice)) in CHOICES]
    return f"({'|'.join(_escaped(text) for text in fit)})" if fit else None


def _sections(writer: _Writer, given: Given) -> str | None:
    word, count = writer.literal(str(given["section_spliter"])), int(given["num_sections"])
    width = writer.share(count, 16, 25)
    # In one case the splitter would be another word than the one that is counted.
    if word != given["section_spliter"] or width is None:
        return None
    return r"\n\n".join(_escaped(f"{word} {number}\n") + writer.text(width) for number in range(1, count + 1))


def _two_answers(writer: _Writer, given: Given) -> str | None:
    text = writer.text(max(30, writer.room // 2 - 20))
    return text + r"\n\*{6}\n" + text


def _paragraphs(writer: _Writer, given: Given) -> str | None:
    count = int(given["num_paragraphs"])
    if (width := writer.share(count, 10, 25)) is None:
        return None
    text = writer.text(width)
    return text + rf"(\n\n\*\*\*\n\n{text}){{{count - 1}}}"


def _first_word(writer: _Writer, given: Given) -> str | None:
    count, nth = int(given["num_paragraphs"]), int(given["nth_paragraph"])
    word, width = writer.literal(str(given["first_word"])), writer.share(count, 4, 25)
    if word is None or not 1 <= nth <= count or width is None:
        return None
    line = writer.free("*", lines=False)
    spelled = {word} if writer.case else {word, word[:1].upper() + word[1:]}
    plain = f"{writer.letter()}{line}{{15,{width}}}"
    named = f"({'|'.join(_escaped(text) for text in sorted(spelled))}) {line}{{10,{width}}}"
    return r"\n\n".join(named if number == nth else plain for number in range(1, count + 1))


def _bullets(writer: _Writer, given: Given) -> str | None:
    count = int(given["num_bullets"])
    if (width := writer.share(count, 6, 12)) is None:
        return None
    free = writer.free("*", lines=False)
    line = rf"\* {free}{{4,{min(150, width)}}}"
    return rf"({writer.letter()}{free}{{5,80}}:\n\n)?{line}(\n{line}){{{count - 1}}}"


def _highlights(writer: _Writer, given: Given) -> str | None:
    count = int(given["num_highlights"])
    if (width := writer.share(count, 45, 8)) is None or "*" in writer.excluded:
        return None
    lit = rf"\*{writer.letter()}{writer.free('*', lines=False)}{{2,38}}\*"
    return rf"({writer.free('*')}{{1,{width}}}{lit}){{{count}}}{writer.free('*')}{{0,60}}"


def _placeholders(writer: _Writer, given: Given) -> str | None:
    count = int(given["num_placeholders"])
    if (width := writer.share(count, 18, 8)) is None or writer.excluded & {"[", "]"}:
        return None
    text = writer.free("[", "]")
    return rf"({text}{{1,{width}}}\[{writer.letter()}{{3,15}}\]){{{count}}}{text}{{0,60}}"


def _capitals(writer: _Writer, given: Given) -> str | None:
    count = int(given["capital_frequency"])
    if given["capital_relation"] != "at least" or writer.case or (width := writer.share(count, 12, 8)) is None:
        return None
    return rf"({writer.free()}{{0,{min(120, width)}}}[ \n][A-Z]{{3,12}} ){{{count}}}{writer.free()}{{0,60}}"


def _keywords(writer: _Writer, given: Given) -> str | None:
    """A sentence around each word; the words of a text are spread evenly over its sentences."""
    known = [text for word in given["keywords"] if (text := writer.literal(str(word).strip()))]
    if not writer.keywords or not known or len(known) < len(given["keywords"]):
        return None
    before = len(writer.kept)
    low, high = writer.words_of(len(known))
    word, gap = f"{writer.letter()}{{1,16}}", " " if "," in writer.excluded else ",? "
    sentences = []
    for text in known:
        own = count_words(text)
        least, most = max(2, -(-low // len(known)) - own), high // len(known) - own
        if most < least:
            del writer.kept[before:]
            return None
        first, wide = (least + 1) // 2, max((least + 1) // 2, most // 2)
        ends = rf"({gap}{word}){{{least - first},{most - wide}}}[.!?]"
        sentences.append(rf"({word}{gap}){{{first},{wide}}}(?i:{_escaped(text)}){ends}")
    return r"[ \n]".join(sentences)


SHAPES: Mapping[str, Callable[[_Writer, Given], str | None]] = {
    "json_format": _json,
    "constrained_response": _choice,
    "multiple_sections": _sections,
    "two_responses": _two_answers,
    "number_paragraphs": _paragraphs,
    "nth_paragraph_first_word": _first_word,
    "number_bullet_lists": _bullets,
    "number_highlighted_sections": _highlights,
    "number_placeholders": _placeholders,
    "capital_word_frequency": _capitals,
    "existence": _keywords,
}


def _escaped(text: str) -> str:
    """A literal as a regular expression between slashes."""
    return re.sub(r"([\\.+*?()|\[\]{}^$/#&~-])", r"\\\1", text).replace("\n", r"\n").replace("\t", r"\t")


def _members(characters: set[str]) -> str:
    """Characters as the inside of a class."""
    return "".join(_escaped(one) for one in sorted(characters))
