"""One tuning from rows to files: pre-flight, training, and what the user asked to have written, each kept as it is done."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rung.core.codec import decode, encode
from rung.core.errors import FitError, InputError
from rung.core.files import write
from rung.core.lock import hold
from rung.core.program import file_hash
from rung.core.types import Message, Progress
from rung.tuning.loop import Trained, World, identity, train
from rung.tuning.recipe import Recipe
from rung.tuning.weights import Base, load_torch

Export = Literal["adapter", "folder", "f16", "q8"]
PLACES: Mapping[Export, str] = {
    "adapter": "adapter",
    "folder": "merged",
    "f16": "tuned-f16.gguf",
    "q8": "tuned-q8.gguf",
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
    """A finished tuning: what it did, and the files that were asked for by kind."""

    trained: Trained
    files: Mapping[Export, Path]
    folder: Path


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
) -> Tuned:
    """Train unless it is done, then write what is not there yet.

    ``place`` is the tuning's folder, or with ``shared`` the folder beside whose others it lies, named by content: equal base,
    rows and recipe are trained once. Interrupted at any point, the same call goes on. The checkpoints go when all is written.

    Raises FitError for a failed pre-flight check and what ``train`` raises, InputError for an export that the method has not.
    """
    torch = load_torch()
    from rung.tuning import export
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
    with hold(folder / ".lock", pause) if world.rank == 0 else nullcontext():
        world.wait()
        key = identity(base, rows, dev, recipe)
        trained = _done(folder, key)
        missing = [kind for kind in exports if not _kept(files[kind])]
        if trained is not None and not missing:
            return Tuned(trained, files, folder)
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
                    return Tuned(trained, files, folder)
                if kept == "folder":
                    export.save_folder(export.merge(session), base, own)
                else:
                    export.save_adapter(session, base, recipe, own)
                _mark(own)
                document = {"key": key, "trained": encode(trained), "recipe": encode(recipe)}
                write(folder / "trained.json", json.dumps(document).encode())
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
                    elif kind != "adapter":
                        export.save_gguf(merged, base, files[kind], kind, name=name)
                    _mark(files[kind])
            for old in (*folder.glob("step-*.safetensors"), folder / "checkpoint.json"):
                old.unlink(missing_ok=True)
        finally:
            del session
            gc.collect()
            torch.cuda.empty_cache()
    return Tuned(trained, files, folder)


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
    write(target.with_name(f"{target.name}.sha256"), json.dumps(_hashes(target)).encode())


def _kept(target: Path) -> bool:
    """Whether a file or folder is there as it was written."""
    try:
        said = json.loads(target.with_name(f"{target.name}.sha256").read_text(encoding="ascii"))
        return target.exists() and bool(said == _hashes(target))
    except (OSError, ValueError):
        return False
