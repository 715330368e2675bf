"""Rows that do not agree with the others, once all rows are there: contradictions, doubtful labels, answers in
another style."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rung.data.clean.filters import noise
from rung.data.clean.options import CleanOptions
from rung.data.clean.report import Drop, Report
from rung.data.rows.records import Record

WHOLE = 200_000
"""Rows that are compared with one another at most."""


def compare(rows: Callable[[], Iterable[Record]], options: CleanOptions, report: Report) -> dict[int, Drop]:
    """The rows to drop, by place; those that are only listed go into the report. ``rows`` gives them anew at each
    call."""
    drops: dict[int, Drop] = {}
    for reason, mode, flags in _flags(rows, options, report):
        if mode == "drop":
            for flag in flags:
                drops.setdefault(flag.place, Drop(reason, flag.why))
            continue
        wanted = {flag.place: flag.why for flag in flags}
        for place, record in enumerate(rows()) if wanted else ():
            if place in wanted:
                report.mention(record, reason, wanted[place])
    return drops


def _flags(
    rows: Callable[[], Iterable[Record]], options: CleanOptions, report: Report
) -> Iterator[tuple[str, str, list[noise.Flag]]]:
    if options.labels == options.style == "off":
        return
    if report.kept > WHOLE:
        report.notes.append(
            f"Answers were not compared with one another: that is done up to {WHOLE:,} rows, and there are {report.kept:,}."
        )
        return
    places, questions, answers = list[int](), list[str](), list[str]()
    for place, record in enumerate(rows()):
        if record.messages:
            places.append(place)
            questions.append(record.question)
            answers.append(record.answer)

    def placed(flags: list[noise.Flag]) -> list[noise.Flag]:
        return [noise.Flag(places[flag.place], flag.why) for flag in flags]

    if options.labels != "off":
        yield "contradiction", options.labels, placed(noise.contradictions(questions, answers))
        if noise.labels(answers):
            if len(questions) > noise.ROWS:
                report.notes.append(f"Labels of a sample of {noise.ROWS:,} rows were compared with their neighbours'.")
            if len(set(answers)) < 2:
                report.notes.append(f"There is one label, {answers[0][:40]!r}: nothing to tell apart.")
            yield "label", options.labels, placed(noise.suspects(questions, answers))
    if options.style != "off":
        if 0 < len(answers) < noise.FEW:
            report.notes.append(
                f"{len(answers)} rows with answers are too few to tell what is unusual ({noise.FEW} are needed)."
            )
        yield "style", options.style, placed(noise.outliers(answers))
