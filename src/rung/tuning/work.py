"""One tuning from rows to files: pre-flight, training, and what the user asked to have written, each kept as it is
done."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rung.core.codec import decode, encode
from rung.core.errors import FitError, InputError
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system import memory
from rung.core.system.files import FULL, write_file
from rung.core.system.lock import file_lock
from rung.core.types import Message, Progress
from rung.tuning.compute.precision import settle
from rung.tuning.trainer.loop import World, identity, train
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.trainer.state import UNWATCHED, Trained, Watch, short_of_memory
from rung.tuning.weights import Base, load_torch

if TYPE_CHECKING:
    from rung.tuning.batches import Chat, TokenRow
    from rung.tuning.checks.parity import ExportParity
    from rung.tuning.compute.session import Session

Export = Literal["adapter", "folder", "f16", "q8", "q4", "openvino"]
PLACES: Mapping[Export, str] = {
    "adapter": "adapter",
    "folder": "merged",
    "f16": "tuned-f16.gguf",
    "q8": "tuned-q8.gguf",
    "q4": "tuned-q4.gguf",
    "openvino": "openvino",
}
"""What can be written, and where in the tuning's folder it lies."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learnt: conversations whose assistant turns are trained, or texts of which every token is (continued
    pre-training). ``dev`` is held out for early stopping. Ids are unique. ``notes`` say what of the rows is not learnt,
    and why."""

    conversations: Sequence[tuple[str, Sequence[Message]]] = ()
    dev: Sequence[tuple[str, Sequence[Message]]] = ()
    texts: Sequence[tuple[str, str]] = ()
    dev_texts: Sequence[tuple[str, str]] = ()
    window: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written, and where: ``folder`` is the tuning's own, or with ``shared`` the one beside whose others
    it lies, named by content, so that equal base, rows and recipe are trained once. ``name`` goes into the files.
    Without ``preflight`` nothing is checked before training, without ``parity`` nothing that was written is."""

    folder: Path
    exports: Sequence[Export]
    name: str = ""
    shared: bool = False
    preflight: bool = True
    parity: bool = True


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished tuning: what it did, the files that were asked for by kind, and how each compares with what was
    trained (the ones of another process are told by the first). ``rest`` is how many seconds everything but the
    training took."""

    trained: Trained
    files: Mapping[Export, Path]
    folder: Path
    parity: Mapping[Export, ExportParity]
    rest: float = 0.0


@contextmanager
def bounded() -> Iterator[None]:
    """What asks for more memory or disk than there is, and what was stopped within a layer, as FitError."""
    load_torch()
    from rung.tuning.compute.kernels import Stopped

    try:
        yield
    except Stopped:
        raise _stopped() from None
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        raise FitError(
            "out of memory",
            remedy="close other programs, lower tokens, set checkpointing: true, take method: qlora, or take a smaller model; "
            "what is done is kept",
            code="out-of-memory",
        ) from None
    except OSError as error:
        if error.errno not in (*FULL, errno.EROFS, errno.EACCES):
            raise
        raise FitError(
            f"cannot write {error.filename or 'the tuning'}: {error.strerror}",
            remedy="free some disk space, or name another place with out:, and run the same again; what is done is kept",
        ) from None


def _stopped() -> FitError:
    return FitError("this was stopped", remedy="run the same command again to go on", code="stopped")


def tune(base: Base, lessons: Lessons, recipe: Recipe, order: Order, watch: Watch = UNWATCHED) -> Tuned:
    """Train unless it is done, then write what is not there yet, and compare each file with what was trained (see
    parity.py).

    Interrupted at any point, the same call goes on. The checkpoints go when all is written.

    Raises FitError for a failed pre-flight check and what ``train`` raises, InputError for an export that the method
    has not, ParityError when all is written and some of it, kept under another name, does not say what was trained.
    """
    with bounded():
        _demand_exports(recipe, order.exports)
        watch.progress(Progress("read the base", 0, None))
        return Tuning.of(base, lessons, settle(recipe), order, watch).run()


def encode_lessons(chat: Chat, lessons: Lessons) -> tuple[list[TokenRow], list[TokenRow], int]:
    """Rows to train on, rows of dev, and how many of the first were longer than the window and left out."""
    from rung.tuning.batches import encode as encode_rows
    from rung.tuning.batches import texts

    rows, dropped = encode_rows(chat, lessons.conversations, lessons.window)
    dev = encode_rows(chat, lessons.dev, lessons.window)[0] if lessons.dev else []
    rows += texts(chat, lessons.texts, lessons.window)
    dev += texts(chat, lessons.dev_texts, lessons.window)
    if not rows:
        raise FitError("there is no row to train on", remedy="give some data")
    return rows, dev, dropped


def place(folder: Path, recipe: Recipe, key: str) -> Path:
    """Where a shared tuning lies among others."""
    return folder / f"{recipe.method}-{key}"


def _demand_exports(recipe: Recipe, exports: Sequence[Export]) -> None:
    from rung.tuning.compute.export import MERGED

    for kind in exports:
        if kind == "adapter" and recipe.method == "full":
            raise InputError("a full fine-tuning has no adapter", remedy="export folder, f16 or q8")
        if kind != "adapter" and recipe.method not in MERGED:
            raise InputError(
                f"{recipe.method} tuning writes an adapter only, got {kind}",
                remedy=f"export adapter, or take method: {', '.join(MERGED)}",
            )


@dataclass
class Tuning:
    """One tuning in progress, in its ``folder``."""

    base: Base
    lessons: Lessons
    recipe: Recipe
    order: Order
    watch: Watch
    chat: Chat
    rows: list[TokenRow]
    dev: list[TokenRow]
    dropped: int
    key: str
    world: World = field(default_factory=World.here)
    training: float = 0.0
    """Seconds that training took, of this call."""

    @classmethod
    def of(cls, base: Base, lessons: Lessons, recipe: Recipe, order: Order, watch: Watch) -> Tuning:
        from rung.tuning.batches import Chat

        chat = Chat(base)
        rows, dev, dropped = encode_lessons(chat, lessons)
        key = identity(base, rows, dev, recipe)
        return cls(base, lessons, recipe, order, watch, chat, rows, dev, dropped, key)

    @property
    def folder(self) -> Path:
        return place(self.order.folder, self.recipe, self.key) if self.order.shared else self.order.folder

    @property
    def files(self) -> dict[Export, Path]:
        return {kind: self.folder / PLACES[kind] for kind in self.order.exports}

    def run(self) -> Tuned:
        """All of it: one training of a key at a time; of the processes that share one, the first holds the lock and
        writes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / ".lock", self._wait) if self.world.rank == 0 else nullcontext():
            self.world.wait()
            began = time.perf_counter()
            done = self._run()
            return replace(done, rest=time.perf_counter() - began - self.training)

    def _wait(self, _: float) -> None:
        if self.watch.stop is not None and self.watch.stop.wait(0.5):
            raise _stopped()

    def _run(self) -> Tuned:
        import torch

        from rung.tuning.checks import parity
        from rung.tuning.compute.session import open_session

        trained = _done(self.folder, self.key)
        missing = [kind for kind in self.order.exports if not _kept(self.files[kind])]
        checked = {kind: found for kind, found in parity.read(self.folder).items() if kind not in missing}
        unchecked = [kind for kind in self.order.exports if self.order.parity and not _settled(checked.get(kind))]
        if trained is None or missing or unchecked:
            session = open_session(self.base, self.recipe)
            session.stop = self.watch.stop
            try:
                trained = self._train(session) if trained is None else self._load(session, trained)
                if self.world.rank:
                    return Tuned(trained, self.files, self.folder, {})
                self._write(session, [kind for kind in missing if not _kept(self.files[kind])])
                for old in (*self.folder.glob("step-*.safetensors"), self.folder / "checkpoint.json"):
                    old.unlink(missing_ok=True)
                self._compare(session, missing, unchecked, checked)
            finally:
                del session
                memory.release()
                torch.cuda.empty_cache()
        mine: dict[Export, ExportParity] = {kind: checked[kind] for kind in self.order.exports if kind in checked}
        parity.demand({self.files[kind]: found for kind, found in mine.items()})
        return Tuned(trained, self.files, self.folder, mine)

    @property
    def _own(self) -> tuple[Export, Path]:
        """What is always written, as the training's result: the adapter, or the folder of a full fine-tuning."""
        kind: Export = "folder" if self.recipe.method == "full" else "adapter"
        return kind, self.folder / PLACES[kind]

    def _train(self, session: Session) -> Trained:
        from rung.tuning.checks.preflight import inspect
        from rung.tuning.compute import export

        watch, folder = self.watch, self.folder
        fresh = not watch.finish and not (folder / "checkpoint.json").exists()
        if self.order.preflight and self.world.size == 1 and fresh:
            watch.progress(Progress("pre-flight", 0, None, f"computed in {self.recipe.precision}"))
            checks = inspect(session, self.chat, (self.rows, self.dev), self.lessons.conversations, self.recipe)
            (folder / "preflight.txt").write_text(f"{checks}\n", encoding="utf-8")
            checks.demand()
            left_out = f"; {self.dropped} rows are too long and left out" if self.dropped else ""
            watch.progress(Progress("pre-flight", 1, 1, f"passed; about {checks.seconds:.0f} s to train{left_out}"))
        began = time.perf_counter()
        trained = train(session, self.rows, self.dev, self.recipe, folder, watch)
        self.training = time.perf_counter() - began
        memory.release()
        if self.world.rank == 0:
            kind, own = self._own
            if kind == "folder":
                export.save_folder(export.merge(session), self.base, own)
            else:
                export.save_adapter(session, self.recipe, own)
            _mark(own)
            document = {"key": self.key, "trained": encode(trained), "recipe": encode(self.recipe)}
            write_file(folder / "trained.json", json.dumps(document).encode())
        return trained

    def _load(self, session: Session, trained: Trained) -> Trained:
        """What was trained before into the session."""
        from rung.tuning.compute import export

        kind, own = self._own
        if not _kept(own):
            raise FitError(
                f"{own} is damaged or gone, though the training is done",
                remedy=f"delete {self.folder} and tune again",
            )
        (export.load_folder if kind == "folder" else export.load_adapter)(session, own)
        return trained

    def _write(self, session: Session, kinds: Sequence[Export]) -> None:
        from rung.tuning.compute import export

        if not kinds:
            return
        merged = export.merge(session)
        for count, kind in enumerate(kinds):
            if self.watch.stopped:
                raise _stopped()
            self.watch.progress(Progress("write the exports", count, len(kinds), kind))
            target = self.files[kind]
            if kind != "adapter":
                export.save_merged(kind, merged, session, target, name=self.order.name, rows=self.rows)
            _mark(target)
        del merged
        memory.release()

    def _compare(
        self, session: Session, missing: Sequence[Export], unchecked: Sequence[Export], checked: dict[str, ExportParity]
    ) -> None:
        """Compare what is unchecked with what was trained; what was found goes into ``checked`` and is kept."""
        from rung.tuning.checks import parity

        if not self.order.parity and missing:
            checked |= {kind: parity.ExportParity("not checked", why="it was not asked for") for kind in missing}
            parity.save(self.folder, checked)
        if not unchecked:
            return
        self.watch.progress(Progress("parity", 0, len(unchecked), "computing what was trained says"))
        reference = parity.Reference(session, self.chat, self.recipe.method, self.lessons)
        for count, kind in enumerate(unchecked, 1):
            checked[kind] = reference.check(kind, self.files[kind], Settings())
            parity.save(self.folder, checked)
            self.watch.progress(Progress("parity", count, len(unchecked), f"{kind}: {checked[kind].verdict}"))


def _settled(found: ExportParity | None) -> bool:
    return found is not None and found.verdict != "not checked"


def _done(folder: Path, key: str) -> Trained | None:
    try:
        document = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
        found = decode(Trained, document["trained"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if document.get("key") != key:
        raise FitError(
            f"{folder} holds another training (other rows, recipe, precision or base)",
            remedy=f"name a new folder, or delete {folder}",
            code="other-training",
        )
    return found


def _hashes(target: Path) -> dict[str, str]:
    files = sorted(item for item in target.rglob("*") if item.is_file()) if target.is_dir() else [target]
    return {str(item.relative_to(target.parent)): file_hash(item) for item in files}


def _mark(target: Path) -> None:
    write_file(target.with_name(f"{target.name}.sha256"), json.dumps(_hashes(target)).encode())


def _kept(target: Path) -> bool:
    """Whether a file or folder is there as it was written."""
    try:
        said = json.loads(target.with_name(f"{target.name}.sha256").read_text(encoding="ascii"))
        return target.exists() and bool(said == _hashes(target))
    except (OSError, ValueError):
        return False
