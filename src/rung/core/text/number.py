"""A number out of a text, as people and models write it: one reader for replies, references and metrics."""

from __future__ import annotations

import math
import re
import unicodedata

_BODY = r"(?:[1-9]\d{0,2}(?:[,'’_\u00a0\u202f\u2009]\d{3})+|[1-9]\d{0,2}(?:,\d\d)+,\d{3}|\d+)?(?:\.\d+)?"
"""Thousands in groups of three (India's: of two, then three), or none; then decimals."""
_NUMBER = re.compile(rf"(?P<sign>[-+]?)(?:[$€£¥₹]\s?)?(?P<more>[-+]?)(?P<body>{_BODY})(?P<power>[eE][-+]?\d+)?")
_RUN = re.compile(
    r"(?<![\w.])(?:(?<![\d)\]}])[-+])?(?:[$€£¥₹]\s?[-+]?)?(?:\d|\.\d)[\d.,'’_\u00a0\u202f\u2009]*(?:(?<=[\d.])[eE][-+]?\d+)?"
)
"""A piece of text that looks like one number, signs and separators and all."""
_JOINED = re.compile(
    r"[%°]?\s*(?:[-~/:;&×÷*^,…+x]|\.{2,}|±|\+/-)?\s*|\s?(?:[^\W\d_]{1,12}|[%°€£])?\s*(?:[-~]|to|or|and|(?:out )?of|bis|oder|und|von|till|until|through)\s*"
    r"|\s*\(\s*(?:±|\+/-)\s*|\s?(?:hundred|thousand|million|billion|trillion)s?,?\s*"
    r"|\s?(?:h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|d|days?|weeks?|months?|y|yrs?|years?|ft|feet|foot|in|inch(?:es)?|yards?"
    r"|miles?|lbs?|pounds?|oz|ounces?|k?g|k?m|cm|mm|dollars?|euros?|cents?|pence|dozen|degrees?)\.?,?\s+",
    re.IGNORECASE,
)
"""What stands between two numbers that belong together: neither of them is the answer."""
_BEFORE = re.compile(
    r"(?:(?:\bnot|n['’]t)(?:\s+[^\W\d_]{1,12}){0,2}|\bnever|\bneither|\bnor|\bexcept|\bthan|\bat least|\bat most|\bup to|[≤≥≠]|(?<![-=])[<>]"
    r"|\b(?:over|under|above|below|beyond|exceed\w*|almost|nearly|minimum(?: of)?|maximum(?: of)?|maybe|perhaps|possibly|half(?: of)?)"
    r"|√|sqrt\s*[({]|\b(?:log|ln|exp)\s*[({]|\\(?:sqrt|log|ln|exp)\s*[({]?)[\s*_`\"'($]*\Z",
    re.IGNORECASE,
)
"""What, before a number, says that it is not the answer, or only a bound of it, or that something is done with it."""
_BEHIND = re.compile(
    r"\s*(?:\+(?!\s*\d)|(?:or|and) (?:more|less|fewer|higher|lower|above|below|up|over|under|greater|so)\b|plus\b|dozens?\b|\(?±)"
    r"|\s[eE][-+]?\d|\.\d|[\u0300-\u036f]",
    re.IGNORECASE,
)
"""What, behind a number, says that it is only a bound, or another number."""
_MINUS = re.compile(r"(?:\b(?:minus|negative)\s+|(?:(?<=[=:(])|\b(?:is|are|equals))\s*-\s+)[*_`$(]*\Z", re.IGNORECASE)
"""A sign apart from its number."""
_DASH = re.compile(r"(?:\A|\n)\s*-\s+[*_`$]*\Z")
"""A sign, or the mark of a list."""
_TIMES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "lakh": 5, "crore": 7}
_SCALE = re.compile(
    r"\s?(?P<word>(?:(?:hundred|thousand|million|billion|trillion|lakh|crore)s?\b\s?)+)|\s?(?P<letter>(?:[kKMB]|bn|mn|mio|Mio|Mrd)\b)"
)
_POWER = re.compile(r"\s*(?:[×*·x]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*[{(]?\s*([-+]?\d+)\s*[)}]?")
_SUPER = re.compile(r"(?<=10)[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_SUPERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]{1,40})\}\s*\{([^{}]{1,40})\}")
_MARK = re.compile(
    r"####|\\boxed\s*\{|\b(?:final\s+)?answer\s*(?:is|are|:|=|\*\*:?)(?:\s*:)?|<answer>|\bantwort\s*(?:ist|:)|\bresult\s*(?:is|:|=)",
    re.IGNORECASE,
)


