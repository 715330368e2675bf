"""A model's reply read as the answer that was asked for: one reader, for whoever asks a model.

The rules are those of docs/rungs.md. Where they do not hold, the reply is not understood and that is said; no guess.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from rung.core.errors import InputError
from rung.core.text.number import number_alone, read_number
from rung.core.text.pattern import compile_pattern, shown
from rung.core.text.reasoning import without_reasoning
from rung.core.text.schema import complain
from rung.core.types import ResponseFormat


def read_reply(form: ResponseFormat, text: str) -> tuple[Any, str]:
    """(the answer, "") or (None, why the reply cannot be read as ``form``). Numbers and matches are texts."""
    # A document is data from its first sign on: tags in it are its own.
    whole = form.kind == "json" and text.lstrip().startswith("{")
    said = (text if whole else without_reasoning(text, strict=form.closed)).strip().removeprefix("\ufeff")
    if not said and text.strip():
        return None, "the reply is reasoning only: it was cut off, or no answer follows"
    if form.closed and (tagged := _TAGGED.fullmatch(said)):
        said = tagged[2].strip()
    try:
        match form.kind:
            case "labels":
                return _label(form.labels, said)
            case "json":
                return _document(form.schema, said)
            case "number":
                return _number(said)
            case "regex":
                return _match(form.pattern, said)
    except InputError as error:  # a pattern of the form that takes too long
        return None, error.message
    except _Doubtful as error:
        return None, f"not valid JSON: {error}"
    return (said, "") if said else (None, "the reply is empty")


_TAGGED = re.compile(r"<(answer|response|output|result|label|final|final_answer)>(.*)</\1>", re.IGNORECASE | re.DOTALL)

# ---------------------------------------------------------------- labels

_EDGES = " \t\r\n.,;:!?\"'`*_~()[]{}«»“”„‘’‹›「」『』【】《》。、，；：！？…"
_BESIDE = _EDGES + "<>|"
"""What may stand beside a word without being a part of it."""
_MARK = re.compile(
    r"(?:final |correct |the )*\b(?:answer|label|class|category|choice|option|output|prediction|verdict|antwort|réponse|respuesta)\b"
    r"[*_`\"']*\s*(?:is|=|:|：|est|es|ist)[*_`]*\s*:?|\\boxed\s*\{(?:\\text\s*\{)?",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|none|nothing|nobody|cannot|without|except|excluding|unlike|than|instead of|as opposed to|less|least"
    r"|hardly|barely|scarcely|rarely|seldom|far from|anything but|short of|devoid of|free (?:of|from)|lack\w*|fail\w*|doubt\w*|unlikely"
    r"|isn['’]?t|is ?n['’]t|nicht|kein\w*|weder|noch|kaum|pas|ni|non|nunca|jamais|não|не|нет|ни|niet|geen|inte|icke|ikke|nie|není|ne|nem|nincs|nu|ei|δεν|όχι"
    r"|không|chẳng|tidak|bukan|לא|אינו|אינה|אין|غير|ليس|ليست|لا|لم)\b|n['’]t\b)[^.!?\n;:]{0,24}\Z"
    r"|(?:不|非|没|沒|未|無|无|ない)\w{0,3}\Z|(?:ไม่|ບໍ່|មិន)\S{0,8}\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"[\s*_`\"'”’)]*(?:[?]\s*(?:no|not|nope|nein|non)\b|[:=]\s*(?:no|false|0(?!\.?\d))\b"
    r"|(?:is|are|was|would be|seems|looks|can be)\s+(?:not|n['’]t|wrong|incorrect|false|excluded|ruled out|unlikely|out)\b|(?:is|was|ca|wo)n['’]t\b"
    r"|does(?:n['’]t| not)\b|can(?:not|['’]t)\b|değil\b|(?:है\s+)?नहीं|[이가]?\s*(?:아니|아닙|않)|(?:で|じゃ)は?(?:な[いかく]|ありま?せん)|くな[いかく])",
    re.IGNORECASE,
)
"""What, behind a label, says that it is not the answer."""
_WEAK = re.compile(
    r"a|all|any|both|down|even|here|i|in|just|left|like|more|most|new|no|none|now|off|on|others?|out|right|some|there|up|well"
)
"""Words of running text: as labels they are named only where a clause ends behind them ("no idea" does not say no)."""
_GOES_ON = re.compile(r"\s+(?!(?:is|because|as|since|and|or|was|would|seems|fits)\b)[^\W\d_]", re.IGNORECASE)
_ANSWER = re.compile(
    r"answer|label|final[_ ]answer|prediction|class|category|output|result|value|number", re.IGNORECASE
)
"""Keys of an object that hold its answer, whatever else is in it."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts without spaces between words."""
_FOLDED: dict[int, str | None] = {
    **dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]),
    **dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2212], "-"),
    **dict.fromkeys([0x2018, 0x2019, 0x201B, 0x2BC], "'"),
}
"""Signs that nobody sees, and the hyphens and apostrophes that models write for those of a keyboard."""


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).translate(_FOLDED).casefold()
    return " ".join(folded.replace("i\u0307", "i").split())  # what casefold makes of Turkish capitals


