"""Regular expressions that somebody else wrote: of a program folder, a task file, a schema, a filter.

Python's ``re`` cannot be stopped, and a dozen characters are enough to make it search for ever. These run in the
``regex`` package under a deadline, and what would expand to a huge machine is refused before it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from rung.core.errors import InputError

SECONDS = 0.5
"""Wall time that one search may take."""
LARGEST = 20_000
"""Elements of a pattern with its repetitions written out: ``(ab{100}){50}`` is about 5,100. Compiling takes some 15 µs
each."""
LONGEST = 20_000
"""Characters of a pattern."""


class Pattern:
    """A compiled pattern. Every search raises InputError (code ``slow-pattern``) when it takes longer than
    ``SECONDS``."""

    def __init__(self, source: str, flags: int = 0) -> None:
        self.source = source
        self._compiled, bounded = _compile(source, flags)
        self._limit: dict[str, float] = {"timeout": SECONDS} if bounded else {}

    @property
    def groups(self) -> int:
        """How many groups it has."""
        return int(self._compiled.groups)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        return self._run("fullmatch", text)  # type: ignore[no-any-return]

    def search(self, text: str) -> re.Match[str] | None:
        return self._run("search", text)  # type: ignore[no-any-return]

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Every match, from left to right. The deadline is that of the whole search."""
        try:
            yield from self._compiled.finditer(text, **self._limit)
        except TimeoutError:
            raise self._slow(text) from None

    def _run(self, method: str, text: str, **options: Any) -> Any:
        try:
            return getattr(self._compiled, method)(text, **self._limit, **options)
        except TimeoutError:
            raise self._slow(text) from None

    def _slow(self, text: str) -> InputError:
        return InputError(
            f"the regular expression {shown(self.source)} took longer than {SECONDS:g} s on a text of {len(text):,} characters",
            remedy="write it without a repetition inside a repetition, such as (a+)+",
            code="slow-pattern",
        )


@lru_cache(maxsize=512)
def compile_pattern(source: str, flags: int = 0) -> Pattern:
    """The pattern, compiled once; ``flags`` are those of ``re``.

    Raises InputError (code ``pattern``) when it is no regular expression or too large.
    """
    return Pattern(source, flags)


def slashed(text: str) -> str:
    """What stands between the slashes of ``/expression/``; empty for a text that is written otherwise."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == "/" else ""


def shown(source: str) -> str:
    """A pattern as it stands in an error."""
    return repr(source) if len(source) <= 60 else repr(source[:57] + "...")


def _compile(source: str, flags: int) -> tuple[Any, bool]:
    """The compiled pattern, and whether its searches need a deadline: without a repetition they take a step a
    character."""
    import warnings

    import regex

    if len(source) > LONGEST:
        raise _wrong(source, f"it has {len(source):,} characters, at most {LONGEST:,} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _parse(source, flags)
            size = _size(tree)
            if size > LARGEST:
                raise _wrong(
                    source, f"its repetitions written out are {size:,} elements, at most {LARGEST:,} are allowed"
                )
            if "REPEAT" not in repr(tree):
                return re.compile(source, flags), False
            # In regex, {e<=1} after an element allows errors; in re it is text.
            literal = re.sub(r"((?:^|[^\\])(?:\\\\)*)\{(?=[ides\d]*[ides<])", r"\1\\{", source)
            return regex.compile(literal, int(flags) & _FLAGS), True
    except (re.error, regex.error, OverflowError, ValueError) as error:
        raise _wrong(source, str(error)) from None
    except (RecursionError, MemoryError):
        raise _wrong(source, "it is nested too deeply") from None


_FLAGS = int(re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE | re.ASCII)


def _wrong(source: str, why: str) -> InputError:
    return InputError(
        f"{shown(source)} cannot be used as a regular expression: {why}", remedy="correct the pattern", code="pattern"
    )


def _parse(source: str, flags: int) -> Any:
    """The syntax tree that ``re`` makes: what it refuses is refused, and sizes are known before anything is
    compiled."""
    from re import _parser  # type: ignore[attr-defined]

    return _parser.parse(source, flags)


def _size(tree: Any) -> int:
    """Elements of the tree, those in a repetition as often as it must come, capped a little above LARGEST."""
    total = 0
    for operator, value in tree:
        name = str(operator)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            fewest, most, inner = value
            times = int(fewest) if str(most) == "MAXREPEAT" else int(most)
            total += max(1, times) * _size(inner)
        elif name == "BRANCH":
            total += sum(_size(branch) for branch in value[1])
        elif name == "SUBPATTERN":
            total += _size(value[3])
        elif name in ("ASSERT", "ASSERT_NOT"):
            total += _size(value[1])
        elif name == "ATOMIC_GROUP":
            total += _size(value)
        elif name == "GROUPREF_EXISTS":
            total += sum(_size(branch) for branch in value[1:] if branch is not None)
        total += 1
    return total
