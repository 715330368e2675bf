"""Melodies as standard MIDI files (format 0: one track of events, each after so many ticks): what every player
opens."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from rung.core.errors import InputError

TICKS = 240
"""Ticks of a quarter note: 120 of an eighth."""


class Note(NamedTuple):
    """``pitch``: 60 is middle C, None a rest; ``length`` in eighths."""

    pitch: int | None
    length: int


def midi(notes: Sequence[Note], tempo: int = 120, program: int = 0) -> bytes:
    """A MIDI file of the notes, ``tempo`` quarters a minute, played by the instrument ``program`` (0 is a piano).

    Raises InputError for a pitch outside 0 to 127, a length under 1, or a tempo that no file can hold.
    """
    if not 4 <= tempo <= 1000 or not 0 <= program <= 127:
        raise InputError(
            f"got tempo {tempo} and program {program}", remedy="give a tempo of 4 to 1000, a program of 0 to 127"
        )
    microseconds = 60_000_000 // tempo
    events = [b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big"), bytes([0, 0xC0, program])]
    silent = 0
    for note in notes:
        if note.length < 1 or (note.pitch is not None and not 0 <= note.pitch <= 127):
            raise InputError(f"got {note}", remedy="give pitches of 0 to 127, or None, and lengths of 1 or more")
        ticks = note.length * TICKS // 2
        if note.pitch is None:
            silent += ticks
            continue
        events.append(_varying(silent) + bytes([0x90, note.pitch, 80]) + _varying(ticks) + bytes([0x80, note.pitch, 0]))
        silent = 0
    track = b"".join(events) + _varying(silent) + b"\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS) + b"MTrk" + struct.pack(">I", len(track)) + track


def _varying(number: int) -> bytes:
    """A number in groups of seven bits, all but the last with the top bit set."""
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(0x80 | (number & 0x7F))
    return bytes(reversed(out))
