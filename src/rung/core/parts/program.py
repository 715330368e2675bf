"""A program as a folder: ``program.json`` (kind, spec, hashes) and the files that belong to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self, cast, get_type_hints

from rung.core.codec import canonical, decode, digest, digest_file, encode
from rung.core.errors import InputError, RungError
from rung.core.parts import registry
from rung.core.parts.meter import metered
from rung.core.protocols import Model, Program, Resources
from rung.core.types import Answer, Failure, Input

FORMAT = 1


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    return digest_file(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, computed once for each size and modification time."""
    stat = path.stat()
    return _file_hash(path, stat.st_size, stat.st_mtime_ns)


class Rows:
    """Many records that belong to a program, in a file of their own: a pool of examples, passages.

    JSON Lines, named by ``stem`` and content, so that programs inside one another can lie in one folder. Made once,
    when it is first asked for.
    """

    def __init__(self, stem: str, items: Sequence[Any]) -> None:
        self.stem, self.items = stem, items

    @cached_property
    def data(self) -> bytes:
        return "".join(f"{canonical(item)}\n" for item in self.items).encode("utf-8", "surrogatepass")

    @cached_property
    def name(self) -> str:
        return f"{self.stem}-{hashlib.sha256(self.data).hexdigest()[:16]}.jsonl"

    def files(self) -> dict[str, bytes]:
        return {self.name: self.data}

    @staticmethod
    def read(path: Path) -> list[Any]:
        """The items as plain JSON. Raises InputError when the file is not whole."""
        try:
            return [json.loads(line) for line in path.read_bytes().decode("utf-8", "surrogatepass").split("\n") if line]
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"cannot read it: {error}", file=path, remedy="export the program again") from None


def fingerprint(program: Program) -> str:
    """A program's identity: hash of its kind, spec, files and model. Equal identity means equal answers are
    expected."""
    files = {name: _hash(file) for name, file in sorted(program.files().items())}
    model = program.model
    return digest([program.kind, program.spec(), files, model.fingerprint if model is not None else ""])


def _hash(file: Path | bytes) -> str:
    return hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else file_hash(file)


def save(program: Program, folder: Path, *, notes: Mapping[str, Any] | None = None, link: bool = False) -> Path:
    """Write the program to ``folder`` (made anew; an existing program there is replaced in one step).

    ``notes`` (task, scores, examples) travel along and change nothing. ``link`` shares big files with where they lie
    now instead of copying them, where the file system can. Raises InputError if ``folder`` holds other things.
    """
    if folder.name in ("", ".."):
        raise InputError(
            f"{str(folder)!r} cannot be replaced in one step", remedy="name a new folder inside it: ./program"
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / "program.json").exists():
        raise InputError(f"{folder} exists and is not a program folder", remedy="name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging, aside = (folder.with_name(f".{folder.name}.{word}{os.getpid()}") for word in ("part", "old"))
    for litter in (staging, aside):
        shutil.rmtree(litter, ignore_errors=True)
    staging.mkdir()
    try:
        hashes = {}
        for name, file in program.files().items():
            _place(file, staging / name, link)
            hashes[name] = digest_file(staging / name)
        document = {
            "format": FORMAT,
            "kind": program.kind,
            "fingerprint": fingerprint(program),
            "spec": program.spec(),
            "files": hashes,
            "notes": dict(notes or {}),
        }
        text = json.dumps(json.loads(canonical(document)), indent=2, ensure_ascii=False) + "\n"
        (staging / "program.json").write_text(text, encoding="utf-8")
        # The old program is moved aside, not deleted, until the new one is in its place.
        if folder.exists():
            folder.rename(aside)
        staging.rename(folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        shutil.rmtree(staging, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    return folder


def _place(source: Path | bytes, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        target.write_bytes(source)
        return
    if link:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)


def read(folder: Path) -> dict[str, Any]:
    """The document in ``program.json``, its files' hashes verified. Raises InputError with the remedy when it is not
    whole."""
    path = folder / "program.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no program.json", remedy="make one: rung export RUN DIR")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON: {error}", file=path, remedy="export the program again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"expected program format {FORMAT}", file=path, remedy="export the program again")
    document.setdefault("notes", {})
    for key, kind in (("kind", str), ("spec", dict), ("files", dict), ("notes", dict), ("fingerprint", str)):
        if not isinstance(document.get(key), kind):
            raise InputError(f"{key!r} is missing or damaged", file=path, remedy="export the program again")
    for name, expected in document["files"].items():
        target = inside(folder, name)
        if not target.is_file() or digest_file(target) != expected:
            raise InputError(f"{name} is missing or damaged", file=path, remedy="export the program again")
    return cast(dict[str, Any], document)


def inside(folder: Path, name: Any) -> Path:
    """The path of a file or folder that a program names. Raises InputError for one that lies elsewhere, also by a
    link."""
    if isinstance(name, str) and name and "\0" not in name:
        target = folder / name
        if target != folder and target.resolve().is_relative_to(folder.resolve()) and ".." not in Path(name).parts:
            return target
    raise InputError(
        f"{str(name)[:80]!r} is no file of this program",
        file=folder / "program.json",
        remedy="export the program again: its files lie in its own folder, without links out of it",
        code="outside",
    )


def model_name(stored: Any) -> str:
    """A model's name out of a program's spec. Raises TypeError for anything else: an empty one would mean the default
    model."""
    if not isinstance(stored, str) or not stored.strip():
        raise TypeError(f"the model's name is {str(stored)[:60]!r}")
    return stored


def load(folder: Path, resources: Resources) -> Program:
    """Rebuild the program that ``save`` wrote. Raises InputError when the folder is damaged, whatever it holds."""
    document = read(folder)
    try:
        return unnest(document, folder, resources)
    except RungError:
        raise
    except Exception as error:  # what a folder from elsewhere holds can break any step of it
        said = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"the program cannot be made of what the folder holds: {said[:300]}",
            file=folder / "program.json",
            remedy="export the program again",
            code="damaged",
        ) from error


