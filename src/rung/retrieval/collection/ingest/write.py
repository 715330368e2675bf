"""Documents into a collection's database: what is new or changed is cut, embedded and written in one transaction."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.problem import Problem
from rung.core.types import Document
from rung.retrieval.collection.database.snapshot import Snapshot, StoredDocument, clean
from rung.retrieval.collection.database.transaction import NewDocument
from rung.retrieval.filter.conditions import clean as check_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.collection.collection import Collection
    from rung.retrieval.collection.ingest.ray import Ready


@dataclass(frozen=True, slots=True)
class Built:
    """What a write did, in documents (``passages``: new ones). Of the ``problems``, errors say what was left out
    while the rest went in, warnings what was read in a way that somebody should know about (a guessed encoding)."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    passages: int = 0
    embedded: int = 0
    seconds: float = 0.0
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Built) -> Built:
        counts = ("added", "updated", "unchanged", "deleted", "passages", "embedded", "seconds")
        summed = {name: getattr(self, name) + getattr(other, name) for name in counts}
        return Built(**summed, problems=self.problems + other.problems)

    @property
    def failures(self) -> tuple[Problem, ...]:
        """The errors among the problems."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def notes(self) -> tuple[Problem, ...]:
        """The warnings among the problems."""
        return tuple(problem for problem in self.problems if problem.level == "warning")


@dataclass(frozen=True, slots=True)
class Given:
    """Documents with what is known of them, by id: the file they are from and its stamp, what was cut and embedded
    elsewhere."""

    documents: Sequence[Document]
    stamps: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    ready: Mapping[str, Ready] = field(default_factory=dict)


def put(collection: Collection, given: Given, *, full: bool = True) -> Built:
    """Write the documents that are new or changed, all or none, and durably where ``full``. The caller holds the lock.

    Raises InputError for an id twice, metadata that no filter could test, a chunker or embedder that gives what does
    not fit.
    """
    started = time.perf_counter()
    documents = [cleaned(document) for document in given.documents]
    _check_ids(documents)
    with collection.database.reading() as snapshot:
        known = snapshot.known([document.id for document in documents])
        touched: list[tuple[str, str, int]] = []
        entries: list[NewDocument] = []
        replaced: list[StoredDocument] = []
        for document in documents:
            if document.metadata:
                check_metadata(document.metadata)
            old, hashed = known.get(document.id), content_hash(document)
            source, stamp = given.stamps.get(document.id, ("", ""))
            if old is None or old.hash != hashed:
                entries.append(_entry(collection, document, hashed, given))
                replaced += [old] if old is not None else []
            elif source and (source, stamp) != (old.source, old.stamp):
                touched.append((source, stamp, old.row))
        entries, embedded = _embedded(collection, snapshot, entries, known)
    if touched:  # a file that was written again with the same content is not read again next time
        with collection.database.writing(full=full) as transaction:
            transaction.touch(touched)
    if entries:
        with collection.database.writing(full=full) as transaction:
            transaction.write(entries, [old.row for old in replaced])
        collection.wrote = True
    return Built(
        added=len(entries) - len(replaced),
        updated=len(replaced),
        unchanged=len(documents) - len(entries),
        passages=sum(len(entry.passages) for entry in entries),
        embedded=embedded,
        seconds=time.perf_counter() - started,
    )


def check_new(collection: Collection, documents: Sequence[Document]) -> None:
    """Raises InputError when a document is there already. The caller holds the lock."""
    with collection.database.reading() as snapshot:
        there = snapshot.known([item.id for item in documents])
    if there:
        raise InputError(
            f"document {next(iter(there))!r} is in {collection.name} already", remedy="use upsert to replace it"
        )


def remove(collection: Collection, ids: Sequence[str], *, full: bool = True) -> int:
    """Delete the documents that are there; how many were. The caller holds the lock."""
    with collection.database.reading() as snapshot:
        known = snapshot.known(ids)
    if known:
        with collection.database.writing(full=full) as transaction:
            transaction.write([], [document.row for document in known.values()])
        collection.wrote = True
    return len(known)


def _check_ids(documents: Sequence[Document]) -> None:
    twice = next((id for id, count in Counter(document.id for document in documents).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"two documents have the id {twice!r}", remedy="give each document an id of its own")


def _entry(collection: Collection, document: Document, hashed: bytes, given: Given) -> NewDocument:
    """The document with its passages, each of them where it says it is."""
    ready = given.ready.get(document.id)
    passages = ready.passages if ready is not None else tuple(collection.origin.cut(document)) if document.text else ()
    for passage in passages:
        if passage.metadata and passage.metadata is not document.metadata:
            check_metadata(passage.metadata)
        if passage.text != document.text[passage.start : passage.end] or passage.document != document.id:
            raise InputError(
                f"chunker {collection.origin.meta['chunker']!r} gave passage {passage.id!r} of document {document.id!r} a text that"
                f" is not the document's characters {passage.start} to {passage.end}: citations could not be resolved",
                remedy="a chunker cuts, it does not rewrite; clean the text before",
            )
    vectors = ready.vectors if ready is not None and passages else None
    return NewDocument(document, hashed, passages, vectors, *given.stamps.get(document.id, ("", "")))


def _embedded(
    collection: Collection, snapshot: Snapshot, entries: list[NewDocument], known: Mapping[str, StoredDocument]
) -> tuple[list[NewDocument], int]:
    """The entries with their vectors, and how many passages were embedded for them. Passages that an edit left as
    they were keep theirs."""
    count = sum(len(entry.passages) for entry in entries if entry.vectors is not None)
    bare = [entry for entry in entries if entry.vectors is None and entry.passages]
    if not collection.dimensions or not bare:
        return entries, count
    reused: dict[str, NDArray[np.float32]] = {}
    for entry in bare:
        if (old := known.get(entry.document.id)) is not None:
            reused.update(_old_vectors(collection, snapshot, old.row, {passage.text for passage in entry.passages}))
    texts = [passage.text for entry in bare for passage in entry.passages]
    fresh = [text for text in texts if text not in reused] if reused else texts
    vectors = _embed(collection, fresh)
    if reused:
        found = iter(vectors)
        vectors = np.array([reused[text] if text in reused else next(found) for text in texts], np.float32)
    rows = _cut(vectors, bare)
    return [
        entry if entry.vectors is not None else replace(entry, vectors=next(rows)) if entry.passages else entry
        for entry in entries
    ], count + len(fresh)


def _cut(vectors: NDArray[np.float32], entries: Sequence[NewDocument]) -> Iterator[NDArray[np.float32]]:
    at = 0
    for entry in entries:
        yield vectors[at : at + len(entry.passages)]
        at += len(entry.passages)


def _old_vectors(
    collection: Collection, snapshot: Snapshot, document: int, wanted: set[str]
) -> dict[str, NDArray[np.float32]]:
    """The stored vectors of a document's passages whose text is among those wanted, by that text."""
    text = snapshot.text(document)
    kept = [
        (row, text[start:stop]) for row, start, stop in snapshot.of_document(document) if text[start:stop] in wanted
    ]
    vectors = collection.view(snapshot).vectors([row for row, _ in kept])
    return {} if vectors is None else {own: vector for (_, own), vector in zip(kept, vectors, strict=True)}


