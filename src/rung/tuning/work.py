"""One tuning from rows to files: pre-flight, training, and what the user asked to have written, each kept as it is done."""

from __future__ import annotations

import errno
import gc
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rung.core.codec import decode, encode
from rung.core.errors import FitError, InputError
from rung.core.files import write_file
from rung.core.lock import file_lock
from rung.core.program import file_hash
from rung.core.settings import Settings
from rung.core.types import Message, Progress
from rung.tuning.loop import SHORT_OF_MEMORY, Trained, World, identity, train
from rung.tuning.recipe import Recipe
from rung.tuning.weights import Base, load_torch

if TYPE_CHECKING:
    from rung.tuning.parity import Parity

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
class Material:
    """What is learnt: conversations whose assistant turns are trained, or texts of which every token is (continued
    pre-training). ``dev`` is held out for early stopping. Ids are unique."""

    conversations: Sequence[tuple[str, Sequence[Message]]] = ()
    dev: Sequence[tuple[str, Sequence[Message]]] = ()
    texts: Sequence[tuple[str, str]] = ()
    dev_texts: Sequence[tuple[str, str]] = ()
    window: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished tuning: what it did, the files that were asked for by kind, and how each compares with what was trained (the
    ones of another process are told by the first)."""

    trained: Trained
    files: Mapping[Export, Path]
    folder: Path
    parity: Mapping[Export, Parity]


@contextmanager
def bounded() -> Iterator[None]:
    """What asks for more memory or disk than there is, as FitError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in SHORT_OF_MEMORY):
            raise
        raise FitError(
            "out of memory",
            remedy="close other programs, lower tokens, set checkpointing: true, take method: qlora, or take a smaller model; "
            "what is done is kept",
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise FitError(
            f"cannot write {error.filename or 'the tuning'}: {error.strerror}",
            remedy="free some disk space, or name another place with out:, and run the same again; what is done is kept",
        ) from None


@bounded()
def tune(
    base: Base,
    material: Material,
    recipe: Recipe,
    place: Path,
    exports: Sequence[Export],
    *,
    name: str = "",
    shared: bool = False,
    preflight: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
    record: Callable[[Trained, float], None] = lambda _state, _rate: None,
    stop: threading.Event | None = None,
    saves: int = 0,
    gate: bool = True,
) -> Tuned:
    """Train unless it is done, then write what is not there yet, and compare each file with what was trained (see parity.py);
    without ``gate`` files are written unchecked.

    ``place`` is the tuning's folder, or with ``shared`` the folder beside whose others it lies, named by content: equal base,
    rows and recipe are trained once. Interrupted at any point, the same call goes on. The checkpoints go when all is written.

    Raises FitError for a failed pre-flight check and what ``train`` raises, InputError for an export that the method has not,
    ParityError when all is written and some of it, kept under another name, does not say what was trained.
    """
    torch = load_torch()
    from rung.tuning import export, parity
    from rung.tuning.batches import Chat, texts
    from rung.tuning.batches import encode as encode_rows
    from rung.tuning.preflight import inspect
    from rung.tuning.session import open_session

    for kind in exports:
        if kind == "adapter" and recipe.method == "full":
            raise InputError("a full fine-tuning has no adapter", remedy="export folder, f16 or q8")
        if kind != "adapter" and recipe.method not in export.MERGED:
            raise InputError(
                f"{recipe.method} tuning writes an adapter only, got {kind}",
                remedy=f"export adapter, or take method: {', '.join(export.MERGED)}",
            )
    progress(Progress("read the base", 0, None))
    chat = Chat(base)
    rows, dropped = encode_rows(chat, material.conversations, material.window)
    dev = encode_rows(chat, material.dev, material.window)[0] if material.dev else []
    rows += texts(chat, material.texts, material.window)
    dev += texts(chat, material.dev_texts, material.window)
    if not rows:
        raise FitError("there is no row to train on", remedy="give some data")
    folder = place / f"{recipe.method}-{identity(base, rows, dev, recipe)}" if shared else place
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Export, Path] = {kind: folder / PLACES[kind] for kind in exports}

    def pause(_: float) -> None:
        if stop is not None and stop.wait(1.0):
            raise FitError("stopped while waiting for another training", remedy="run the same again")

    world = World.here()
    # One training of a key at a time; of the processes that share one, the first holds the lock and writes.
    with file_lock(folder / ".lock", pause) if world.rank == 0 else nullcontext():
        world.wait()
        key = identity(base, rows, dev, recipe)
        trained = _done(folder, key)
        missing = [kind for kind in exports if not _kept(files[kind])]
        checked = {kind: found for kind, found in parity.read(folder).items() if kind not in missing}
        unchecked = [
            kind for kind in exports if gate and (kind not in checked or checked[kind].verdict == "not checked")
        ]
        if trained is not None and not missing and not unchecked:
            return Tuned(trained, files, folder, {kind: checked[kind] for kind in exports if kind in checked})
        session = open_session(base, recipe)
        try:
            kept: Export = "folder" if recipe.method == "full" else "adapter"
            own = folder / PLACES[kept]
            if trained is None:
                if preflight and world.size == 1 and not (folder / "checkpoint.json").exists():
                    progress(Progress("pre-flight", 0, None))
                    checks = inspect(session, base, chat, rows, material.conversations, recipe)
                    (folder / "preflight.txt").write_text(f"{checks}\n", encoding="utf-8")
                    checks.demand()
                    left_out = f"; {dropped} rows too long" if dropped else ""
                    progress(Progress("pre-flight", 1, 1, f"passed; about {checks.seconds:.0f} s to train{left_out}"))
                trained = train(
                    session, base, rows, dev, recipe, folder, progress=progress, record=record, stop=stop, saves=saves
                )
                if world.rank:
                    return Tuned(trained, files, folder, {})
                if kept == "folder":
                    export.save_folder(export.merge(session), base, own)
                else:
                    export.save_adapter(session, base, recipe, own)
                _mark(own)
                document = {"key": key, "trained": encode(trained), "recipe": encode(recipe)}
                write_file(folder / "trained.json", json.dumps(document).encode())
            else:
                if not _kept(own):
                    raise FitError(
                        f"{own} is damaged or gone, though the training is done",
                        remedy=f"delete {folder} and tune again",
                    )
                if kept == "adapter":
                    export.load_adapter(session, own)
                else:
                    export.load_folder(session, own)
            if weighty := [kind for kind in missing if not _kept(files[kind])]:
                merged = export.merge(session)
                for kind in weighty:
                    progress(Progress(f"write {kind}", 0, None))
                    if kind == "folder":
                        export.save_folder(merged, base, files[kind])
                    elif kind == "openvino":
                        export.save_openvino(merged, base, files[kind], name=name)
                    elif kind != "adapter":
                        export.save_gguf(merged, base, files[kind], kind, name=name)
                    _mark(files[kind])
                del merged
            for old in (*folder.glob("step-*.safetensors"), folder / "checkpoint.json"):
                old.unlink(missing_ok=True)
            if not gate and missing:
                checked |= {kind: parity.Parity("not checked", why="it was not asked for") for kind in missing}
                parity.save(folder, checked)
            if unchecked:
                progress(Progress("parity", 0, len(unchecked)))
                against = parity.Gate(session, chat, recipe.method, material)
                for count, kind in enumerate(unchecked, 1):
                    checked[kind] = against.check(kind, files[kind], Settings())
                    parity.save(folder, checked)
                    progress(Progress("parity", count, len(unchecked), f"{kind}: {checked[kind].verdict}"))
        finally:
            del session
            gc.collect()
            torch.cuda.empty_cache()
        mine: dict[Export, Parity] = {kind: checked[kind] for kind in exports if kind in checked}
        parity.demand({files[kind]: found for kind, found in mine.items()})
    return Tuned(trained, files, folder, mine)


def _done(folder: Path, key: str) -> Trained | None:
    try:
        document = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
        found = decode(Trained, document["trained"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if document.get("key") != key:
        raise FitError(
            f"{folder} holds another training (other rows, recipe or base)",
            remedy=f"name a new folder, or delete {folder}",
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
