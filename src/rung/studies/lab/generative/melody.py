"""Does a network that has heard thirty tunes know what comes next in another, and make one that is new?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.foundations.generative.melody import Melody, MelodyModel, copied, forgetful, parse, tunes, written
from rung.foundations.generative.midi import midi
from rung.foundations.language.markov import MarkovModel
from rung.foundations.network.training import FitPlan
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.outcome import gain, mean, saved
from rung.studies.study import Lab

BUILT = "tunes"


@dataclass(frozen=True, slots=True)
class Composed:
    """A melody that was made: its ``notes`` in ABC's letters, its longest run of notes that also stands in ``tune``."""

    notes: str
    count: int
    run: int
    tune: str


@dataclass(frozen=True, slots=True)
class Melodies:
    """Bits a note of tunes that were held out, of the LSTM, of a Markov model of order 1 and of single notes'
    frequencies, with the paired differences of the LSTM from both; ``heldrun``: the mean longest run that a held-out
    tune shares with a training tune."""

    tunes: int
    held: int
    symbols: int
    lstm: Interval
    markov: Interval
    frequency: Interval
    to_markov: Difference
    to_frequency: Difference
    heldrun: float
    parameters: int
    cpu: float
    made: tuple[Composed, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class MakeMelodies(Experiment[Melodies]):
    """Train an LSTM on traditional tunes, measure how well it and a Markov model foresee the notes of others, and write
    new melodies as MIDI files, with the longest run of notes that each shares with a tune that was learnt."""

    name = "melody"
    records = Melodies
    title = "Melodies from a recurrent network"
    ideas = ("generative.melody", "generative.midi")

    source: str = argument("A file of tunes, a line NAME: NOTES each, or `tunes`: 37 traditional ones.", "TUNES", BUILT)
    make: int = option(5, "Melodies to make.", low=1, high=1000)
    notes: int = option(48, "Notes of a melody at most.", low=8, high=1000)
    temperature: float = option(0.9, "How daring its choices are.", low=0.05, high=5.0)
    folds: int = option(4, "Each part of the tunes is held out once.", low=2)
    units: int = option(64, "Cells of the LSTM.", low=1)
    epochs: int = option(60, "Passes over the tunes.", low=1)
    out: str = option("", "Folder for a MIDI file of each melody.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> Melodies:
        """Raises InputError for a file that holds no tunes, or too few."""
        known = load_tunes(self.source)
        if len(known) < 2 * self.folds:
            raise InputError(
                f"got {len(known)} tunes, expected at least {2 * self.folds} for {self.folds} folds",
                remedy="give more tunes, or lower --folds",
                code="few-tunes",
            )
        order = np.random.default_rng(self.seed).permutation(len(known))
        bits: dict[str, list[float]] = {"lstm": [], "markov": [], "frequency": []}
        runs = []
        with timed() as clock:
            for fold in range(self.folds):
                lab.progress(Progress(self.name, fold, self.folds + 1, "folds"))
                held = [known[at] for at in order[fold :: self.folds]]
                rest = [tune for tune in known if tune not in held]
                model = self._fit(rest)
                for tune in held:
                    heard = Melody(tune.name, tuple(n for n in tune.notes if n in set(model.symbols)))
                    if not 0 < len(heard.notes) < model.network.shape[0]:
                        continue
                    bits["lstm"].append(model.bits(heard))
                    bits["markov"].append(_markov(model, rest, heard, 1))
                    bits["frequency"].append(_markov(model, rest, heard, 0))
                    runs.append(copied(tune.notes, rest)[0])
        model = self._fit(known)
        made: list[Composed] = []
        files: tuple[str, ...] = ()
        for at in range(self.make):
            notes = model.sample(self.seed * 1000 + at, self.temperature, self.notes)
            made.append(Composed(written(notes), len(notes), *copied(notes, known)))
            files += saved(self.out, f"melody-{at + 1}.mid", midi(notes))
        values = {name: np.array(rows) for name, rows in bits.items()}
        return Melodies(
            len(known),
            len(runs),
            len(model.symbols),
            mean(values["lstm"]),
            mean(values["markov"]),
            mean(values["frequency"]),
            gain(values["lstm"], values["markov"]),
            gain(values["lstm"], values["frequency"]),
            float(np.mean(runs)),
            model.network.parameters,
            clock.cpu,
            tuple(made),
            files,
        )

    def _fit(self, known: list[Melody]) -> MelodyModel:
        plan = FitPlan(self.epochs, batch=8, rate=6e-3, decay=1.0, seed=self.seed, change=forgetful)
        return MelodyModel.fit(known, self.units, plan)

    def about(self, subject: None) -> str:
        return Path(self.source).name

    def table(self, found: Melodies) -> str:
        lines = [
            ["", "bits a note", "the LSTM's difference"],
            [f"LSTM, {found.parameters:,} weights", exact(found.lstm), ""],
            ["Markov model of order 1", exact(found.markov), change(found.to_markov)],
            ["frequency of each note", exact(found.frequency), change(found.to_frequency)],
        ]
        head = f"{found.tunes} tunes of {found.symbols} different notes; {found.held} foreseen, each by a model that had not heard it"
        made = [["melody", "notes", "longest run that was learnt", "begins"]]
        for at, row in enumerate(found.made, 1):
            made.append([str(at), str(row.count), f"{row.run}, {row.tune}", " ".join(row.notes.split()[:12])])
        foot = f"Held-out tunes share runs of {found.heldrun:.1f} notes with a tune that was learnt. {found.cpu:.1f} CPU s."
        return "\n\n".join([head, align(lines), align(made), foot, *found.files])


def load_tunes(source: str) -> list[Melody]:
    """The tunes of a file, or those that come along. Raises InputError for a file that cannot be read or holds none."""
    if source == BUILT:
        return list(tunes())
    try:
        return list(parse(Path(source).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {source}: {getattr(error, 'strerror', '') or 'it is no text'}",
            remedy=f"name a file of lines NAME: NOTES, or {BUILT}",
        ) from None


def _markov(model: MelodyModel, training: list[Melody], tune: Melody, order: int) -> float:
    """Mean bits a note of a Markov model over the same symbols, which stand as bytes."""
    known = {note: at for at, note in enumerate(model.symbols, 1)}

    def ids(one: Melody) -> list[int]:
        return [*[0] * order, *(known.get(note, 0) for note in one.notes), 0]

    counted = MarkovModel.fit(np.array([at for one in training for at in ids(one)], np.uint8), order)
    return float(counted.bits(np.array(ids(tune), np.uint8)).mean())
