"""A YAML file is read as the type that its reader expects, or refused with one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.yaml_files import MAX_SIZE, read_yaml


def test_a_yaml_file_is_read_as_its_type(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- seed=1\n- 'data.root=a: b'\n- ü\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml", list[str]) == ["seed=1", "data.root=a: b", "ü"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "Expected `array`, got `object`"),
        ("[1]", "Expected `str`, got `int`"),
        ("[", "not a YAML text"),
        ("[a]\n---\n[b]", "not a YAML text"),
        ("- !!python/name:os.system ''", "not a YAML text"),
        ("- !!timestamp 'x'", "not a YAML text"),
        ("- !!int ''", "not a YAML text"),
        ("- 2001-99-99", "not a YAML text"),
        (f"- {'9' * 5000}", "not a YAML text"),
        ("- &a x\n- *a", r"a.yaml:2: an alias, expected plain values"),
        ("- " + "[" * 90_000, r"a.yaml:1: nesting deeper than 64"),
        ("- " + "a" * MAX_SIZE, "more than 100,000 bytes"),
        ("- \x1b[31m", "not a YAML text"),
    ],
)
def test_another_content_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_yaml(tmp_path / "a.yaml", list[str])
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < len(str(tmp_path)) + 250


def test_a_billion_laughs_take_no_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))]
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="an alias"):
        read_yaml(tmp_path / "a.yaml", dict[str, list[str]])


def test_a_missing_file_or_other_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "nowhere.yaml", list[str])
    (tmp_path / "a.yaml").write_bytes(b"- \xff")
    with pytest.raises(InputError, match="not a YAML text"):
        read_yaml(tmp_path / "a.yaml", list[str])