def nest(program: Program) -> dict[str, Any]:
    """A program as part of another one's spec; its files are the outer one's to list."""
    return {"kind": program.kind, "spec": program.spec()}


def unnest(nested: Mapping[str, Any], folder: Path, resources: Resources) -> Program:
    """Rebuild what ``nest`` wrote, from the outer program's folder."""
    kind = registry.load("program", nested["kind"])
    return cast(Program, kind.load(nested["spec"], folder, resources))


class Storable:
    """The base of a program that is a dataclass: what makes it again is its fields.

    A field typed Model is stored as the model's name, one typed Program as the program itself; a mapping whose field
    has the metadata ``rows`` (passages by name) in a file of its own; anything else as ``core.codec`` encodes it. A
    field may be missing in the folder where it has a default.
    """

    kind: ClassVar[str]

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        for field, kind in _stored(cast(Any, type(self))):
            value = getattr(self, field.name)
            if kind is Model:
                spec[field.name] = value.name
            elif kind is Program:
                spec[field.name] = nest(value)
            elif stem := field.metadata.get("rows"):
                spec.update({field.name: Rows(stem, list(value.items())).name} if value else {})
            else:
                spec[field.name] = encode(value)
        return spec

    def files(self) -> Mapping[str, Path | bytes]:
        files: dict[str, Path | bytes] = {}
        for field, kind in _stored(cast(Any, type(self))):
            value = getattr(self, field.name)
            if kind is Program:
                files |= value.files()
            elif (stem := field.metadata.get("rows")) and value:
                files |= Rows(stem, list(value.items())).files()
        return files

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Self:
        given: dict[str, Any] = {}
        for field, kind in _stored(cast(Any, cls)):
            if field.name not in spec:
                continue  # its default, or the error that it has none
            stored = spec[field.name]
            if kind is Model:
                given[field.name] = resources.model(model_name(stored))
            elif kind is Program:
                given[field.name] = unnest(stored, folder, resources)
            elif "rows" in field.metadata:
                given[field.name] = dict(Rows.read(inside(folder, stored)))
            else:
                given[field.name] = decode(kind, stored)
        return cls(**given)


@lru_cache(maxsize=64)
def _stored(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind) if field.init)


async def attempt(ask: Callable[[Input], Awaitable[Answer]], input: Input) -> Answer:
    """One answer with its metered usage. Whatever goes wrong inside is a failure of this input, not of the caller's
    work."""
    with metered() as meter:
        try:
            answer = await ask(input)
        except RungError as error:
            answer = Answer(None, failure=Failure.of(error))
        except Exception as error:  # a defect of somebody's program
            answer = Answer(None, failure=Failure("program", f"{type(error).__name__}: {error}"))
    return answer.with_usage(meter.total) if meter.total.calls else answer
