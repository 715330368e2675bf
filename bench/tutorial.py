"""Run the tutorial as a reader would and write what it printed below each command.

    python bench/tutorial.py docs/tutorial.md

Console blocks hold lines that begin with "$ "; the lines below them are replaced. A YAML block whose first line is
``# file: PATH`` is written there first. Outputs longer than 40 lines are cut with a line that says so.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST = 40


def files(page: str) -> dict[str, str]:
    """The files that the page tells its reader to write."""
    return dict(re.findall(r"^```yaml\n# file: (\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL))


def commands(page: str) -> list[str]:
    return re.findall(r"^\$ (.+)$", page, re.MULTILINE)


def lay(page: Path, folder: Path) -> None:
    """Put the files of the page, and its data, where its commands look for them."""
    for name, text in files(page.read_text(encoding="utf-8")).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        for data in page.with_suffix("").glob("*.csv"):
            shutil.copy(data, (folder / name).parent)


def say(command: str, folder: Path) -> str:
    words = [sys.executable, "-m", "rung", *shlex.split(command)[1:]]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"}, check=False
    )
    print(f"$ {command}\n{done.stdout}{done.stderr}", flush=True)
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}")
    lines = done.stdout.rstrip().splitlines()
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], f"... ({len(lines) - LONGEST} more lines)"]
    return "\n".join(line.rstrip() for line in lines)


def main() -> None:
    page = Path(sys.argv[1])
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        lay(page, Path(place))

        def fill(block: re.Match[str]) -> str:
            parts = [f"$ {command}\n{say(command, Path(place))}".rstrip() for command in commands(block[0])]
            return "```console\n" + "\n\n".join(parts) + "\n```"

        page.write_text(re.sub(r"^```console\n.*?^```", fill, text, flags=re.MULTILINE | re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
