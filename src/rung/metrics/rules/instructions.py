"""Does a text follow checkable instructions? The 25 kinds of IFEval (Zhou et al. 2023, arXiv:2311.07911), each a rule.

An instruction is a kind (``punctuation:no_comma``) and its options (``num_bullets: 3``). ``ifeval`` is the share of
instructions that are followed, over all items (instruction-level accuracy); ``ifeval-prompt`` the share of items of
which all are followed (prompt-level). Strict takes the answer as it is; ``:loose`` also tries it without its first
line, its last line, both, and each without asterisks, and takes the best, as the paper does.

Where this differs from the paper's program: sentences and words in capitals are counted by a rule in place of NLTK's
Punkt and tokenizer, and languages are told by py3langid in place of langdetect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rung.core.errors import InputError
from rung.core.parts.problem import nearest
from rung.core.protocols import Resources
from rung.core.types import Case, Score
from rung.foundations.text.language import language
from rung.foundations.text.sentences import count_sentences
from rung.metrics.mean import CorpusMetric, Mean, failed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Options = Mapping[str, Any]
RELATIONS = ("at least", "less than")
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


@dataclass(frozen=True, slots=True)
class CheckableInstruction:
    """One checkable instruction: its kind, one of ``KINDS``, and the options that the kind wants."""

    kind: str
    options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"there is no instruction {self.kind!r}", remedy=nearest(self.kind, KINDS))
        wanted = KINDS[self.kind].options
        given = {name: value for name, value in self.options.items() if value is not None}
        for name, kind in wanted.items():
            if name not in given:
                raise InputError(f"{self.kind} has no {name}", remedy=f"give {', '.join(wanted)}")
            if isinstance(given[name], bool) or not isinstance(given[name], kind):
                raise InputError(
                    f"{self.kind}: {name} is {given[name]!r}, expected {kind.__name__}", remedy="correct it"
                )
            if name.endswith("relation") and given[name] not in RELATIONS:
                raise InputError(f"{self.kind}: {name} is {given[name]!r}", remedy=f"one of: {', '.join(RELATIONS)}")
        if extra := sorted(set(given) - set(wanted)):
            takes = f"it takes {', '.join(wanted) or 'none'}"
            raise InputError(f"{self.kind} takes no {', '.join(extra)}", remedy=takes)
        object.__setattr__(self, "options", given)

    def __str__(self) -> str:
        said = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.options.items())
        return f"{self.kind} {said}".strip()

    @property
    def name(self) -> str:
        """The kind without its family: ``no_comma``."""
        return self.kind.partition(":")[2]

    def holds(self, text: str) -> bool:
        """Whether a text follows it, strictly. An empty text follows nothing."""
        return bool(text.strip()) and KINDS[self.kind].check(text, self.options)

    def holds_loosely(self, text: str) -> bool:
        """Whether the text or one of its seven variants (see the module) follows it."""
        return any(self.holds(variant) for variant in variants(text))


def parse_instruction(text: str) -> CheckableInstruction:
    """Read ``no_comma`` or ``number_words relation="at least" num_words=50``: values are JSON, or bare words.

    The family may be left out. Raises InputError for an unknown kind or options that do not fit.
    """
    head, _, rest = text.strip().partition(" ")
    known = [kind for kind in KINDS if head in (kind, kind.partition(":")[2])]
    kind = known[0] if known else head
    options: dict[str, Any] = {}
    pattern = re.compile(r'\s*(\w+)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S+)')
    at = 0
    while rest[at:].strip():
        found = pattern.match(rest, at)
        if found is None:
            raise InputError(f"cannot read {rest[at:].strip()!r}", remedy="write NAME=VALUE, for example num_bullets=3")
        try:
            options[found[1]] = json.loads(found[2])
        except ValueError:
            options[found[1]] = found[2]
        at = found.end()
    return CheckableInstruction(kind, options)


def read_instructions(value: Any) -> tuple[CheckableInstruction, ...]:
    """Instructions from a reference or a field: IFEval's own ``{"instruction_id_list": [...], "kwargs": [...]}``, or a
    list of kinds and ``{"kind": ..., option: value}``; each also as JSON text.

    Raises InputError when it is neither, or empty.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InputError(f"the instructions are not JSON: {error}", remedy='for example ["punctuation:no_comma"]') from None  # fmt: skip
    if isinstance(value, Mapping) and "instruction_id_list" in value:
        kinds, options = value["instruction_id_list"], value.get("kwargs") or []
        if not isinstance(kinds, list) or not isinstance(options, list) or len(options) not in (0, len(kinds)):
            raise InputError("instruction_id_list and kwargs are not lists of one length", remedy="correct the data")
        value = [
            {"kind": kind, **(given or {})} for kind, given in zip(kinds, options or [{}] * len(kinds), strict=True)
        ]
    if not isinstance(value, list | tuple) or not value:
        raise InputError(
            f"got {str(value)[:60]!r}, expected a list of instructions",
            remedy='for example ["punctuation:no_comma", {"kind": "detectable_format:number_bullet_lists", "num_bullets": 3}]',
        )
    found = []
    for item in value:
        if isinstance(item, str):
            item = {"kind": item}
        if not isinstance(item, Mapping) or not isinstance(item.get("kind"), str):
            raise InputError(f"got {str(item)[:60]!r}, expected an instruction", remedy='write {"kind": "..."}')
        found.append(
            CheckableInstruction(item["kind"], {name: option for name, option in item.items() if name != "kind"})
        )
    return tuple(found)


