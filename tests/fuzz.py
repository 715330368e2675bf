"""Seeded mutations of good inputs: whatever they become, it ends in a result or a clear error.

``bench/fuzz.py`` runs thousands of each kind, tests a few. A kind is a function from a seeded generator and a folder to an outcome in a
word or two; it raises what is a fault. RungError is an outcome (its class and code), any other exception a fault.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rung.core.errors import RungError

Kind = Callable[[random.Random, Path], str]

WORDS: tuple[bytes, ...] = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b'"', b"'", b"`", b"{", b"}", b"[", b"]", b"<", b">", b"</", b"&#0;",
    b"&lt", b"<!--", b"]]>", b"#", b"---", b"null", b"NaN", b"Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"\xed\xa0\x80", b"\xf0\x9f",
    "\u202e\u200b\u00ad".encode(), b"${", b"!!python/object:os.system", b"&a [*a]", b"*a", b"<<", b": ", b"- ", b"../", b"%s", b"\\ud800",
)  # fmt: skip
"""What breaks readers: marks of every format, numbers out of range, halves of characters."""


def mutate(rng: random.Random, data: bytes, words: Sequence[bytes] = WORDS, most: int = 6) -> bytes:
    """``data`` with one to ``most`` changes: bytes flipped, pieces removed, doubled, moved, nested or replaced by a word."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(out) + 1)
        stop = min(len(out), at + int(rng.expovariate(1 / 12)) + 1)
        match rng.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:stop]
            case 2:
                out[at:at] = out[at:stop] * rng.choice((1, 2, 50))
            case 3:
                piece = out[at:stop]
                del out[at:stop]
                to = rng.randrange(len(out) + 1)
                out[to:to] = piece
            case 4:
                out[at:stop] = rng.choice(words)
            case 5:
                out[at:at] = rng.choice(words) * rng.choice((1, 1, 1, 3000))
            case _:
                del out[at:]
        if len(out) > 1 << 20:
            del out[1 << 20 :]
    return bytes(out)


def mutate_zip(rng: random.Random, data: bytes, words: Sequence[bytes] = WORDS) -> bytes:
    """A zip archive with a member mutated, removed or doubled, or its bytes mutated as they are."""
    if rng.random() < 0.2:
        return mutate(rng, data, words)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    chosen = rng.randrange(len(members))
    name, content = members[chosen]
    members[chosen] = (name, mutate(rng, content, words))
    if rng.random() < 0.05:
        del members[rng.randrange(len(members))]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


@dataclass
class Outcome:
    """How many inputs ended how, and those that ended in a fault: the number that makes the input again, and what was raised."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)


def run(kind: Kind, count: int, folder: Path, seed: int = 0) -> Outcome:
    """``count`` inputs of a kind, each made from ``seed`` and its number alone."""
    outcome = Outcome()
    for number in range(count):
        try:
            end = kind(random.Random(f"{seed}:{number}"), folder)
        except RungError as error:
            end = f"{type(error).__name__} {error.code}"
        except Exception as error:  # what the fuzz is for
            outcome.faults.append((number, f"{type(error).__name__}: {error}"[:200]))
            end = "fault"
        outcome.ends[end] += 1
    return outcome
