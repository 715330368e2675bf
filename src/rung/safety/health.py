"""What tells who a person in a record is: names, dates, places, numbers of records and cases, ages of 90 and more.

The kinds follow the identifiers of the HIPAA safe harbour rule (45 CFR 164.514(b)(2)), as far as they stand in plain
text. Rules, lists of names and places, and their context, all ours; made for English notes with English, Nordic and
common foreign names. Once a name was found in a text, its parts are found wherever else they stand in it. How much is
found is for each user to measure on texts of their own: ``rung data private CHECK.jsonl``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from rung.safety.private import Found

KINDS = ("NAME", "DATE", "PLACE", "ID", "PHONE", "AGE")

_LISTS = yaml.safe_load(Path(__file__).with_name("health.yaml").read_text(encoding="utf-8"))
_FIRST = frozenset(_LISTS["first"].split())
_DOUBTFUL = frozenset(_LISTS["doubtful"].split())
_NOT_NAMES = frozenset(_LISTS["not names"].split())
_PLACES = frozenset(_LISTS["places"].split())
_MONTH = r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
_CAP = r"(?:(?:O'|Mc|Mac|Al-|El-|De|Di|Van der |van der |van |von |de |St\.? )?[A-ZÆØÅÄÖÉ][a-zæøåäöüéèçñíóá]+(?:[-'’][A-ZÆØÅÄÖ][a-zæøåäöé]+)?)"
_STREET = r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Close|Way|Court|Crescent|Terrace|Place|Square|Gardens|Grove|Hill|Row|Park|Green|Mews|Boulevard|Blvd|Walk)"
_HOUSE = r"(?:Hospital|Infirmary|Clinic|Surgery|Medical Cent(?:re|er)|Health Cent(?:re|er)|Hospice|Nursing Home|Care Home|House|Lodge|Pharmacy|School|Academy|College|University|Practice|Nursery|Brewery|Factory|Library|Church|Prison|sykehus|sykehjem|legesenter)"
_THINGS = r"(?:diseases?|syndrome|sign|tests?|scores?|scale|criteria|virus|lymphoma|fracture|contracture|palsy|bodies|clinic\b|scan|tube|catheter)"
_KIN = (
    r"(?:patient|pt|wife|husband|son|daughter|mother|father|mum|dad|brother|sister|aunt|uncle|niece|nephew|grandson|granddaughter|grandmother|grandfather|partner|carer|caregiver|neighbour|neighbor|friend|fianc[eé]e?"
    r"|colleague|employer|landlord|GP|surgeon|consultant|nurse|midwife|physio|physiotherapist|pharmacist|dentist|cardiologist|neurologist|oncologist|dietitian|psychologist|psychiatrist|registrar|key ?worker|social worker|interpreter|therapist|paramedic|next of kin|NOK|contact)"
)


def find(text: str) -> Iterator[Found]:
    """Everything of KINDS that the rules find; the pieces may overlap."""
    names: list[Found] = []
    for kind, pattern in _RULES:
        for match in pattern.finditer(text):
            start, end = match.span("value") if "value" in pattern.groupindex else match.span()
            if kind == "NAME":
                trimmed = _trim(text, start, end)
                if trimmed is None:
                    continue
                start, end = trimmed
                names.append(Found(kind, start, end))
            yield Found(kind, start, end)
    names += _listed(text)
    yield from names
    yield from _again(text, names)
    for match in _TOWN.finditer(text):
        yield Found("PLACE", *match.span())


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The name without words at either end that are none; None when nothing is left."""
    words = list(re.finditer(r"\S+", text[start:end]))
    while words and re.sub(r"\W|'s$", "", words[-1][0]) in _NOT_NAMES:
        words.pop()
    while words and re.sub(r"\W|'s$", "", words[0][0]) in _NOT_NAMES:
        words.pop(0)
    if not words:
        return None
    first, last = start + words[0].start(), start + words[-1].end()
    return first, last - (2 if re.search(r"['’]s$", text[first:last]) else 0)


def _listed(text: str) -> Iterator[Found]:
    """First names of the lists, with the capital words behind them."""
    for match in re.finditer(rf"\b([A-ZÆØÅ][a-zæøåéü]+)(-[A-Z][a-z]+)?((?: [A-Z]\.?)?(?: {_CAP}){{1,2}})?", text):
        first = match[1]
        surname = (match[3] or "").split()
        while surname and surname[-1] in _NOT_NAMES:
            surname.pop()
        if first in _FIRST or (first in _DOUBTFUL and surname):
            rest = text[match.start() :]
            length = len(match[1]) + len(match[2] or "")
            for word in surname:
                length = rest.index(word, length) + len(word)
            yield Found("NAME", match.start(), match.start() + length)


