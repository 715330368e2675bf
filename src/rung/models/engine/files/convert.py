"""From a GGUF file to the OpenVINO graph that the engine computes: made once, in a process of its own.

openvino-genai's reader is native code that trusts a file: a damaged one can crash it. Here that ends the child, and the
parent has an error to raise.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rung.core.errors import InputError, ModelError
from rung.core.system.extras import require
from rung.core.system.files import READ_ONLY, cache_errors
from rung.models.engine.files.gguf import recode

GRAPH = "openvino_model.xml"
CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    "from pathlib import Path\n"
    "from rung.models.engine.files.convert import write\n"
    "write(Path(sys.argv[2]), Path(sys.argv[3]))"
)
REFUSED = 3
"""Exit code of the child for a file that the reader refuses; its last line on stderr says why."""


def convert(gguf: Path, folder: Path) -> Path:
    """The OpenVINO graph of a GGUF file and, beside it, the tokenizer, made once and kept in ``folder``; returns the
    .xml file.

    Raises InputError when openvino-genai cannot read the file (it reads llama, qwen2 and qwen3 architectures),
    ModelError when there is no room for the graph.
    """
    target = folder / GRAPH
    if target.is_file() and target.with_suffix(".bin").is_file():
        return target
    require("openvino_genai", "embedded", "the embedded engine")
    staging = _folder_beside(folder)
    if staging.parent != folder.parent:  # a cache that may only be read: this process keeps a graph of its own
        atexit.register(shutil.rmtree, staging, ignore_errors=True)
        _run_child(gguf, staging)
        return staging / GRAPH
    try:
        _run_child(gguf, staging)
        with cache_errors(folder.parent):
            try:
                staging.rename(folder)
            except OSError:
                if not target.is_file():  # somebody else finished first otherwise
                    shutil.rmtree(folder, ignore_errors=True)
                    staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _folder_beside(folder: Path) -> Path:
    """A new folder beside ``folder``, or among the temporary ones where that may not be written to."""
    with cache_errors(folder.parent):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            return Path(tempfile.mkdtemp(prefix="rung-model-"))


def _run_child(gguf: Path, staging: Path) -> None:
    command = [sys.executable, "-c", CHILD, json.dumps(sys.path), str(gguf), str(staging)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if (staging / GRAPH).is_file() and done.returncode == 0:
        return
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode == REFUSED or done.returncode < 0:
        why = lines[-1] if done.returncode == REFUSED and lines else f"its reader crashed (signal {-done.returncode})"
        raise InputError(
            f"openvino-genai cannot read it: {why}",
            remedy="expected a whole GGUF file of a llama, qwen2 or qwen3 model; for others use transformers:PATH",
            file=gguf,
        )
    free = shutil.disk_usage(staging).free
    raise ModelError(
        f"the model could not be converted: {lines[-1] if lines else f'exit code {done.returncode}'}",
        remedy=f"{free / 1e6:,.0f} MB are free at {staging.parent}; it needs about {2 * gguf.stat().st_size / 1e6:,.0f} MB: "
        "free some disk space, or name another folder: RUNG_CACHE=/path/on/another/disk",
    )


def write(gguf: Path, folder: Path) -> None:
    """What the child does: the graph of ``gguf`` into ``folder``. Ends the process with REFUSED and a line for a bad
    file."""
    import openvino_genai as genai

    source = folder / "model.gguf"
    try:
        if not recode(gguf, source):
            try:
                os.link(gguf.resolve(), source)
            except OSError:
                shutil.copyfile(gguf, source)
        # Kept beside the graph: from there it is read in a tenth of the time.
        genai.Tokenizer(source, enable_save_ov_model=True).encode("a")
        limits = genai.SchedulerConfig()
        limits.num_kv_blocks = 1
        genai.ContinuousBatchingPipeline(source, limits, "CPU", {"enable_save_ov_model": True})
    except OSError:
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if isinstance(error, IndexError):  # its reader looks a field up that the file has not
            said = f"a field is missing ({said}), such as general.file_type"
        sys.stderr.write(f"\n{said}\n")
        sys.stderr.flush()
        os._exit(REFUSED)
    source.unlink()
    sys.stderr.flush()
    os._exit(0)