def read_number(text: str) -> tuple[str, str]:
    """(the number as Python writes it, "") or ("", why there is none that can be told).

    A quotient alone (``1/2``, ``\\frac{1}{2}``, ``½``) is worked out. Otherwise, where the text marks its answer
    (``####``, ``\\boxed{}``, ``Answer:``, ``the answer is``) and a number stands there: that one, and all marks must
    agree (after ``####`` the last counts, as gsm8k has it). Else the last number of the text. Currency, units and a
    percent sign are dropped, thousands' separators and exponents are read, ``million`` and its like are multiplied. No
    number can be told where the last one is part of a range, a list or a date, is negated or only a bound, or has
    separators that can be read in two ways.
    """
    plain = _plain(text)
    if (quotient := _quotient(plain)) is not None:
        return quotient
    marks = list(_MARK.finditer(plain))
    if marks:
        hashes = [mark for mark in marks if mark[0] == "####"]
        found = [_marked(plain, mark) for mark in (hashes[-1:] or marks)]
        told = {one for one in found if one != ("", "")}
        if len({number and float(number) for number, _ in told}) > 1:
            return "", "the answers it marks differ"
        if told:
            return next(iter(told))
    return _last(plain)


def number_alone(text: str) -> str:
    """The number that a text is, as Python writes it, "" where it is not one: currency before and a percent sign behind
    are dropped, thousands' separators and exponents are read."""
    bare = _plain(text).strip()
    found = _NUMBER.fullmatch(bare.removesuffix("%").rstrip())
    return _told(bare, runs, 0)[0] if found and len(runs := list(_RUN.finditer(bare))) == 1 else ""


def _plain(text: str) -> str:
    """The text with one way to write digits, minus and powers."""
    text = re.sub(r"(?<!\w)_+(?=[-+$€£.\d])|(?<=\d)_+(?!\w)", "", text)  # _5_ in Markdown
    text = _SUPER.sub(lambda found: "^" + found[0].translate(_SUPERS), text)
    text = _FRACTION.sub(r"\1/\2", text).replace("{,}", ",")
    text = re.sub(r"(?<=\d)\\[,!;](?=\d{3})", ",", text)  # LaTeX's thin spaces
    text = re.sub(r"−\s+(?=[\d.])", "-", text) if re.match(r"\s*−", text) else text
    text = (
        "".join(str(unicodedata.decimal(one)) if one.isdecimal() and not one.isascii() else one for one in text)
        if not text.isascii()
        else text
    )
    for old, new in (
        ("−", "-"),
        ("﹣", "-"),
        ("－", "-"),
        ("–", "-"),
        ("—", "-"),
        ("⁄", "/"),
        ("٫", "."),  # Arabic's decimal comma, and its mark of thousands
        ("٬", ","),
        ("．", "."),
        ("，", ","),
        ("％", "%"),
    ):
        text = text.replace(old, new)
    return text


def _quotient(text: str) -> tuple[str, str] | None:
    bare = text.strip(" \n\t.*`\"'$()\\")
    if len(bare) == 1 and not bare.isdecimal() and unicodedata.numeric(bare, None) is not None and not bare.isalpha():
        return repr(unicodedata.numeric(bare)), ""
    found = re.fullmatch(r"([-+]?\d{1,15}) ?/ ?(\d{1,15})", bare)
    if found is None:
        return None
    if int(found[2]) == 0:
        return "", "it divides by zero"
    value = int(found[1]) / int(found[2])
    return (str(int(value)) if value.is_integer() else repr(value)), ""


