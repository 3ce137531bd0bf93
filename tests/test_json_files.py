"""A JSON file is read as the type that its reader expects, or refused with one message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from captioning.errors import InputError
from captioning.json_files import read_typed


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
