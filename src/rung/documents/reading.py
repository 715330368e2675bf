"""Reading within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rung.core.errors import InputError
from rung.core.problem import Problem, Problems
from rung.core.types import Document
from rung.documents.source import Source, parse


def read(source: Source, troubles: list[Problem] | None = None) -> Iterator[Document]:
    """The documents of a source, in the file's order; ids begin with the source's id and are unique within it.

    What cannot be read is added to ``troubles`` and the rest goes on: an error where something is lost, a warning where it was
    read in a way that somebody should know about. Without that list the first error is raised as InputError. A missing optional
    package is always raised (MissingExtra): it is not the file's fault.
    """
    problems = Problems()
    for document in parse(source, problems):
        if troubles is None:
            _raise_first(problems.found, source)
        yield document
    found = problems.close()
    if troubles is None:
        _raise_first(found, source)
    else:
        troubles.extend(found)


def _raise_first(problems: Iterable[Problem], source: Source) -> None:
    for problem in problems:
        if problem.level == "error":
            remedy = problem.remedy or "mend the file, or leave it out"
            raise InputError(problem.message, remedy=remedy, file=source.path, line=problem.line, code=problem.code)