def _marked(text: str, mark: re.Match[str]) -> tuple[str, str]:
    """What stands behind a mark, up to the end of its line; ("", "") where no number does."""
    rest = text[mark.end() :]
    if mark[0].startswith("\\boxed"):
        rest = rest.partition("}")[0]
    else:
        rest = rest.lstrip(" \t:*_`\n").partition("\n")[0].partition("</answer>")[0]
    if "####" not in mark[0]:
        rest = re.split(r"[=≈]", rest)[-1]
    if (quotient := _quotient(rest)) is not None:
        return quotient
    runs = list(_RUN.finditer(rest))
    if not runs:
        return "", ""
    first = _told(rest, runs, 0)
    if len(runs) == 1 or "####" in mark[0]:
        return _told(rest, runs, len(runs) - 1)
    values = {_told(rest, runs, at) for at in range(len(runs))}
    if len(values) == 1 or (first[0] and not rest[: runs[0].start()].strip(" $*_`(\\[")):
        return first  # "17 apples for 2 children"
    return "", "several numbers stand where it marks its answer"


def _last(text: str) -> tuple[str, str]:
    runs = list(_RUN.finditer(text))
    if not runs:
        return "", "there is none"
    return _told(text, runs, len(runs) - 1)


def _unlike(body: str, before: str, after: str, beside: list[str]) -> str:
    """Why what stands around a number makes it another thing; empty where it does not."""
    if _BEFORE.search(before):
        return f"{body} is negated or only a bound"
    if any(_JOINED.fullmatch(gap) for gap in beside):
        return f"{body} is one of several numbers side by side"
    if _DASH.search(before):
        return f"the dash before {body} may be its sign or the mark of a list"
    return f"what follows {body} makes it a bound or another number" if _BEHIND.match(after) else ""


def _told(text: str, runs: list[re.Match[str]], at: int) -> tuple[str, str]:
    """The number of a run with what stands around it; ("", why) where that makes it another thing than a number."""
    if (base := _base(text, runs, at)) is not None:
        at = base
    run = runs[at]
    body = run[0].rstrip(".,'’_\u00a0\u202f\u2009")
    end = run.start() + len(body)
    before, after = text[max(0, run.start() - 40) : run.start()], text[end : end + 40]
    scientific = _POWER.match(text, end)
    beside = [text[runs[at - 1].end() : run.start()]] if at else []
    if at + 1 < len(runs) and scientific is None:
        beside.append(text[end : runs[at + 1].start()])
    if why := _unlike(body, before, after, beside):
        return "", why
    found = _NUMBER.fullmatch(body)
    if found is None or not found["body"] or (found["sign"] and found["more"]):
        return "", f"{body!r} can be read in more than one way"
    other = re.match(r"[^\W\d_]+\d|[xX][0-9a-fA-F]|[/^⁰¹²³⁴⁵⁶⁷⁸⁹]", after)
    if after[:1] in _VULGAR or (other and scientific is None):
        return "", f"what follows {body} makes it another number"
    power = int(found["power"][1:]) if found["power"] and len(found["power"]) < 8 else 0
    if scientific is not None:
        power += int(scientific[1]) if len(scientific[1]) < 7 else 10**6
    elif scale := _SCALE.match(after):
        if scale["letter"]:
            return "", f"{body}{scale['letter']} may be a multiple or a unit"
        power += sum(_TIMES[word.lower().removesuffix("s")] for word in scale["word"].split())
    if re.match(r"(?:st|nd|rd|th)\b", after):
        return "", f"{body}{after[:2]} is a position"
    digits = re.sub(r"[,'’_\u00a0\u202f\u2009]", "", found["body"])
    apart = _MINUS.search(before)
    if apart and (found["sign"] or found["more"]):
        return "", f"{body} has two signs"
    sign = "-" if "-" in (found["sign"], found["more"]) or apart else ""
    spelled = (
        found["power"].replace("E", "e") if found["power"] and scientific is None else f"e{power}" if power else ""
    )
    if math.isinf(float(f"{digits}{spelled}")):
        return "", f"{body[:40]} is too large"
    return f"{sign}{digits}{spelled}", ""


_VULGAR = tuple("¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞")


def _base(text: str, runs: list[re.Match[str]], at: int) -> int | None:
    """Where the number before this one is the mantissa of "6.02 × 10^23", whose exponent or ten this is: its place."""
    for back in (1, 2):
        if at >= back:
            power = _POWER.match(text, runs[at - back].end())
            if power is not None and power.end() >= runs[at].end():
                return at - back
    return None