def variants(text: str) -> tuple[str, ...]:
    """The text, then without its first line, its last line, both; each also without asterisks (loose)."""
    lines = text.split("\n")
    cut = [text, *("\n".join(lines[part]).strip() for part in (slice(1, None), slice(-1), slice(1, -1)))]
    return (*cut, *(one.replace("*", "") for one in cut))


# ---------------------------------------------------------------- the checks


def count_words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def count_capitals(text: str) -> int:
    """Words in capitals: "AI-BASED" is one, "I" too."""
    return sum(word.isupper() for word in re.findall(r"[^\W_]+(?:[-.&][^\W_]+)*", text))


def _related(count: int, relation: str, bound: int) -> bool:
    return count >= bound if relation == "at least" else count < bound


def _existence(text: str, o: Options) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in o["keywords"])


def _frequency(text: str, o: Options) -> bool:
    count = len(re.findall(re.escape(o["keyword"].strip()), text, re.IGNORECASE))
    return _related(count, o["relation"], o["frequency"])


def _forbidden(text: str, o: Options) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in o["forbidden_words"])


def _letters(text: str, o: Options) -> bool:
    return _related(text.lower().count(o["letter"].lower()), o["let_relation"], o["let_frequency"])


def _language(text: str, o: Options) -> bool:
    return bool(language(text) == o["language"])


def _sentences(text: str, o: Options) -> bool:
    return _related(count_sentences(text), o["relation"], o["num_sentences"])


def _words(text: str, o: Options) -> bool:
    return _related(count_words(text), o["relation"], o["num_words"])


def _paragraphs(text: str, o: Options) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    inner = parts[1:-1]
    if any(not part.strip() for part in inner):
        return False
    return bool(sum(bool(part.strip()) for part in parts) == o["num_paragraphs"])


def _first_word(text: str, o: Options) -> bool:
    parts = text.split("\n\n")
    nth = o["nth_paragraph"]
    if sum(bool(part.strip()) for part in parts) != o["num_paragraphs"] or not 1 <= nth <= len(parts):
        return False
    words = parts[nth - 1].split()
    if not words:
        return False
    word = re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'))[0]
    return bool(word.lower() == o["first_word"].lower())


def _placeholders(text: str, o: Options) -> bool:
    count = 0
    for line in text.split("\n"):
        at = line.find("[")
        while at >= 0 and (close := line.find("]", at)) >= 0:
            count += 1
            at = line.find("[", close)
    return bool(count >= o["num_placeholders"])


