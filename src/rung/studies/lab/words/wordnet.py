"""How near two nouns stand in WordNet: its files of the database's own form (``data.noun``, ``index.noun``), read
plainly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError


@dataclass(frozen=True)
class NounPaths:
    """``senses`` of a lemma in the order of their frequency; ``above``: the direct hypernyms of a sense."""

    senses: Mapping[str, tuple[int, ...]]
    above: Mapping[int, tuple[int, ...]]

    @classmethod
    def read(cls, folder: Path) -> NounPaths:
        """Raises InputError for a folder without the files, or with files of another form."""
        try:
            senses = {}
            for line in (folder / "index.noun").read_text(encoding="latin-1").splitlines():
                if not line.startswith(" "):
                    parts = line.split()
                    senses[parts[0]] = tuple(int(part) for part in parts[-int(parts[2]) :])
            above = {}
            for line in (folder / "data.noun").read_text(encoding="latin-1").splitlines():
                if not line.startswith(" "):
                    parts = line.split(" | ")[0].split()
                    first = 4 + 2 * int(parts[3], 16)
                    marks = [parts[at : at + 2] for at in range(first + 1, first + 1 + 4 * int(parts[first]), 4)]
                    above[int(parts[0])] = tuple(int(place) for mark, place in marks if mark in ("@", "@i"))
        except (OSError, ValueError, IndexError) as error:
            raise InputError(
                f"no WordNet is here: {error}", file=folder, remedy="name its folder with index.noun and data.noun"
            ) from None
        return cls(senses, above)

    def similarity(self, one: str, two: str) -> float:
        """1 / (1 + the fewest steps up and down between two senses); 0 where there is no way."""
        ways = [self._heights(sense) for sense in self.senses[one]]
        others = [self._heights(sense) for sense in self.senses[two]]
        steps = [a[top] + b[top] for a in ways for b in others for top in a.keys() & b.keys()]
        return 1 / (1 + min(steps)) if steps else 0.0

    def _heights(self, sense: int) -> dict[int, int]:
        """Everything above a sense, itself included, with the fewest steps up to it."""
        found, edge, height = {sense: 0}, [sense], 0
        while edge:
            height += 1
            edge = [top for low in edge for top in self.above.get(low, ()) if top not in found]
            found.update(dict.fromkeys(edge, height))
        return found

    def pairs(self, words: Sequence[str], count: int, seed: int) -> list[tuple[str, str, float]]:
        """Pairs of nouns of ``words``, half of them drawn freely, half among those a step or two away, each with its
        similarity: most free pairs are far apart, and say little."""
        import numpy as np

        rng = np.random.default_rng(seed)
        nouns = [word for word in words if word in self.senses]
        below: dict[int, list[str]] = {}
        for word in nouns:
            for top in self.above.get(self.senses[word][0], ()):
                below.setdefault(top, []).append(word)
        close = [family for family in below.values() if len(family) > 1]
        found: dict[tuple[str, str], float] = {}
        for at in range(count):
            pool = close[int(rng.integers(len(close)))] if at % 2 and close else nouns
            if len(pool) > 1:
                one, two = sorted(pool[int(place)] for place in rng.choice(len(pool), 2, replace=False))
                found[one, two] = self.similarity(one, two)
        return [(one, two, value) for (one, two), value in found.items()]
