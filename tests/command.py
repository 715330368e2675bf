"""``rung`` as it is typed, in this process: what a new one does, without the seconds that a new one takes to start."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rung.cli.main import main


@dataclass(frozen=True)
class Done:
    """How a command ended, as subprocess.CompletedProcess says it."""

    returncode: int
    stdout: str
    stderr: str


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8", errors="backslashreplace", write_through=True)

    def said(self) -> str:
        return self.bytes.getvalue().decode("utf-8")


def rung(*words: str, folder: Path, **environment: str) -> Done:
    """Type ``rung WORDS`` in ``folder``, with the fake model and a wide page unless ``environment`` says otherwise."""
    out, err = _Stream(), _Stream()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {"COLUMNS": "400", "RUNG_MODEL": "fake:echo", **environment}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["rung", *words])
        for name, stream in (("stdin", io.TextIOWrapper(io.BytesIO())), ("stdout", out), ("stderr", err)):
            patch.setattr(sys, name, stream)
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
    return Done(code if isinstance(code, int) else int(code is not None), out.said(), err.said())