def _bare(text: str) -> str:
    """A text without the marks around it: quotes, brackets, bullets, emphasis, a full stop."""
    return re.sub(r"\A(?:[-+•–—>]|#{1,6})\s+", "", text.strip(_EDGES)).strip(_EDGES)


@lru_cache(maxsize=256)
def _labels(labels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """By plain text, the labels that read so: two that differ in case alone can be told apart only as they are."""
    named: dict[str, tuple[str, ...]] = {}
    for label in labels:
        named[_plain(label)] = (*named.get(_plain(label), ()), label)
    for label in labels:
        if (bare := _plain(_bare(label))) and label not in named.get(bare, (label,)):
            continue  # it is another label's own spelling
        if bare:
            named[bare] = tuple(dict.fromkeys((*named.get(bare, ()), label)))
    return named


def _equal(labels: tuple[str, ...], text: str) -> str | None:
    """The one label that the text is, marks around it aside."""
    for exact in (text, text.strip(), _bare(text)):
        if exact in labels:
            return exact
    for spelled in (_plain(text), _plain(_bare(text))):
        found = _labels(labels).get(spelled, ())
        if len(found) == 1:
            return found[0]
    return None


def _label(labels: tuple[str, ...], text: str) -> tuple[str | None, str]:
    known = ", ".join(labels)
    complaint = f"expected one of {known if len(known) <= 60 else f'{len(labels)} labels'}, got {_short(text)}"
    if (whole := _equal(labels, text)) is not None:
        return whole, ""
    objects = [value for value in _values(text) if isinstance(value, dict) or text.startswith("[")]
    if objects:
        inside = {label for value in objects for item in _leaves(value) if (label := _equal(labels, item)) is not None}
        return _only(inside, complaint)
    text = re.sub(r"\\(?=[_*\-.#`])", "", text)  # Markdown's escapes
    # What a line says that marks its answer, or a line of its own, counts before what the prose around it names.
    marked = {_equal(labels, text[mark.end() :].lstrip().partition("\n")[0]) for mark in _MARK.finditer(text)} - {None}
    lines = marked or {_equal(labels, line) for line in text.splitlines()} - {None}
    if lines:
        return _only(lines, complaint)
    named = set()
    for label, before, after in _named(labels, text):
        if _NOT.search(before) or _DENIED.match(after):
            return None, f"{complaint}: {label} is negated"
        if not (_WEAK.fullmatch(_plain(label)) and _GOES_ON.match(after)):
            named.add(label)
    if len(named) == 1 and all(map(number_alone, labels)) and len(re.findall(r"\d+(?:[.,]\d+)*", text)) > 1:
        return None, f"{complaint}: another number stands beside it"
    return _only(named, complaint)


def _answer(value: Any) -> Any:
    """What an object says is its answer: the one of its values that stands under such a key, else the object."""
    found = [item for key, item in value.items() if _ANSWER.fullmatch(key)] if isinstance(value, dict) else []
    return found[0] if len(found) == 1 else value


def _only(found: set[Any], complaint: str) -> tuple[str | None, str]:
    if len(found) == 1:
        return next(iter(found)), ""
    return None, f"{complaint}: it names several" if found else complaint


def _leaves(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | int | float | bool):
            yield item if isinstance(item, str) else json.dumps(item)
        elif isinstance(item, dict | list):
            waiting += list(item.values() if isinstance(item, dict) else item)


def _named(labels: tuple[str, ...], text: str) -> Iterator[tuple[str, str, str]]:
    """Each label that the text names as whole words, with the text before and behind it; of labels inside one another,
    the longest."""
    folded = unicodedata.normalize("NFKC", text).translate(_FOLDED)
    known = _labels(labels)
    for found in _any_of(labels).finditer(folded):
        start, end = found.span()
        word = found[0]
        if not (_apart(folded, start, -1) and _apart(folded, end, 1)):
            continue
        around = (folded[max(0, start - 60) : start], folded[end : end + 60])
        if word in labels:
            yield word, *around
        elif len(word) > 1 or _UNSPACED.match(word):  # an "a" in running text is not the label A
            for label in known.get(_plain(word), ()):
                yield label, *around


@lru_cache(maxsize=256)
def _any_of(labels: tuple[str, ...]) -> re.Pattern[str]:
    spelled = sorted(_labels(labels), key=len, reverse=True)
    return re.compile("|".join(re.escape(one).replace(r"\ ", r"\s+") for one in spelled) or r"(?!)", re.IGNORECASE)


def _apart(text: str, at: int, step: int) -> bool:
    """Whether a word ends at ``at``, seen towards ``step``: at white space or a plain punctuation mark."""
    inside, one = (text[at], text[at - 1 : at]) if step < 0 else (text[at - 1], text[at : at + 1])
    if not one or one.isspace() or _UNSPACED.match(one) or _UNSPACED.match(inside):
        return True
    if one not in _BESIDE:
        return False
    beyond = text[max(0, at - 2) : at - 1] if step < 0 else text[at + 1 : at + 2]
    return one not in ".:'’_" or not beyond.isalnum()


# ---------------------------------------------------------------- JSON


class _Doubtful(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Doubtful("a key stands in an object twice")
    return found


def _constant(name: str) -> Any:
    raise _Doubtful(f"{name} is no JSON")


def _float(text: str) -> float:
    if math.isinf(float(text)):
        raise _Doubtful(f"{text[:40]} is too large")
    return float(text)


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)


def _values(text: str) -> list[Any]:
    """The JSON objects and arrays in a text, outermost ones. Raises _Doubtful where one is begun and broken."""
    found: list[Any] = []
    at = 0
    while len(found) < 64 and (place := _BEGIN.search(text, at)):
        try:
            value, at = _decoder.raw_decode(text, place.start())
        except RecursionError:
            raise _Doubtful("it is nested too deeply") from None
        except ValueError as error:
            if isinstance(error, _Doubtful) or _OBJECT.match(text, place.start()):
                raise _Doubtful(str(error)) from None
            at = place.end()  # [see below], {name}: signs in prose
            continue
        found.append(value)
    return found


_BEGIN = re.compile(r"\{(?=\s*[\"'}])|\[(?=\s*[\]\[{\"\-0-9tfnNI])")
"""Where an object or a list can begin: every failed try costs a look at the whole text."""
_OBJECT = re.compile(r"\{\s*[\"'}]|\[\s*\{")


def _document(schema: Mapping[str, Any], text: str) -> tuple[Any, str]:
    wanted = "array" if schema and schema.get("type") == "array" else "object"
    values = _values(text)
    lists = [value for value in values if isinstance(value, list)]
    found = lists if wanted == "array" else [value for value in values if isinstance(value, dict)]
    if wanted == "object" and any(isinstance(item, dict) for value in lists for item in value):
        return None, "expected a JSON object, got an array of them"
    if not found:
        return None, f"expected a JSON {wanted}, got {_short(text)}"
    good: list[Any] = []
    why = ""
    for value in found:
        problem = complain(schema, value) if schema else ""
        if not problem and value not in good:
            good.append(value)
        why = why or problem
    if len(good) == 1:
        return good[0], ""
    return None, f"several JSON {wanted}s stand in the reply, and they differ" if good else why


# ---------------------------------------------------------------- numbers and patterns


def _number(text: str) -> tuple[str | None, str]:
    objects = [value for value in _values(text) if isinstance(value, dict)]
    leaves = {item for value in objects for item in _leaves(_answer(value)) if read_number(item)[0]}
    if len(leaves) > 1:
        return None, f"expected a number, got {_short(text)}: several numbers stand in the object"
    text = next(iter(leaves), "") if objects else text
    number, why = read_number(text)
    return (number, "") if number else (None, f"expected a number, got {_short(text)}: {why}")


def _match(source: str, text: str) -> tuple[str | None, str]:
    """The whole text, or the one piece of it (marks and words around it aside) that matches."""
    compiled = compile_pattern(source)
    if compiled.fullmatch(text):
        return text, ""
    found = {
        match[0]
        for match in compiled.finditer(text)
        if match[0]
        and not (text[: match.start()][-1:].isalnum() and match[0][0].isalnum())
        and not (text[match.end() : match.end() + 1].isalnum() and match[0][-1].isalnum())
    }
    if len(found) == 1:
        return found.pop(), ""
    why = "several pieces of it do" if found else f"got {_short(text)}"
    return None, f"expected text matching {shown(source)}: {why}"


def _short(text: str, width: int = 80) -> str:
    return repr(text if len(text) <= width else text[: width - 3] + "...")
