"""Figures of this machine that a probe measured, kept in the cache so that each is measured once."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rung.core.codec import digest
from rung.core.system.files import write_file
from rung.core.system.machine import machine

FILE = "measured.json"


def key(*parts: object) -> str:
    """What a figure holds for: this processor with its features and cores, this torch, and ``parts``."""
    here = machine()
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return digest([here.processor, list(here.features), here.cores, torch, threads, *map(str, parts)])


def recall(cache: Path, key: str) -> float | None:
    """A figure measured before, or None."""
    return _read(cache).get(key)


def remember(cache: Path, key: str, value: float) -> None:
    """Keep a figure for the next time; a cache that cannot be written is no error."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_file(cache / FILE, json.dumps({**_read(cache), key: value}, indent=1).encode())
    except OSError:
        return


def _read(cache: Path) -> dict[str, float]:
    try:
        document = json.loads((cache / FILE).read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
