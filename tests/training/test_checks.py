"""What a run reads and writes is checked before its first step."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from captioning.errors import InputError
from captioning.training import checks
from captioning.training.checks import check_data, check_own_code, check_room, check_writable


def data(**splits: list[Any]) -> Any:
    """A data module that only lists images."""
    made: list[str] = []
    return SimpleNamespace(
        split="val",
        splits=SimpleNamespace(name="some", images=splits.__getitem__),
        made=made,
        train_dataloader=lambda: made.append("train"),
        val_dataloader=lambda: made.append("val"),
    )


def image(name: str, *captions: str) -> Any:
    return SimpleNamespace(image_id=name, captions=captions)


def test_both_splits_are_opened() -> None:
    found = data(train=[image("a", "x")], val=[image("b", "y")])
    check_data(found)
    assert found.made == ["train", "val"]


def test_an_empty_split_and_an_image_without_a_caption_are_refused() -> None:
    with pytest.raises(InputError, match="some has no images in the split val"):
        check_data(data(train=[image("a", "x")], val=[]))
    with pytest.raises(InputError, match="some val: 2 images have no caption to score against, the first is 'c'"):
        check_data(data(train=[image("a", "x")], val=[image("b", "y"), image("c"), image("d", " ")]))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written: File exists; choose another folder with output=DIR"):
        check_writable(tmp_path / "file")


def test_room_for_three_checkpoints_and_the_bundle_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(1000, 999, bias=False)  # 3,996,000 bytes of weights, and twice that of Adam's states
    module: Any = SimpleNamespace(model=SimpleNamespace(head=model), finetuning=None, state_dict=model.state_dict)
    Usage = namedtuple("Usage", "free")
    needed = 3 * 3 * 3_996_000 + 3_996_000
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(needed))
    check_room(tmp_path, module)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(needed - 1))
    with pytest.raises(InputError, match=r"need about 0\.0 GB, and 0\.0 GB are free; free some, or choose"):
        check_room(tmp_path, module)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()  # a resumed run replaces it
    check_room(tmp_path, module)


def test_a_part_that_its_bundle_could_not_name_is_refused_at_the_start() -> None:
    parts = {
        "encoder": {"_target_": "captioning.encoders.Blind"},
        "decoder": {"_target_": "captioning.decoders.FC", "recurrent": {"_target_": "torch.nn.modules.rnn.F.relu"}},
        "search": {"_target_": "captioning.search.GreedySearch"},
    }
    with pytest.raises(InputError, match=r"^decoder: 'torch.nn.modules.rnn.F.relu' is no class that may stand here"):
        check_own_code(OmegaConf.create(parts), "decoder")
    torch.manual_seed(0)
