"""captioning demo: what it refuses; tests/reports/test_demo_page.py has the page itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_a_port_out_of_range_is_refused(command: Command) -> None:
    for port in ("0", "65536"):
        assert "--port" in command("demo", "--model", "nowhere", "--port", port).message


def test_without_gradio_the_extra_is_named(command: Command, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'captioning[demo]'" in command("demo", "--model", bundle).message
