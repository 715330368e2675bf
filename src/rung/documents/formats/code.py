"""Source code as text with its language; Python's own docstring is the title."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rung.core.parts.problem import Problems
from rung.core.types import Document
from rung.documents.formats.text import noted, text_of
from rung.documents.source import Source

LANGUAGES: dict[str, str] = {
    ".py": "python", ".pyi": "python", ".js": "javascript", ".mjs": "javascript", ".jsx": "javascript", ".ts": "typescript",
    ".tsx": "typescript", ".java": "java", ".kt": "kotlin", ".scala": "scala", ".go": "go", ".rs": "rust", ".c": "c",
    ".h": "c", ".cc": "c++", ".cpp": "c++", ".hpp": "c++", ".cs": "c#", ".swift": "swift", ".rb": "ruby", ".php": "php",
    ".pl": "perl", ".lua": "lua", ".r": "r", ".jl": "julia", ".sh": "shell", ".bash": "shell", ".ps1": "powershell",
    ".sql": "sql", ".css": "css", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".ini": "ini", ".hs": "haskell",
    ".ex": "elixir", ".erl": "erlang", ".clj": "clojure", ".dart": "dart", ".m": "objective-c", ".proto": "protobuf",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CodeReader:
    """One document a file. ``language`` is known by the suffix; Python that does not parse is told and read all the
    same."""

    suffixes: tuple[str, ...] = tuple(LANGUAGES)

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        found = text_of(source, problems)
        names = [suffix.lower() for suffix in source.path.suffixes]
        language = next((LANGUAGES[name] for name in reversed(names) if name in LANGUAGES), "text")
        metadata: dict[str, Any] = {"language": language, **noted(found)}
        if language == "python":
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of other people's escapes
                    said = ast.get_docstring(ast.parse(found.text))
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                line = error.lineno if isinstance(error, SyntaxError) else None
                problems.add(
                    f"is not valid Python: {error}", file=source.id, line=line, level="warning", code="not-python"
                )
                said = None
            if said and (first := said.strip().partition("\n")[0].strip()):
                metadata["title"] = first
        yield Document(source.id, found.text, metadata)


CODE = CodeReader()