def _embed(collection: Collection, texts: list[str]) -> NDArray[np.float32]:
    """Raises InputError when the embedder gives another shape, or numbers that are not finite."""
    if not texts:
        return np.empty((0, collection.dimensions), np.float32)
    name, expected = collection.embedder.name, (len(texts), collection.dimensions)
    found = np.asarray(collection.embedder.embed(texts), np.float32)
    if found.shape != expected:
        raise InputError(
            f"embedder {name} gave vectors of shape {found.shape}, expected {expected}",
            remedy=f"the collection {collection.name} holds vectors of {collection.dimensions} dimensions; use the"
            " embedder it was made with",
        )
    if not np.isfinite(found.sum()):
        bad = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise InputError(
            f"embedder {name} gave a vector that is not finite for {texts[bad][:60]!r}",
            remedy="use another embedder, or take that text out",
        )
    return found


def cleaned(document: Document) -> Document:
    """The document as it is stored: what is no Unicode text is replaced. Raises InputError for an id that is no
    text."""
    if not isinstance(document.id, str) or not document.id:
        raise InputError(f"a document's id is a text, got {document.id!r}", remedy="give it one")
    return replace(document, id=clean(document.id), text=clean(document.text))


def content_hash(document: Document) -> bytes:
    """Content hash of a document: its text and metadata."""
    hashed = hashlib.blake2b(document.text.encode(), digest_size=16)
    metadata = json.dumps(document.metadata, sort_keys=True, default=str) if document.metadata else ""
    hashed.update(b"\0" + metadata.encode("utf-8", "replace"))
    return hashed.digest()
