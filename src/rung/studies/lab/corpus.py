"""The text that an experiment reads: files and folders of any kind that is read here, or what every Python brings
along."""

from __future__ import annotations

import re
import sysconfig
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.documents import read as read_document
from rung.documents import scan
from rung.foundations.text.words import spaced, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES, LIBRARY = "python-packages", "python"
"""Names of texts that are on every machine: docstrings of the standard library and the installed
packages, and of the library alone."""


@dataclass(frozen=True)
class LabText:
    """A text's bytes (UTF-8), its end held out: ``train`` of shape (n,), ``held`` of shape (pieces, context + piece),
    where the first ``context`` bytes of a piece are read and not counted."""

    name: str
    train: NDArray[np.uint8]
    held: NDArray[np.uint8]
    context: int

    @property
    def scored(self) -> int:
        """Bytes of the held-out pieces that are counted."""
        return int(self.held.size - len(self.held) * self.context)


def text(places: Sequence[str]) -> tuple[str, str]:
    """The text of files and folders (or of ``python``, ``python-packages``) joined, and its name. Raises InputError for
    places that are not there, and for a text without a letter or digit."""
    parts: list[str] = []
    for place in places or (LIBRARY,):
        if place in (LIBRARY, PACKAGES):
            parts.append(docstrings(place))
        else:
            parts += [document.text for source in scan([place]) for document in read_document(source)]
    joined = "\n".join(parts)
    name = ", ".join(Path(place).name or place for place in places or (LIBRARY,))
    if not any(letter.isalnum() for letter in joined):
        raise InputError(f"{name} holds no letter", remedy="name a text: --text FILE", code="no-letters")
    return joined, name


def corpus(places: Sequence[str], *, most: int, pieces: int, piece: int = 64, context: int = 64) -> LabText:
    """The first ``most`` bytes of a text: its last tenth, but at most ``pieces``, is held out. Raises InputError for a
    text that is too short for two pieces, or that says one thing only."""
    joined, name = text(places)
    data = np.frombuffer(joined.encode("utf-8", "replace")[:most], np.uint8)
    width = context + piece
    count = min(pieces, len(data) // 10 // width)
    if count < 2:
        raise InputError(
            f"{name} has {len(data):,} bytes, expected at least {20 * width:,}: a tenth is held out",
            remedy="name a longer text: --text FILE",
            code="short-text",
        )
    # A script without spaces is one piece for split: there the words are its letters.
    alike = len(set(joined.split())) < 2 and len(set(words(spaced(joined)))) < 2
    if alike or len(np.unique(data)) < 3:
        raise InputError(
            f"{name} has one word only: there is nothing to learn", remedy="name another text", code="one-word"
        )
    held = data[len(data) - count * width :].reshape(count, width)
    return LabText(name, data[: len(data) - count * width], held, context)


@cache
def docstrings(place: str) -> str:
    """What stands between triple quotes at the beginning of a line in the standard library's modules, or those of all
    installed packages, by path, each text once."""
    paths = sysconfig.get_paths()
    roots = [Path(paths["stdlib"])]
    if place == PACKAGES:
        roots += list({Path(np.__file__).parents[1], Path(paths["purelib"])})
    found: dict[str, None] = {}
    for root in roots:
        for file in sorted(root.rglob("*.py")):
            inner = file.relative_to(root).parts
            if not {"site-packages", "test", "tests"}.isdisjoint(inner):
                continue
            try:
                found.update(dict.fromkeys(_QUOTED.findall(file.read_text(encoding="utf-8"))))
            except (UnicodeDecodeError, OSError):
                continue
    return "\n\n".join(textwrap.dedent(f"    {said}").strip() for said in found)


_QUOTED = re.compile(r'^[ \t]*[rRuU]?"""(?=\S)((?:(?!""").){40,20000}?)"""', re.MULTILINE | re.DOTALL)
