"""Files and folders of any kind as rows: tables, documents, mails, chats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.parts.problem import Problems
from rung.data.read import read
from rung.data.rows import shapes
from rung.data.rows.forms import Columns, Shape
from rung.data.rows.records import Record
from rung.data.sources import chat, mail, papers
from rung.data.sources.kind import kind_of_source

Kind = Literal["", "table", "text", "faq", "sections", "mail", "chat"]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How sources are read. Raises InputError for half a pair of columns."""

    kind: Kind = option("", "What the sources are; without it, the files tell.", flags=("--as",))
    me: tuple[str, ...] = option(
        (), "Who you are in mails and chats: your turns are learnt. May be repeated.", metavar="NAME"
    )
    gap: float = option(chat.GAP, "Hours of silence after which a chat is another conversation.")
    shape: str = option("", "The shape of a table's rows; without it, the columns tell.")
    question: str = option("", "A table's column that is asked.", metavar="COLUMN")
    answer: str = option("", "A table's column that is learnt.", metavar="COLUMN")
    header: bool = option(
        True,
        "Whether a table's first row names its columns; else they are 1, 2 and so on.",
        flags=("--header/--no-header",),
    )
    quotes: bool = option(
        True, "Whether quotation marks in CSV and TSV enclose cells; else they are like any sign.",
        flags=("--quotes/--no-quotes",),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if bool(self.question) != bool(self.answer):
            raise InputError(
                "one of --question and --answer is missing", remedy="name both columns", code="half-a-pair"
            )

    @property
    def form(self) -> Shape | None:
        """The form of a table's rows that the options name."""
        if self.question:
            return Columns(self.question, self.answer)
        return shapes.shape(self.shape) if self.shape else None


def gather(sources: Sequence[Path], options: ImportOptions, problems: Problems) -> Iterator[Record]:
    """Rows of all sources, in their order. What cannot be read goes to ``problems``; raises InputError for a source
    that is not there and for one that nothing can be read of."""
    for path in sources:
        if not path.exists():
            raise InputError(f"there is no {path}", remedy="correct the path", code="not-found")
        form = options.form
        match options.kind or ("table" if form else kind_of_source(path)):
            case "mail":
                yield from mail.read(path, options.me, problems)
            case "chat":
                yield from chat.read(path, options.me, problems, gap=options.gap)
            case "table":
                header = None if options.header else False
                yield from read([path], shape=form or "", header=header, quotes=options.quotes, problems=problems)
            case content:
                yield from papers.gather([path], cast(papers.Content, content), problems)
