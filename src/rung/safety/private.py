"""Personal data and secrets in text: found by pattern, checked by checksum or entropy where there is one, masked.

Found: e-mail addresses, telephone numbers, IBAN (ISO 13616, mod 97), payment cards (ISO/IEC 7812, Luhn), US social
security numbers, IPv4 and IPv6 addresses, private keys, access tokens of well-known services, passwords and keys by
their label, long random strings. Names only where the text says that one follows ("my name is", "Dear", a title, a
signature). Not covered: other names, postal addresses, dates of birth, national identity numbers of other countries,
account numbers without a checksum, pictures."""

from __future__ import annotations

import ipaddress
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from rung.foundations.text.words import origins

Check = Callable[[re.Match[str]], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """Something private: ``text[start:end]`` of the kind ``kind``."""

    kind: str
    start: int
    end: int


_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18,
    "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "TR": 26,
}  # fmt: skip

_IBANS = "|".join(rf"{country}\d\d(?: ?[A-Z0-9]){{{length - 4}}}" for country, length in _LENGTHS.items())


def _iban(found: re.Match[str]) -> bool:
    code = re.sub(r"\s", "", found[0]).upper()
    return int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1


def luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(found: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", found[0])
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(digits)


def _phone(found: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", found[0])
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2


def _v6(found: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv6Address(found[0])
    except ValueError:
        return False
    return found[0].count(":") >= 3 or not address.is_loopback


def _v4(found: re.Match[str]) -> bool:
    before = found.string[max(0, found.start() - 12) : found.start()].lower()
    return not re.search(r"(?:\bv|version|release|chapter|section|§|build)\W*$", before)


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _assigned(found: re.Match[str]) -> bool:
    value = found["value"]
    if re.fullmatch(r"[<\[{$%].*|.*\(.*|(?:your|my|some|the|null|none|true|false|string|example)\b.*|[xX*.•]+", value):
        return False  # a placeholder, a variable, a call
    classes = sum(bool(re.search(kind, value)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[^\w]"))
    return (classes >= 2 and entropy(value) >= 2.5) or entropy(value) >= 3.5


def _random(found: re.Match[str]) -> bool:
    value = found[0]
    kinds = (r"[a-z]", r"[A-Z]", r"\d")
    if not all(re.search(kind, value) for kind in kinds) or "/" in value[:1]:
        return False
    # Words put together change case seldom; random text changes kind at about two of three places.
    turns = sum(_kind(a) != _kind(b) for a, b in pairwise(value))
    return entropy(value) >= 4.2 and turns >= 0.35 * len(value)


def _kind(sign: str) -> int:
    return 0 if sign.islower() else 1 if sign.isupper() else 2 if sign.isdigit() else 3


_NOBODY = frozenset(
    re.findall(
        r"\w+",
        "Sir Madam All Team Customer Customers Friend Friends Colleague Colleagues Everyone Everybody Editor Reader Readers Hiring Manager Mr Mrs Ms Dr Prof "
        "God Lord Santa Diary Parents Students User Users Valued Member Members Support Sales Committee Ladies Gentlemen The This That We Our You Your It If For And But Please Thank Thanks Not Just",
    )
)


def _name(found: re.Match[str]) -> bool:
    return not set(re.findall(r"\w+", found["value"])) & _NOBODY


_WORD = r"[A-Z][a-z]+(?:[-'][A-Z][a-z]+)?"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

PATTERNS: tuple[tuple[str, re.Pattern[str], Check | None], ...] = tuple(
    (kind, re.compile(pattern, flags), check)
    for kind, pattern, flags, check in (
        ("PRIVATE-KEY", r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL, None),
        ("SECRET", r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_\w{22,255}|glpat-[\w-]{20,64}"
         r"|sk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,200}|xox[abeprs]-[A-Za-z0-9-]{10,250}|AIza[0-9A-Za-z_-]{35}"
         r"|[sr]k_(?:live|test)_[0-9A-Za-z]{16,120}|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,250}"
         r"|SG\.[\w-]{16,64}\.[\w-]{16,64})(?![A-Za-z0-9_])", 0, None),
        ("SECRET", r"\beyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}\.[\w-]{8,2000}", 0, None),
        ("SECRET", r"(?<=://)[^\s:/@]{1,64}:(?P<value>[^\s:/@]{3,128})(?=@)", 0, None),
        ("SECRET", r"""(?i)(?<![a-z])(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|client[_-]?secret|auth[_-]?token|access[_-]?token|token|passw(?:or)?d|passphrase|pwd)["']?(?:\s*[:=]\s*|\s+is\s+)["']?(?P<value>[^\s"',;]{6,200})""", 0, _assigned),
        ("SECRET", r"(?i)\bbearer\s+(?P<value>[\w.~+/-]{16,2000}=*)", 0, _assigned),
        ("EMAIL", r"(?<![\w.+%-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b", 0, None),
        ("IBAN", rf"\b(?:{_IBANS})\b", 0, _iban),
        ("CARD", r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d]|[.,]\d)", 0, _card),
        ("SSN", r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", 0, None),
        ("IP", rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?![\w]|\.\d)", 0, _v4),
        ("IP", r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?<=::))(?![\w:]|\.\d)", 0, _v6),
        ("PHONE", r"(?<![\w+.,/=-])(?:\+|00)[1-9]\d{0,2}(?:[ .\-/]?\(\d{1,5}\))?(?:[ .\-/]?\d{2,5}){2,5}(?![\w]|[.,]\d)", 0, _phone),
        ("PHONE", r"(?<![\w+.,/=$€£-])(?:\(\d{3}\) ?|(?:1[-. ])?\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-]|[.,]\d)", 0, _phone),
        ("PHONE", r"(?<![\w+.,/=$€£-])\(?0[1-9]\d{1,4}\)?[ \-/]?\d{3,4}[ \-]?\d{3,5}(?![\w-]|[.,]\d)", 0, _phone),
        ("SECRET", r"(?<![\w/.+=-])[A-Za-z0-9+/_-]{32,512}={0,2}(?![\w/+=-])", 0, _random),
        ("NAME", rf"(?:(?i:\bmy (?:full )?name is|\bmy name's|\bI am called)\s+)(?P<value>{_WORD}(?: {_WORD}){{0,2}})", 0, _name),
        ("NAME", rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme)\.? (?P<value>{_WORD}(?: {_WORD})?)", 0, _name),
        ("NAME", rf"(?m)^\W{{0,4}}(?:Dear|Hi|Hello|Hey) (?P<value>{_WORD}(?: {_WORD})?)(?=[,!:]|\s*$)", 0, _name),
        ("NAME", rf"(?m)^(?:(?i:(?:best|kind|warm)? ?regards|sincerely|yours(?: \w+)?|cheers|many thanks|best wishes)),? *\n\s*(?P<value>{_WORD}(?: {_WORD}){{0,2}})\s*$", 0, _name),
    )
)  # fmt: skip
"""In order of precedence: what one has found is not looked at by a later one."""

KINDS = tuple(dict.fromkeys(kind for kind, _, _ in PATTERNS))
RECORDS = (*KINDS, "DATE", "PLACE", "ID", "AGE")
"""The kinds to ask for in records about people (rung.safety.health): names are then looked for by lists and context
too."""


_COMMON = frozenset(KINDS)


def find(text: str, kinds: frozenset[str] = frozenset(KINDS)) -> list[Found]:
    """Everything of these kinds, in the text's order, never one inside another.

    With DATE, PLACE, ID or AGE among the kinds, the rules for records are used as well; pieces that overlap become one.
    """
    if (seen := origins(text)) is not None:  # a sign that is not seen does not hide what stands around it
        plain, places = seen
        return [Found(item.kind, places[item.start], places[item.end - 1] + 1) for item in find(plain, kinds)]
    found = list(_find(text, kinds))
    if not kinds <= _COMMON:
        from rung.safety import health

        found += [item for item in health.find(text) if item.kind in kinds]
    out: list[Found] = []
    for item in sorted(found, key=lambda found: (found.start, -found.end)):
        if out and item.start < out[-1].end:
            out[-1] = Found(out[-1].kind, out[-1].start, max(out[-1].end, item.end))
        else:
            out.append(item)
    return out


def _find(text: str, kinds: frozenset[str]) -> Iterator[Found]:
    starts: list[int] = []  # of what was found, sorted, and where each ends
    ends: list[int] = []
    # Most rules need a sign that most texts lack.
    digits = any(map(text.__contains__, "0123456789"))
    for kind, pattern, check in PATTERNS:
        if (
            kind not in kinds
            or (not digits and kind in ("IBAN", "CARD", "SSN", "PHONE"))
            or (kind == "EMAIL" and "@" not in text)
        ):
            continue
        for match in pattern.finditer(text):
            start, end = match.span("value") if "value" in pattern.groupindex else match.span()
            place = bisect_right(starts, start)
            if (place and ends[place - 1] > start) or (place < len(starts) and starts[place] < end):
                continue
            if check is not None and not check(match):
                continue
            starts.insert(place, start)
            ends.insert(place, end)
            yield Found(kind, start, end)


def mask(text: str, found: list[Found]) -> str:
    """The text with ``[EMAIL]`` in place of an e-mail address, and so on."""
    pieces, at = [], 0
    for item in found:
        pieces += [text[at : item.start], f"[{item.kind}]"]
        at = item.end
    return "".join([*pieces, text[at:]])
