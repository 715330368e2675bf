"""Tunes are read and written, foreseen and made."""

from __future__ import annotations

import pytest

from rung.core.errors import InputError
from rung.foundations.generative.melody import Melody, MelodyModel, copied, parse, tunes, written
from rung.foundations.generative.midi import Note
from rung.foundations.network.training import FitPlan


def test_notes_are_read() -> None:
    (tune,) = parse("# a comment\n\nA: tune: C2^F,c'3 z|B")
    assert tune == Melody("A: tune", (Note(60, 2), Note(54, 1), Note(84, 3), Note(None, 1), Note(71, 1)))


@pytest.mark.parametrize("line", ["no notes", "x: ", "x: C2 H4", ": C2", "x: C2x"])
def test_lines_that_are_no_tune(line: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(f"# one\n{line}")
    assert caught.value.line == 2


def test_the_tunes_that_come_along() -> None:
    known = tunes()
    assert len({tune.name for tune in known}) == len(known) == 37
    for tune in known:
        assert parse(f"x: {written(tune.notes)}")[0].notes == tune.notes
        assert all(note.pitch is None or 52 <= note.pitch <= 80 for note in tune.notes)


def test_the_longest_run_that_was_copied() -> None:
    a, b = Melody("a", tuple(Note(60 + at, 1) for at in range(9))), Melody("b", tuple(Note(60, 2) for _ in range(4)))
    assert copied([Note(50, 1), *a.notes[2:7], Note(50, 1)], [b, a]) == (5, "a")
    assert copied([Note(50, 1)], [a, b]) == (0, "")


def test_a_model_foresees_what_it_heard() -> None:
    up, down = tuple(Note(60 + at, 1) for at in range(12)), tuple(Note(71 - at, 1) for at in range(12))
    known = [Melody(str(at), (up, down)[at % 2]) for at in range(12)]
    model = MelodyModel.fit(known, 16, FitPlan(60, batch=6, rate=2e-2))
    assert model.bits(known[0]) < 0.3
    assert model.bits(Melody("x", up[:6] + down[:6])) > 1
    made = model.sample(1)
    assert made == model.sample(1)
    assert copied(made, known)[0] >= 8
    with pytest.raises(InputError):
        model.bits(Melody("unknown", (Note(1, 1),)))
    with pytest.raises(InputError):
        MelodyModel.fit(known[:1])
