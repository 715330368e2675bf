"""Melodies from a network that predicts the next note: the notes are its words, a tune is its sentence.

A symbol is a pitch (or a rest) with its length; an LSTM reads a tune symbol by symbol and says how likely each is next,
and what it makes is drawn from that, one after another (Eck and Schmidhuber 2002). The 37 tunes that come along are
simplified and in one key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.foundations.generative.midi import Note
from rung.foundations.network.layers import Array, Dense, Embedding
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.recurrent import Lstm
from rung.foundations.network.training import FitPlan, cross_entropy, fit

_SYMBOL = re.compile(r"(\^?)([A-Ga-gz])([,']*)(\d*)")
_SCALE = {"C": 60, "D": 62, "E": 64, "F": 65, "G": 67, "A": 69, "B": 71}
_LETTERS = {pitch % 12: letter for letter, pitch in _SCALE.items()}


@dataclass(frozen=True, slots=True)
class Melody:
    """A named melody."""

    name: str
    notes: tuple[Note, ...]


@cache
def tunes() -> tuple[Melody, ...]:
    """The traditional tunes that come along (public domain)."""
    return parse((files("rung.foundations.generative") / "tunes.txt").read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Melody, ...]:
    """Tunes from lines ``NAME: NOTES``, notes in the part of ABC notation that tunes.txt explains; lines with # are
    left out.

    Raises InputError naming the line where it is something else.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, said = line.rpartition(": ")
        said = re.sub(r"[\s|]", "", said)
        if not name or not said or re.sub(_SYMBOL, "", said):
            left = re.sub(_SYMBOL, "", said)[:20] if name else line[:20]
            raise InputError(f"line {number} has {left!r}", remedy="write NAME: C2C2G2G2 A2A2G4", line=number)
        found.append(Melody(name, tuple(_note(*match) for match in _SYMBOL.findall(said))))
    return tuple(found)


def _note(sharp: str, letter: str, octave: str, length: str) -> Note:
    if letter == "z":
        return Note(None, int(length or 1))
    high = 12 * (letter.islower() + octave.count("'") - octave.count(","))
    return Note(_SCALE[letter.upper()] + high + len(sharp), int(length or 1))


def written(notes: Sequence[Note]) -> str:
    """The notes as ``parse`` reads them."""
    out = []
    for note in notes:
        if note.pitch is None:
            name = "z"
        else:
            sharp = "" if note.pitch % 12 in _LETTERS else "^"
            letter = _LETTERS[(note.pitch - len(sharp)) % 12]
            octave = (note.pitch - 60) // 12
            name = sharp + (letter.lower() + "'" * (octave - 1) if octave > 0 else letter + "," * -octave)
        out.append(name + (str(note.length) if note.length > 1 else ""))
    return " ".join(out)


@dataclass
class MelodyModel:
    """Predicts notes of ``symbols``; symbol 0 is the end of a tune and what stands before its beginning."""

    symbols: list[Note]
    network: NeuralNetwork

    @classmethod
    def fit(cls, training: Sequence[Melody], units: int = 64, plan: FitPlan | None = None) -> MelodyModel:
        """Learn from tunes. Raises InputError for fewer than two, or for fewer than two symbols in all."""
        symbols = sorted({note for tune in training for note in tune.notes}, key=lambda n: (n.pitch or 0, n.length))
        if len(training) < 2 or len(symbols) < 2:
            raise InputError(
                f"got {len(training)} tunes of {len(symbols)} different notes",
                remedy="give at least two tunes, not of one note",
            )
        longest = max(len(tune.notes) for tune in training) + 1
        layers = [Embedding(len(symbols) + 1, 32), Lstm(units), Dense(len(symbols) + 1)]
        model = cls(symbols, NeuralNetwork(layers, (longest,), plan.seed if plan else 0))
        rows = [model._row(tune, longest) for tune in training]
        data = np.array([said for said, _ in rows]), np.array([wanted for _, wanted in rows])
        fit(
            model.network,
            data,
            cross_entropy,
            plan or FitPlan(epochs=60, batch=8, rate=6e-3, decay=1.0, change=forgetful),
        )
        return model

    def _row(self, tune: Melody, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is seen and what is next, of shape (length,); -1 is behind the end."""
        known = {note: at for at, note in enumerate(self.symbols, 1)}
        ids = [known.get(note, 0) for note in tune.notes]
        seen, wanted = np.zeros(length, np.int64), np.full(length, -1)
        seen[1 : len(ids) + 1], wanted[: len(ids) + 1] = ids, [*ids, 0]
        return seen, wanted

    def bits(self, tune: Melody) -> float:
        """Mean bits a symbol, the end included, of a tune; notes that it does not know are left out. Raises InputError
        for a tune longer than the longest that it learnt, or of unknown notes only."""
        known = Melody(tune.name, tuple(note for note in tune.notes if note in set(self.symbols)))
        if not known.notes or len(known.notes) >= self.network.shape[0]:
            raise InputError(
                f"{tune.name} has {len(known.notes)} known notes, expected 1 to {self.network.shape[0] - 1}",
                remedy="cut the tune, or learn from others",
            )
        seen, wanted = self._row(known, self.network.shape[0])
        return cross_entropy(self.network.forward(seen[None]), wanted[None])[0] / float(np.log(2))

    def sample(self, seed: int = 0, temperature: float = 0.8, most: int = 48) -> tuple[Note, ...]:
        """A new tune of at most ``most`` notes; a low ``temperature`` keeps to what is likely. It does not end within 8
        notes."""
        rng, out = np.random.default_rng(seed), [0]
        seen = np.zeros((1, self.network.shape[0]), np.int64)
        for at in range(min(most, self.network.shape[0] - 1)):
            seen[0, at] = out[-1]
            logits = self.network.forward(seen)[0, at].astype(np.float64) / temperature
            if at < 8:
                logits[0] = -np.inf
            odds = np.exp(logits - logits.max())
            out.append(int(rng.choice(len(odds), p=odds / odds.sum())))
            if not out[-1]:
                break
        return tuple(self.symbols[at - 1] for at in out[1:] if at)


def forgetful(ids: Array, rng: np.random.Generator) -> Array:
    """Three of ten symbols are not shown: with few tunes each would be learnt by heart."""
    return np.where(rng.random(ids.shape) < 0.3, 0, ids)


def copied(notes: Sequence[Note], training: Sequence[Melody]) -> tuple[int, str]:
    """The longest run of notes that also stands in a tune, and in which."""
    best = 0, ""
    for tune in training:
        row = [0] * (len(tune.notes) + 1)
        for note in notes:
            row = [0, *(row[at] + 1 if note == other else 0 for at, other in enumerate(tune.notes))]
            best = max(best, (max(row), tune.name), key=lambda found: found[0])
    return best
