"""Weights, tokenizer, template, grammars and the worker of one file: loaded once for all models that use it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from rung.core.codec import digest
from rung.core.errors import InputError, Unsupported
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system.machine import Machine, machine
from rung.models.adapters.lora import AdapterSlots
from rung.models.engine.closed.grammar import Grammars
from rung.models.engine.closed.trie import Trie
from rung.models.engine.decode import Words
from rung.models.engine.files import folder, gguf
from rung.models.engine.files.convert import convert
from rung.models.engine.paged import Paged, version
from rung.models.engine.schedule.worker import Worker
from rung.models.engine.template import ChatTemplate
from rung.models.engine.tokens import Tokenizer

LAYOUT = 3
"""Raised when what the engine computes changes for the same weights: part of the fingerprint."""


class Engine:
    """One per weights file and process, shared by the models that use it; a second one, with a ``slots``, for all
    adapters of the file. Parts load on first use."""

    def __init__(
        self, path: Path, cache: Path, threads: int, precision: str, slots: AdapterSlots | None = None
    ) -> None:
        self.path = path
        self.precision = precision
        self.slots = slots
        self._cache = cache
        self._threads = threads
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._grammars: Grammars | None = None
        self._template: ChatTemplate | None = None
        self._words: Words | None = None
        self.users = 0
        self.header = folder.read(path) if path.is_dir() else gguf.read(path)
        self._tokenizer: Tokenizer | None = None
        self.fingerprint = digest(["openvino", LAYOUT, weights_hash(path), version(), precision])
        self._trie = lru_cache(maxsize=32)(self._make_trie)

    def load(self) -> None:
        """Load tokenizer and model side by side; returns when both are ready. Cheap when they are."""
        if self._worker is not None and not self._worker.closed and self._words is not None:
            return
        self.graph()
        with ThreadPoolExecutor(1) as pool:
            words = pool.submit(lambda: self.words)
            _ = self.worker
            words.result()

    @property
    def worker(self) -> Worker:
        with self._lock:
            if self._worker is None or self._worker.closed:
                device = Paged(
                    self.graph(),
                    threads=self._threads,
                    tokens=self.header.context,
                    slots=self.slots,
                    precision=self.precision,
                )
                self._worker = Worker(lambda: device)
            return self._worker

    def graph(self) -> Path:
        """The .xml file of the model; a GGUF is converted on first use."""
        if self.path.is_dir():
            return self.path / folder.GRAPH
        return convert(self.path, graph_folder(self.path, self._cache))

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(self.graph().parent, self.header.context)
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Tokens of text as the tokenizer reads it (spelled control tokens become control tokens)."""
        return self.tokenizer.encode(text)

    @property
    def template(self) -> ChatTemplate:
        if self._template is None:
            names = {i: text for text, i in self.header.control.items()}
            bos = names.get(self.header.bos, "") if self.header.bos is not None else ""
            eos = names.get(self.header.eos, "")
            self._template = ChatTemplate(
                self.header.template, self.header.control, self.tokenizer.encode_all, bos=bos, eos=eos
            )
        return self._template

    @property
    def words(self) -> Words:
        if self._words is None:
            pieces = [b""] * self.header.vocabulary
            for piece, index in self.tokenizer.inner.get_vocab().items():
                if index < len(pieces):
                    pieces[index] = piece
            for index in self.header.control.values():
                pieces[index] = b""
            names = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
            ends = {self.header.eos, *(self.header.control[n] for n in names if n in self.header.control)}
            if self.template.turn_end is not None:
                ends.add(self.template.turn_end)
            self._words = Words(pieces, frozenset(ends))
        return self._words

    @property
    def grammars(self) -> Grammars:
        if self._grammars is None:
            specials = self.header.control
            pieces = list(self.words.pieces)
            for text, index in specials.items():
                pieces[index] = text.encode()
            self._grammars = Grammars(pieces, sorted(specials.values()), sorted(self.words.ends), self.encode)
        return self._grammars

    def trie(self, candidates: tuple[str, ...]) -> tuple[Trie, int]:
        """The candidates' trie and the length of the longest; kept for the sets used lately."""
        return self._trie(candidates)

    def _make_trie(self, candidates: tuple[str, ...]) -> tuple[Trie, int]:
        end = self.template.turn_end
        sequences = [self.template.plain(text) for text in candidates]
        return Trie(sequences, self.header.eos if end is None else end), max(map(len, sequences)) + 1

    def forget(self) -> None:
        """Forget cached prompts, so that what comes next is measured by itself."""
        if self._worker is not None:
            self._worker.forget()

    def rest(self) -> None:
        """Free what ``load`` loads again, unless something is being computed."""
        if self._worker is not None and self._worker.idle():
            self.close()

    def close(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        self._grammars = self._tokenizer = self._template = self._words = None
        self._trie.cache_clear()


def choose_precision(wanted: str, here: Machine) -> str:
    """The engine's precision: ``auto`` is bf16 where the processor multiplies matrices of it (AMX: 2 to 4 times as
    fast) and has more than one core, else f32. Raises InputError for an unknown one, and Unsupported for bf16 where the
    processor would emulate it."""
    if wanted not in ("auto", "f32", "bf16"):
        raise InputError(f"got precision {wanted!r}", remedy="expected auto, f32 or bf16: RUNG_PRECISION=auto")
    if wanted == "bf16" and not here.bfloat16:
        raise Unsupported(
            f"precision bf16: this processor ({here.kind}) has no bfloat16 and would emulate it",
            remedy="leave it out: RUNG_PRECISION=auto",
        )
    if wanted != "auto":
        return wanted
    return "bf16" if here.bfloat16_matrices and here.cores > 1 else "f32"


def weights_hash(path: Path) -> str:
    """What tells one set of weights from another."""
    return file_hash(path) if path.is_file() else digest([file_hash(file) for file in folder.files(path)])


_ENGINES: dict[tuple[str, int, str, bool], Engine] = {}
_LOCK = threading.Lock()


def share_engine(path: Path, settings: Settings, *, adapters: bool) -> Engine:
    """The process's engine for these weights and settings, counted as used once more; with ``adapters``, the one for
    all adapters of the file. Raises as ``choose_precision`` does."""
    precision, threads = choose_precision(str(settings["precision"]), machine()), int(settings["threads"])
    key = (weights_hash(path), threads, precision, adapters)
    with _LOCK:
        engine = _ENGINES.get(key)
        if engine is None:
            slots = AdapterSlots() if adapters else None
            engine = _ENGINES[key] = Engine(path, settings.cache, threads, precision, slots)
        engine.users += 1
    return engine


def leave_engine(engine: Engine) -> bool:
    """Count a user less; True for the last one, who has to close it."""
    with _LOCK:
        engine.users -= 1
        if engine.users > 0:
            return False
        for key in [key for key, known in _ENGINES.items() if known is engine]:
            del _ENGINES[key]
    return True


def graph_folder(path: Path, cache: Path) -> Path:
    """Where the graph and the tokenizer of a GGUF file are kept, once they are made."""
    return cache / "openvino" / f"{file_hash(path)[:16]}-{version().partition('-')[0]}-{LAYOUT}"