def _postscript(text: str, o: Options) -> bool:
    marker = o["postscript_marker"]
    patterns = {"P.P.S": r"p\.\s?p\.\s?s.*$", "P.S.": r"p\.\s?s\..*$"}
    return bool(re.search(patterns.get(marker, re.escape(marker.lower()) + r".*$"), text.lower(), re.MULTILINE))


def _bullets(text: str, o: Options) -> bool:
    lines = [line.lstrip() for line in text.rstrip("\n").split("\n")]
    stars = sum(line[:1] == "*" and line[:2] != "**" for line in lines)
    return bool(stars + sum(line[:1] == "-" for line in lines) == o["num_bullets"])


def _constrained(text: str, o: Options) -> bool:
    return any(choice in text for choice in CHOICES)


def _highlights(text: str, o: Options) -> bool:
    single = [found for found in re.findall(r"\*[^\n\*]*\*", text) if found.strip("*").strip()]
    double = [found for found in re.findall(r"\*\*[^\n\*]*\*\*", text) if found.strip("*").strip()]
    return bool(len(single) + len(double) >= o["num_highlights"])


def _sections(text: str, o: Options) -> bool:
    return bool(len(re.findall(rf"\s?{re.escape(o['section_spliter'])}\s?\d+\s?", text)) >= o["num_sections"])


def _json(text: str, o: Options) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, o: Options) -> bool:
    titles = (line[max(line.find("<<"), 0) : line.rfind(">>")] for line in text.split("\n") if "<<" in line)
    return any(title.startswith("<<") and title.lstrip("<").rstrip(">").strip() for title in titles)


def _two(text: str, o: Options) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    kept = [part.strip() for part in parts if part.strip()]
    return len(kept) == 2 and kept[0] != kept[1]


def _repeat(text: str, o: Options) -> bool:
    return text.strip().lower().startswith(o["prompt_to_repeat"].strip().lower())


def _end(text: str, o: Options) -> bool:
    return text.strip().strip('"').lower().endswith(o["end_phrase"].strip().lower())


def _capital_words(text: str, o: Options) -> bool:
    return _related(count_capitals(text), o["capital_relation"], o["capital_frequency"])


def _upper(text: str, o: Options) -> bool:
    return text.isupper() and language(text) == "en"


def _lower(text: str, o: Options) -> bool:
    return text.islower() and language(text) == "en"


def _no_comma(text: str, o: Options) -> bool:
    return "," not in text