def _again(text: str, names: list[Found]) -> Iterator[Found]:
    """Every further place of a part of a name that was found."""
    parts = {
        part
        for name in names
        for part in re.findall(r"[^\W\d_]+(?:[-'’][^\W\d_]+)?", text[name.start : name.end])
        if len(part) > 2 and part[0].isupper() and part not in _NOT_NAMES
    }
    if parts:
        for match in re.finditer(rf"\b(?:{'|'.join(map(re.escape, sorted(parts)))})\b", text):
            yield Found("NAME", *match.span())


_TOWN = re.compile(rf"\b(?:{'|'.join(sorted(_PLACES))})\b(?! (?:coma|score|criteria|scale|staging))")
_WRITTEN: tuple[tuple[str, str, int], ...] = (
    ("DATE", r"\b\d{4}-\d{2}-\d{2}\b|(?<![\d/.])\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})(?![\d/])", 0),
    ("DATE", rf"\b(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day,? (?:the )?)?\d{{1,2}}(?:st|nd|rd|th)?(?: of)?[ -]{_MONTH}(?:,?[ -]?(?:19|20)\d{{2}}\b)?", re.IGNORECASE),
    ("DATE", rf"\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?!\s*(?:mg|ml|kg|%))(?:,? (?:19|20)\d{{2}}\b)?", 0),
    ("DATE", r"\b(?:(?:early|late|mid)[ -])?(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?,? (?:of )?(?:19|20)\d{2}\b", 0),
    ("DATE", r"(?i:\b(?:on|dated|since|until|from|before|after|by|seen|due|d\.?o\.?b\.?:?|born)) (?:the )?(?P<value>\d{1,2}[/.]\d{1,2})(?!\d|[/.]\d|\s*(?:mm|kPa|mg|ml|units))", 0),
    ("DATE", r"(?i:\b(?:since|in|from|until|of)) (?:early |late |mid-?)?(?P<value>(?:January|February|March|April|June|July|August|September|October|November|December))\b", 0),
    ("DATE", rf"(?i)\b(?:early|mid|late)[ -]{_MONTH}|\b(?:Christmas|Boxing|New Year['’]s) (?:Day|Eve)\b|\b(?:Christmas|Easter)\b(?: (?:19|20)\d\d)?", 0),
    ("DATE", r"(?i:\b(?:on|by|until|of)) the (?P<value>\d{1,2}(?:st|nd|rd|th))\b", 0),
    ("ID", r"(?i:\b(?:MRN|NHS|CHI|hospital|patient|record|case|chart|ref(?:erence)?|account|policy|insurance|passport|member(?:ship)?|specimen|sample|lab|accession|file|claim|licen[cs]e|plate|reg(?:istration)?|serial|device|implant|study|barcode|personal|identity|national|ward|prescription|ticket|badge|employee|staff|ID|UR|ssn|voucher)"
     r"(?:[ -](?:card|record|plate|health|security|insurance|tag))?\s*(?:(?:no|nr|number|num|id|code)\b\.?)?\s*[:#]?\s*(?:is |was |reads )?)(?P<value>(?=[A-Z0-9/ -]{0,6}\d)[A-Z0-9]{1,4}(?:[ /-]?[A-Z0-9]*\d[A-Z0-9]*){1,4}(?<=[A-Z0-9]))(?![\w%])(?!\s*(?:mg|ml|mmol|cm|mm|kg|days?|weeks?|beds?|years?))", 0),
    ("ID", r"\b[A-Z]{2,5}[-/ ]?\d{4,10}\b|\b[A-Z]{1,3}[-/]\d{2,4}[-/]\d{3,8}\b|\b\d{2,4}[/-][A-Z]{1,3}[/-]?\d{3,8}\b", 0),
    ("ID", r"\b\d{6}[ -]?\d{5}\b|\b\d{3} \d{3} \d{4}\b|(?<=#)\d{4,12}\b|(?<![\d.,+(/-])\b\d{7,12}\b(?![.,]?\d|\s*(?:units|cells|copies|mg|ml|IU))", 0),
    ("ID", r"\b[A-Z]{2}\d{2} ?[A-Z]{3}\b|\b[A-Z]{2} \d{5}\b", 0),
    ("PHONE", r"(?i:\b(?:phone|tel(?:ephone)?|mobile|mob|cell|call(?:ed)?|ring|rang|fax(?:ed)?|pager|paged?|bleep(?:ed)?|ext(?:ension)?|contact(?: number)?|reached on|text|switchboard)\b\.?(?: (?:no|number|him|her|them|us|back|is|on|at))*\s*[:.]?\s*)(?P<value>\+?\(?\d[\d ()/-]{2,16}\d)(?!\d)", 0),
    ("PHONE", r"\(?\+\d{1,3}\)?[ -]?\(?\d{1,4}\)?(?:[ -]?\d{2,4}){2,4}\b|\b0\d{3,4}[ -]\d{3}[ -]?\d{3,4}\b|\b\d{3}[ -]\d{4}\b|\b[2-9]\d(?: \d\d){3}\b|\b[4-9]\d\d \d\d \d{3}\b", 0),
    ("PLACE", rf"\b(?:Flat|Apt|Apartment|Room|Unit) \w{{1,4}},? (?=\d)|\b\d{{1,4}}[A-Za-z]? (?:{_CAP} ){{1,3}}{_STREET}\b", 0),
    ("PLACE", rf"\b(?:{_CAP} ){{1,3}}(?:Street|Road|Avenue|Lane|Drive|Crescent|Terrace|Gardens|Square|Estate)\b", 0),
    ("PLACE", r"\b[A-ZÆØÅ][a-zæøå]+(?: ?(?:gata|gaten|gate|vei|veien|vegen|gatan|vägen|straße|strasse|plass|allé))(?: \d{1,4}[A-Za-z]?)?\b", 0),
    ("PLACE", r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b|\b(?:AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|IA|ID|IL|IN|KS|KY|LA|MA|MD|ME|MI|MN|MO|MS|MT|NC|ND|NE|NH|NJ|NM|NV|NY|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VA|VT|WA|WI|WV|WY),? \d{5}\b|\b\d{4} (?=[A-ZÆØÅ][a-zæøå]+\b)(?!\d{4} (?:The|She|He|No|On|In|At|For|And))[A-ZÆØÅ][a-zæøå]+", 0),
    ("PLACE", rf"\b(?:(?:St\.? |Royal |Queen |King |Princess |Great |North |South |East |West |New |Upper |Lower )*(?:{_CAP}(?:'s|’s)? (?:of |and |& )?){{1,3}}){_HOUSE}\b", 0),
    ("PLACE", rf"(?i:\b(?:lives|living|resides|moved|born|resident|based|works|working|stays|staying|alone|travelled|traveled|returned|flew|holiday(?:s|ed)?|trip|transferred|referred|cottage|farm|flat|house|home|village|town|island|city|port|valley) (?:back )?(?:in|from|to|near|at|of|outside|on) )(?P<value>{_CAP}(?: {_CAP})?)", 0),
    ("NAME", rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Nurse|Sister|Matron|Sir|Lady|Rev|Father|Fr|Doctor)\.? (?P<value>(?:[A-Z]\.? )?{_CAP}(?:[ -]{_CAP}){{0,2}})", 0),
    ("NAME", rf"(?i:\b{_KIN}(?:'s name)?(?: is| was| called| named)?[,:]? (?:\()?)(?P<value>{_CAP}(?: (?:[A-Z]\.? )?{_CAP}){{0,2}})", 0),
    ("NAME", rf"(?i:\b(?:name|signed|dictated by|typed by|seen by|reviewed by|reported by|assessed by|discussed with|spoke to|spoke with|written by|authorised by|prepared by|accompanied by|known as|called|named|attn|cc|re|from)[:,]? (?:with |to )?)(?P<value>{_CAP}(?: (?:[A-Z]\.? )?{_CAP}){{1,2}})", 0),
    ("NAME", rf"\b(?P<value>{_CAP} (?:[A-Z]\.? )?{_CAP}),? (?:\(|aged? |is an? \d|a \d\d|\d\d(?:,|[ -]?(?:y|M\b|F\b))|MD\b|RN\b|MRCP|FRCS|consultant\b|registrar\b|d\.?o\.?b)", 0),
    ("NAME", rf"\b(?P<value>[A-Z]\. ?{_CAP})\b", 0),
    # A capital word within a sentence, or several at its beginning, are somebody's or something's own name more often
    # than not; a mask too many costs less than one too few.
    ("NAME", rf"(?<=[a-z0-9,;)] )(?P<value>{_CAP}(?: (?:[A-Z]\.? )?{_CAP})*)\b(?! ?{_THINGS})", 0),
    ("NAME", rf"(?:^|(?<=[.!?:] ))(?P<value>{_CAP}(?: (?:[A-Z]\.? )?{_CAP})+)\b(?! ?{_THINGS})", re.MULTILINE),
    ("NAME", rf"\b(?P<value>{_CAP}, {_CAP})(?= ?(?:\(|,? (?:MRN|DOB|NHS|aged|\d\d)))", 0),
    ("AGE", r"\b(?:9\d|1[01]\d)(?=[ -](?:year|yr|y\.?o)|y\b)|(?<=aged )(?:9\d|1[01]\d)\b", 0),
)  # fmt: skip
_RULES = tuple((kind, re.compile(pattern, flags)) for kind, pattern, flags in _WRITTEN)
