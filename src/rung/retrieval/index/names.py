"""Index backends of this room, by the first word of their string form: every file in ``backends`` is one."""

from pkgutil import iter_modules

from rung.retrieval.index import backends

INDEXES = {found.name: f"{backends.__name__}.{found.name}:BACKEND" for found in iter_modules(backends.__path__)}
