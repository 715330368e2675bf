"""An open store: one attribute a table, over SQLite or Postgres."""

from __future__ import annotations

from types import TracebackType

from rung.store.engine.address import parse, shown
from rung.store.engine.database import StoreDatabase
from rung.store.gateway.batches import BatchTable, FileTable
from rung.store.gateway.keys import KeyTable
from rung.store.gateway.results import ResultTable
from rung.store.gateway.spending import SpendingTable
from rung.store.gateway.subjects import SubjectTable
from rung.store.gc import Removed, sweep
from rung.store.people.abtests import ABTestTable
from rung.store.people.approvals import ApprovalTable
from rung.store.people.decisions import DecisionTable
from rung.store.people.ratings import RatingTable
from rung.store.people.served import ServedTable
from rung.store.people.signals import SignalTable
from rung.store.tables.answers import AnswerTable
from rung.store.tables.caches import FitTable, ResponseTable
from rung.store.tables.looks import LookTable
from rung.store.tables.prompts import PromptTable
from rung.store.tables.runs import RunTable
from rung.store.tables.studies import StudyTable
from rung.store.trail.trail import EpisodeTable


def open_store(url: str, *, patience: float = 30.0) -> Store:
    """Open the store at ``url`` and bring its schema up to date.

    ``sqlite:///FILE`` (parent folders are made) or ``postgresql://...``. ``patience``: seconds to wait for another
    process's lock. Raises InputError for a URL of no known kind, MissingExtra without the Postgres driver, and
    StoreError when the store cannot be opened: damaged, read-only, full, locked, or written by a newer rung.
    """
    store = Store(StoreDatabase(parse(url), patience))
    try:
        store.database.migrate()
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """An open store; a context manager. Methods of its tables may be called from any thread.

    ``answers.record`` and ``responses.put`` are awaited and share group commits; the others are short and synchronous.
    """

    def __init__(self, database: StoreDatabase) -> None:
        self.database = database
        # One transaction of the journal writes its channels in the order in which they were opened here.
        self.answers = AnswerTable(database)
        self.responses = ResponseTable(database)
        self.served = ServedTable(database)
        self.results = ResultTable(database)
        self.fits = FitTable(database)
        self.runs = RunTable(database)
        self.prompts = PromptTable(database)
        self.ratings = RatingTable(database)
        self.ab_tests = ABTestTable(database)
        self.looks = LookTable(database)
        self.studies = StudyTable(database)
        self.episodes = EpisodeTable(database)
        self.signals = SignalTable(database)
        self.approvals = ApprovalTable(database)
        self.decisions = DecisionTable(database)
        self.keys = KeyTable(database)
        self.spending = SpendingTable(database)
        self.subjects = SubjectTable(database)
        self.files = FileTable(database)
        self.batches = BatchTable(database)

    @property
    def url(self) -> str:
        """Where it is; a password is hidden."""
        return shown(self.database.url)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued and let go of the database. Harmless when repeated."""
        self.episodes.close()
        self.database.close()

    async def settle(self) -> None:
        """Return when all that was noted before is on disk. Raises StoreError when it could not be written."""
        await self.database.journal.settle()

    def gc(self, *, before: float, dry: bool = False) -> Removed:
        """Forget what was last used before the time ``before`` (Unix seconds); with ``dry`` only count it.

        Runs (and what people said of them) and studies go by their start, answers by when their program was last
        climbed, fits and responses by their last use. So all answers of a run that stays do stay; a run that is being
        driven now stays with everything it has used.
        """
        return sweep(self.database, before, dry)
