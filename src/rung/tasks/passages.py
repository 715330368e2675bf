"""A corpus: passages by id, from a data file, a folder, a text file, or this interpreter's own documentation."""

from __future__ import annotations

import importlib
import inspect
import re
import types
from pathlib import Path
from typing import Any

from rung.tasks.definition import STDLIB_CORPUS, Corpus
from rung.tasks.problem import Problems, nearest
from rung.tasks.reader import ABSENT, guess, read, value

TEXT = (".txt", ".md", ".rst")

MODULES: tuple[str, ...] = tuple(
    """abc argparse array ast asyncio base64 bisect bz2 calendar cmath codecs collections collections.abc colorsys compileall
    concurrent.futures configparser contextlib contextvars copy csv ctypes dataclasses datetime decimal difflib dis
    doctest email enum errno fileinput filecmp fnmatch fractions ftplib functools gc getopt getpass gettext glob graphlib
    gzip hashlib heapq hmac html html.parser http http.client http.server imaplib importlib importlib.metadata
    importlib.resources inspect io ipaddress itertools json keyword linecache locale logging logging.handlers lzma mailbox
    math mimetypes mmap multiprocessing numbers operator os os.path pathlib pickle pkgutil platform plistlib poplib pprint
    profile queue quopri random re reprlib runpy sched secrets select selectors shelve shlex shutil signal site smtplib
    socket socketserver sqlite3 ssl stat statistics string stringprep struct subprocess symtable sys sysconfig
    tarfile tempfile textwrap threading time timeit tokenize tomllib trace traceback tracemalloc types typing
    unicodedata unittest unittest.mock urllib.error urllib.parse urllib.request uuid venv warnings wave weakref
    webbrowser wsgiref xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client zipapp zipfile zipimport zlib zoneinfo""".split()  # noqa: SIM905
)  # fmt: skip
"""Public modules of the standard library whose import does nothing visible; those this interpreter lacks are skipped."""


def stdlib() -> dict[str, str]:
    """One passage a module, public function, class and method with a docstring: its dotted name -> signature and docstring."""
    out: dict[str, str] = {"builtins": ""}
    for name in ("builtins", *MODULES):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if text := inspect.getdoc(module):
            out[name] = f"{name}\n\n{text}"
        for attribute in _public(module):
            member = getattr(module, attribute, None)
            if not (inspect.isroutine(member) or inspect.isclass(member)):
                continue
            # A thing is told once, where it belongs: re-exports of another module of the list are left out.
            home = getattr(member, "__module__", None)
            if isinstance(home, str) and home != name and home in MODULES:
                continue
            _describe(out, f"{name}.{attribute}" if name != "builtins" else attribute, member)
            if inspect.isclass(member) and not issubclass(member, BaseException):
                for method, thing in sorted(vars(member).items()):
                    if not method.startswith("_"):
                        inner = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
                        _describe(
                            out,
                            f"{name}.{attribute}.{method}" if name != "builtins" else f"{attribute}.{method}",
                            inner,
                        )
    return {id: text for id, text in sorted(out.items()) if text}


def _public(module: types.ModuleType) -> list[str]:
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return sorted(set(names))


def _describe(out: dict[str, str], name: str, thing: Any) -> None:
    if not (
        inspect.isroutine(thing)
        or inspect.isclass(thing)
        or isinstance(thing, property)
        or inspect.isdatadescriptor(thing)
    ):
        return
    own = thing.__doc__ if not inspect.isclass(thing) else vars(thing).get("__doc__")
    if not isinstance(own, str) or not own.strip() or name in out:
        return
    signature = ""
    if callable(thing):
        try:
            # Addresses in default values would make the text differ from run to run.
            signature = re.sub(r" at 0x[0-9a-fA-F]+", "", str(inspect.signature(thing)))
        except (ValueError, TypeError):
            signature = ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", inspect.cleandoc(own))
    out[name] = f"{name}{signature}\n\n{text}"


def corpus(source: Corpus, place: Path, problems: Problems, *, task: Path, line: int | None) -> dict[str, str]:
    """Passages by id. ``place`` is where the source's path leads. Problems say what is missing or empty."""
    if source.file == STDLIB_CORPUS:
        return stdlib()
    if not place.exists():
        problems.add(
            f"passages: there is no {place}", f"correct the path, or use {STDLIB_CORPUS}", file=task, line=line
        )
        return {}
    out: dict[str, str] = {}
    if place.is_dir() and source.format is None:
        for file in sorted(item for item in place.rglob("*") if item.suffix.lower() in TEXT and item.is_file()):
            text = _text(file, problems)
            if text.strip():
                out[file.relative_to(place).as_posix()] = text.strip()
    elif place.suffix.lower() in TEXT:
        paragraphs = [part.strip() for part in re.split(r"\n\s*\n", _text(place, problems)) if part.strip()]
        out = {f"{place.stem}-{number}": text for number, text in enumerate(paragraphs, 1)}
    elif source.format or guess(place):
        out = _rows(source, place, problems, task=task, line=line)
    else:
        problems.add(
            f"passages: cannot tell what {place.name} holds",
            "expected a folder, .txt, .md, or a data file",
            file=task,
            line=line,
        )
        return {}
    if not out and not problems.failed:
        problems.add(
            f"passages: {place} holds no text", "add .txt or .md files, or name a data file", file=task, line=line
        )
    return out


def _text(file: Path, problems: Problems) -> str:
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        at = raw.count(b"\n", 0, error.start) + 1
        problems.add(f"byte {error.start:,} is not UTF-8", "save the file as UTF-8", file=file, line=at)
        return ""


def _rows(source: Corpus, place: Path, problems: Problems, *, task: Path, line: int | None) -> dict[str, str]:
    out: dict[str, str] = {}
    for table in read(source, place, problems, line=line, task=task):
        for row in table.rows:
            parts = [value(row, column) for column in source.text]
            lacking = [column for column, part in zip(source.text, parts, strict=True) if part is ABSENT]
            if lacking:
                problems.add(
                    f"passages: no column {lacking[0]!r}",
                    nearest(lacking[0], table.columns),
                    file=place,
                    line=row.line,
                    kind="no column",
                )
                continue
            text = "\n".join(str(part).strip() for part in parts if part not in (None, "")).strip()
            id = str(value(row, source.id)) if source.id else f"{place.name}-{row.line}"
            if id in out:
                problems.add(
                    f"passages: the id {id!r} is there twice",
                    "make ids distinct",
                    file=place,
                    line=row.line,
                    kind="ids twice",
                )
            elif text:
                out[id] = text
    return out