def _quoted(text: str, o: Options) -> bool:
    return len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of instruction asks, its options with their types, and its check."""

    asks: str
    check: Callable[[str, Options], bool]
    options: Mapping[str, type] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "keywords:existence": Kind("the words are in it", _existence, {"keywords": list}),
    "keywords:frequency": Kind("a word at least, or less than, so often", _frequency, {"keyword": str, "relation": str, "frequency": int}),
    "keywords:forbidden_words": Kind("none of the words is in it", _forbidden, {"forbidden_words": list}),
    "keywords:letter_frequency": Kind("a letter at least, or less than, so often", _letters, {"letter": str, "let_relation": str, "let_frequency": int}),
    "language:response_language": Kind("it is in a language", _language, {"language": str}),
    "length_constraints:number_sentences": Kind("at least, or less than, so many sentences", _sentences, {"relation": str, "num_sentences": int}),
    "length_constraints:number_words": Kind("at least, or less than, so many words", _words, {"relation": str, "num_words": int}),
    "length_constraints:number_paragraphs": Kind("so many paragraphs with *** between them", _paragraphs, {"num_paragraphs": int}),
    "length_constraints:nth_paragraph_first_word": Kind(
        "so many paragraphs with empty lines between them, the nth beginning with a word", _first_word,
        {"first_word": str, "num_paragraphs": int, "nth_paragraph": int},
    ),
    "detectable_content:number_placeholders": Kind("at least so many [placeholders]", _placeholders, {"num_placeholders": int}),
    "detectable_content:postscript": Kind("a postscript", _postscript, {"postscript_marker": str}),
    "detectable_format:number_bullet_lists": Kind("exactly so many bullet points", _bullets, {"num_bullets": int}),
    "detectable_format:constrained_response": Kind("My answer is yes., no. or maybe.", _constrained),
    "detectable_format:number_highlighted_sections": Kind("at least so many *highlighted* parts", _highlights, {"num_highlights": int}),
    "detectable_format:multiple_sections": Kind("at least so many numbered sections", _sections, {"section_spliter": str, "num_sections": int}),
    "detectable_format:json_format": Kind("the whole is JSON", _json),
    "detectable_format:title": Kind("a <<title>>", _title),
    "combination:two_responses": Kind("two different answers with ****** between them", _two),
    "combination:repeat_prompt": Kind("it begins with the request", _repeat, {"prompt_to_repeat": str}),
    "startend:end_checker": Kind("it ends with a phrase", _end, {"end_phrase": str}),
    "change_case:capital_word_frequency": Kind("so many words in capitals, or fewer", _capital_words, {"capital_relation": str, "capital_frequency": int}),
    "change_case:english_capital": Kind("English, all in capitals", _upper),
    "change_case:english_lowercase": Kind("English, no capital letter", _lower),
    "punctuation:no_comma": Kind("no comma", _no_comma),
    "startend:quotation": Kind("the whole in quotation marks", _quoted),
}  # fmt: skip


# ---------------------------------------------------------------- the metrics

Way = Literal["strict", "loose"]


def verdicts(text: str, instructions: Sequence[CheckableInstruction], way: Way = "strict") -> tuple[bool, ...]:
    """Whether a text follows each of some instructions."""
    return tuple(one.holds(text) if way == "strict" else one.holds_loosely(text) for one in instructions)


def _grade(case: Case, way: Way) -> Score:
    """``value``: share of the item's instructions that are followed; ``parts``: how many are, of how many."""
    instructions = read_instructions(case.reference)
    if case.failure is not None:
        return failed(case, (0.0, float(len(instructions))))
    # The answer as the model wrote it: a program may have parsed it.
    kept = verdicts(case.output if isinstance(case.output, str) else case.raw, instructions, way)
    missed = [str(one) for one, good in zip(instructions, kept, strict=True) if not good]
    why = f"not followed: {'; '.join(missed)}" if missed else "all followed"
    return Score(sum(kept) / len(kept), why[:300], (float(sum(kept)), float(len(kept))))


class InstructionLevel(CorpusMetric):
    """Share of all instructions, over all items, that are followed."""

    def __init__(self, way: Way = "strict", name: str = "ifeval") -> None:
        self.way, self.name = way, name

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        return [_grade(case, self.way) for case in cases]

    def combine(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
        return shares


class PromptLevel(Mean):
    """1 when an item's instructions are all followed, else 0."""

    def __init__(self, way: Way = "strict", name: str = "ifeval-prompt") -> None:
        self.way, self.name = way, name

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        graded = [_grade(case, self.way) for case in cases]
        return [Score(float(one.parts[0] == one.parts[1]), one.why, one.parts) for one in graded]


def _way(argument: str) -> Way:
    if argument not in ("", "strict", "loose"):
        raise InputError(f"ifeval takes strict or loose, got {argument!r}", remedy="write ifeval or ifeval:loose")
    return "loose" if argument == "loose" else "strict"


def open_instruction_level(argument: str, resources: Resources) -> InstructionLevel:
    """``ifeval``, or ``ifeval:loose``; references are what ``read_instructions`` reads."""
    return InstructionLevel(_way(argument), f"ifeval:{argument}" if argument else "ifeval")


def open_prompt_level(argument: str, resources: Resources) -> PromptLevel:
    """``ifeval-prompt``, or ``ifeval-prompt:loose``."""
    return PromptLevel(_way(argument), f"ifeval-prompt:{argument}" if argument else "ifeval-prompt")
