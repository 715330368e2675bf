"""PNG and MIDI files are opened by other programs, and hold what was written."""

from __future__ import annotations

import io

import mido
import numpy as np
import pytest
from PIL import Image

from rung.core.errors import InputError
from rung.foundations.generative.midi import Note, midi
from rung.foundations.generative.png import curves, png, sheet

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (9, 5, 3)])
def test_a_png_holds_its_pixels(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape).astype(np.uint8)
    read = Image.open(io.BytesIO(png(pixels)))
    assert (np.asarray(read) == pixels).all()


def test_a_sheet_has_each_picture_in_its_place() -> None:
    pictures = RNG.uniform(size=(5, 4, 3, 1))
    made = sheet(pictures, columns=3, zoom=2)
    assert made.shape == (18, 22)
    assert made[10, 8] == np.rint(pictures[4, 0, 0, 0] * 255)
    assert png(curves(RNG.normal(size=(3, 20)), columns=2))[:4] == b"\x89PNG"


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8)])
def test_what_is_no_picture(pixels: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        png(pixels)
    assert caught.value.code == "shape"


def test_a_midi_file_holds_its_notes() -> None:
    notes = [Note(60, 2), Note(None, 3), Note(64, 1), Note(127, 200), Note(None, 1)]
    read = mido.MidiFile(file=io.BytesIO(midi(notes, tempo=90, program=40)))
    found, now, since = [], 0, 0
    for event in read.tracks[0]:
        now += event.time
        if event.type == "note_on":
            found.append((None, (now - since) // 120))
            since = now
        elif event.type == "note_off":
            found.append((event.note, (now - since) // 120))
            since = now
    found.append((None, (now - since) // 120))
    assert [pair for pair in found if pair[1]] == [tuple(note) for note in notes]
    assert read.ticks_per_beat == 240
    assert [round(mido.tempo2bpm(e.tempo)) for e in read.tracks[0] if e.type == "set_tempo"] == [90]
    assert read.length == pytest.approx(207 / 2 * 60 / 90, abs=0.01)


@pytest.mark.parametrize("note", [Note(128, 1), Note(-1, 1), Note(60, 0)])
def test_notes_that_no_file_holds(note: Note) -> None:
    with pytest.raises(InputError):
        midi([note])
    with pytest.raises(InputError):
        midi([], tempo=1)
