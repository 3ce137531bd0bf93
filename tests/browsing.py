"""A real browser for tests of pages: Chromium, through the WebDriver protocol."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
in_browser = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="Chromium or chromedriver is not installed")
ENTER, ESCAPE, TAB, RIGHT, DOWN, LEFT = "\ue007", "\ue00c", "\ue004", "\ue014", "\ue015", "\ue012"


class Browser:
    """Chromium, through the WebDriver protocol."""

    def __init__(self, port: int, folder: Path) -> None:
        self.base = f"http://127.0.0.1:{port}/session"
        arguments = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1200,900",
            f"--user-data-dir={folder}",
        )
        options = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.base += "/" + self.call("", {"capabilities": {"alwaysMatch": options}})["sessionId"]

    def call(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        request = urllib.request.Request(
            self.base + path, None if body is None else json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def js(self, script: str) -> Any:
        return self.call("/execute/sync", {"script": script, "args": []})

    def press(self, *keys: str) -> None:
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, selector: str) -> None:
        self.js(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
        element = self.call("/element", {"using": "css selector", "value": selector})
        move = {"type": "pointerMove", "origin": element, "x": 0, "y": 0, "duration": 0}
        self.call("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def log(self, kind: str) -> list[Any]:
        return [entry["message"] for entry in self.call("/se/log", {"type": kind})]

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        element = next(iter(self.call("/element", {"using": "css selector", "value": selector}).values()))
        self.call(f"/element/{element}/value", {"text": str(path)})

    def screenshot(self, path: Path) -> None:
        """Write what is shown as PNG."""
        path.write_bytes(base64.b64decode(self.call("/screenshot", None, "GET")))


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """Start a browser, which keeps its files in `folder`."""
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(int(found[1]) for line in process.stdout if (found := re.search(r"on port (\d+)\.", line)))
            browser = Browser(port, folder)
            yield browser
            browser.call("", None, "DELETE")
        finally:
            process.terminate()
