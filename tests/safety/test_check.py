"""Measuring what is found of what is private, and the rules for records about people."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rung import tasks
from rung.core.errors import InputError
from rung.safety.check import measure, read_check, unmark
from rung.safety.private import KINDS, RECORDS, Found, find, mask

ALL = frozenset(RECORDS)


def test_marks_come_off_and_places_are_right() -> None:
    text, found = unmark("Dr [[NAME|Ann Lee]] on [[DATE|3 May]].")
    assert text == "Dr Ann Lee on 3 May."
    assert [(item.kind, text[item.start : item.end]) for item in found] == [("NAME", "Ann Lee"), ("DATE", "3 May")]


def test_a_piece_counts_only_when_it_is_covered_whole() -> None:
    done = measure([("ann Holm came", [Found("NAME", 0, 8)])])  # the first name is not seen, so the piece is not hidden
    assert (done.whole.wanted, done.whole.found, done.whole.told, done.whole.right) == (1, 0, 1, 1)
    assert done.missed == [(1, "NAME", "ann Holm")]
    clean = measure([unmark("a cough for two weeks, aspirin 75 mg, pressure 120/80")])
    assert clean.whole.told == 0
    assert clean.whole.recall == clean.whole.precision == 1.0


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Seen by Dr Okafor on 3 May 2021", "Seen by Dr [NAME] on [DATE]"),
        ("MRN 4471902, DOB 14/02/1951", "[ID], DOB [DATE]"),
        ("lives at 12 Mill Lane in Thornbury", "lives at [PLACE] in [NAME]"),
        ("his daughter Fiona Marsh rang; Fiona is worried", "his daughter [NAME] rang; [NAME] is worried"),
        ("called on 07700 900123", "called on [PHONE]"),
        ("a 93-year-old man", "a [AGE]-year-old man"),
        ("Rosalind Pike, 45, has gout", "[NAME], 45, has gout"),
        ("referred to St Bartholomew's Hospital", "referred to [PLACE]"),
    ],
)
def test_what_records_hold_is_masked(text: str, masked: str) -> None:
    assert mask(text, find(text, ALL)) == masked
    assert find(masked, ALL) == []


@pytest.mark.parametrize(
    "text",
    [
        "blood pressure 120/80, pulse 72, temperature 37.8",
        "Parkinson's disease and Crohn's disease; Glasgow coma scale 15",
        "metformin 500 mg twice daily for 3 months, HbA1c 58, vitamin B12 normal, ICD J45.909",
        "Calcium and vitamin D started. X-ray: displaced fracture. Plan: review in 6 weeks.",
        "a 45-year-old man, 12 of 20 beds, INR 2.4, platelets 142",
    ],
)
def test_medicine_is_left_alone(text: str) -> None:
    assert find(text, ALL) == []


def test_common_cleaning_does_not_mask_dates_and_names() -> None:
    text = "Fiona Marsh came on 3 May 2021 to 12 Mill Lane"
    assert find(text) == find(text, frozenset(KINDS)) == []


def test_the_shipped_notes_are_found_as_the_card_says() -> None:
    folder = tasks.locate("clinic-qa").parent
    done = measure(read_check(folder / "check.jsonl"))
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert f"recall {done.whole.recall:.2f}" in card
    assert f"precision {done.whole.precision:.2f}" in card
    assert done.whole.recall >= 0.9
    common = measure(read_check(folder / "check.jsonl"), frozenset(KINDS))
    assert common.whole.recall < 0.2  # what the rules for records are for


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "expected"),
        ("no", "expected"),
        ('{"marked": "[[NAMES|x]]"}', "unknown kind NAMES"),
        ('{"marked": "[[NAME|x]"}', "a mark that is not"),
        ('{"marked": "nothing"}', "nothing is marked"),
    ],
)
def test_wrong_check_files(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "check.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_check(tmp_path / "check.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_check(tmp_path / "none.jsonl")


def test_long_texts_take_no_longer_than_their_length() -> None:

    text = "Aaaa Bbbb " * 2000 + "1234 " * 2000 + "A" * 5000 + " St " * 500
    began = time.process_time()
    find(text, ALL)
    assert time.process_time() - began < 5
