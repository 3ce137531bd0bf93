"""A JSON file is read as the type that its reader expects, or refused with one message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from captioning.errors import InputError
from captioning.json_files import Finite, read_any_json, read_typed


class Sizes(msgspec.Struct):
    """What a typed file holds in these tests."""

    width: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    names: list[str] = []


def written(folder: Path, text: str) -> Path:
    path = folder / "sizes.json"
    path.write_text(text)
    return path


def test_a_typed_file_is_read_as_its_type(tmp_path: Path) -> None:
    path = written(tmp_path, '{"width": 3, "names": ["a"], "of a later version": 1}')
    assert read_typed(path, Sizes) == Sizes(3, ["a"])


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"width": "3"}', '{"width": 3.5}', '{"width": true}', f'{{"width": {2**63}}}', '{"width": 0}']
)
def test_another_type_or_range_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"sizes\.json is damaged, or of another kind: "):
        read_typed(written(tmp_path, text), Sizes)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "true", '"1"', f"{10**400}"])
def test_a_number_that_must_be_finite_is_finite(tmp_path: Path, number: str) -> None:
    with pytest.raises(InputError, match=r"sizes\.json is damaged, or of another kind: "):
        read_typed(written(tmp_path, f'{{"loss": {number}}}'), dict[str, Finite])


def test_finite_numbers_are_read_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": 1.7976931348623157e308, "b": -0.0, "c": 3}')
    assert read_typed(path, dict[str, Finite]) == {"a": 1.7976931348623157e308, "b": 0, "c": 3}


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert read_typed(written(tmp_path, f'{{"a": {"[" * 62}1{"]" * 62}}}'), dict[str, Any])
    for depth in (100, 900, 100_000):
        with pytest.raises(InputError, match=r"nested more than 64 deep|not a JSON text"):
            read_typed(written(tmp_path, f'{{"a": {"[" * depth}1{"]" * depth}}}'), dict[str, Any])


@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "\\ud800x", "\\udc00\\ud800", "\\ud800\\u0041", "\\\\\\ud800"])
def test_half_a_character_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"sizes.json: .{6} is half a character"):
        read_any_json(written(tmp_path, f'["{text}"]'))


@pytest.mark.parametrize("text", ["\\ud83d\\ude00", "\\\\ud800", "\\u00fc", "😀"])
def test_whole_characters_are_read(tmp_path: Path, text: str) -> None:
    (found,) = read_any_json(written(tmp_path, f'["{text}"]'))
    assert found in ("😀", "\\ud800", "ü")


def test_a_message_echoes_no_long_or_unprintable_key(tmp_path: Path) -> None:
    key = "\\u001b[31m" + "a" * 100_000
    with pytest.raises(InputError, match="1 keys are repeated") as refused:
        read_any_json(written(tmp_path, f'{{"{key}": 1, "{key}": 2}}'))
    assert len(str(refused.value)) < len(str(tmp_path)) + 200
    assert str(refused.value).isprintable()
