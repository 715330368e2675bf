"""The corpus ``python-stdlib``: the documentation of this interpreter's standard library, read from the interpreter
itself."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
import warnings
from functools import cache
from typing import Any

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
"""Public modules of the standard library whose import does nothing visible; those this interpreter lacks are
skipped."""


def read_stdlib() -> dict[str, str]:
    """One passage a module, public function, class and method with a docstring: its dotted name -> signature and
    docstring.

    Built-ins go by their bare name (``sorted``, ``str.partition``). About 4,700 passages in the order of their ids; the
    same interpreter gives the same text in every process. Takes one to two seconds, most of it imports.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some public names warn when they are looked at
        return dict(_read())


@cache
def _read() -> dict[str, str]:
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
            signature = _steady(str(inspect.signature(thing)))
        except Exception:  # many have none, and on 3.13 that of select.epoll.register raises AttributeError
            signature = ""
    text = _steady(inspect.cleandoc(own))
    out[name] = f"{name}{signature}\n\n{text}"


def _steady(text: str) -> str:
    """Addresses and the interpreter's own path, which get in as default values, differ from run to run and place to
    place."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text.replace(sys.executable or "\0", "python"))
