"""Headless Chromium, driven over a pipe by its DevTools protocol (chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--window-size=1000,900",
)


def chromium() -> str | None:
    """The program, where it is installed."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


class Browser:
    """One page of a new browser with a profile of its own. ``close`` ends every process of it."""

    def __init__(self, program: str, profile: Path) -> None:
        asked, self._asks = os.pipe()
        self._hears, heard = os.pipe()

        def pipes() -> None:  # the browser reads commands from 3 and answers on 4
            read, write = os.dup(asked), os.dup(heard)
            while min(read, write) < 5:
                read, write = os.dup(read), os.dup(write)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=pipes,
            start_new_session=True,
        )
        os.close(asked)
        os.close(heard)
        self._waiting = b""
        self._number = 0
        self._session = ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def call(self, method: str, **params: Any) -> Any:
        """What the command gives back; events in between are left alone."""
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._asks, json.dumps(asked).encode() + b"\0")
        while True:
            line, found, rest = self._waiting.partition(b"\0")
            if not found:
                more = os.read(self._hears, 1 << 16)
                if not more:
                    raise AssertionError(f"the browser ended with {self._process.wait()} during {method}")
                self._waiting += more
                continue
            self._waiting = rest
            said = json.loads(line)
            if said.get("id") == self._number:
                if "error" in said:
                    raise AssertionError(f"{method}: {said['error']}")
                return said["result"]

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise AssertionError(f"{script}: {said['exceptionDetails']}")
        return said["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> None:
        """Until the expression is true in the page; asked again while the page is changing."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = self.run(f"!!({script})")
            except AssertionError:
                found = None
            if found:
                return
            if time.monotonic() > end:
                raise AssertionError(f"never true: {script}; the page reads: {self.run('document.body.innerText')!r}")
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """Put text where the cursor is, as a keyboard would, and press Enter."""
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    def close(self) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        finally:
            os.close(self._asks)
            os.close(self._hears)
