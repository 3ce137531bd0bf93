"""A run's checkpoints: what is read of a file, and what a model may go on from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning.errors import InputError
from captioning.model.checkpoint import check_digest, read_checkpoint
from captioning.text import train_words
from captioning.training.checkpoints import CheckpointFiles, check_same_model

OWN = {
    "config": {
        "encoder": {"model": "a", "weights": "one.safetensors"},
        "decoder": {"hidden_size": 12, "recurrent": {"num_layers": 1}},
    },
    "tokenizer": train_words(["red blue"], min_count=1).to_json(),
    "transform": {"size": [8, 8]},
}


def with_decoder(**decoder: Any) -> dict[str, Any]:
    return {**OWN, "config": {**OWN["config"], "decoder": {**OWN["config"]["decoder"], **decoder}}}  # type: ignore[dict-item]


def test_a_model_resumes_from_its_own_weights_wherever_its_encoder_s_came_from() -> None:
    moved = {**OWN, "config": {**OWN["config"], "encoder": {"model": "a", "weights": "two.safetensors"}}}  # type: ignore[dict-item]
    check_same_model(OWN, OWN)
    check_same_model(moved, OWN)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (with_decoder(hidden_size=13), r"another model: decoder.hidden_size=13 \(here 12\); resume with"),
        (with_decoder(recurrent={"num_layers": 2}), r": decoder.recurrent.num_layers=2 \(here 1\)"),
        (with_decoder(dropout=0.5), r": decoder.dropout=0.5 \(here None\)"),
        ({**OWN, "transform": {"size": [9, 8]}}, r": transform.size=\[9, 8\] \(here \[8, 8\]\)"),
        (
            {**OWN, "tokenizer": train_words(["blue green"], min_count=1).to_json()},
            "another vocabulary; resume with that run's own",
        ),
        (None, "captioning did not write this checkpoint"),
        ({}, "captioning did not write this checkpoint"),
        ({"config": None}, "captioning did not write this checkpoint"),
    ],
)
def test_another_model_and_another_vocabulary_of_the_same_size_are_refused(saved: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_same_model(saved, OWN)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("evil"),)


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "epoch": 0, "global_step": 1, "captioning": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="is not a checkpoint of captioning"):
        read_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "evil").exists()


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*a\.ckpt; a run keeps them in its checkpoints/"):
        read_checkpoint(tmp_path / "a.ckpt")
    torch.save({"captioning": {"config": {}}}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"a\.ckpt is not a checkpoint of captioning"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_checkpoint_comes_back_as_plain_values_and_tensors(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"encoder": {}, "decoder": {}, "search": {}}
    saved = {"state_dict": {"w": torch.ones(2)}, "epoch": 3, "global_step": 7, "captioning": {"config": parts}}
    torch.save(saved, tmp_path / "a.ckpt")
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert (found["epoch"], found["captioning"]) == (3, {"config": parts})


# ---- files ------------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "state_dict": {"w": torch.arange(500.0)},
    "epoch": 3,
    "global_step": 7,
    "captioning": {"config": {"encoder": {}, "decoder": {}, "search": {}}},
}


def test_a_digest_is_what_sha256sum_reads(tmp_path: Path) -> None:
    CheckpointFiles().save_checkpoint(PLAIN, tmp_path / "a.ckpt")
    assert {path.name for path in tmp_path.iterdir()} == {"a.ckpt", "a.ckpt.sha256"}
    subprocess.run(["sha256sum", "--check", "--strict", "a.ckpt.sha256"], cwd=tmp_path, check=True)
    assert check_digest(tmp_path / "a.ckpt")
    CheckpointFiles().remove_checkpoint(tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_digest", [True, False])
def test_every_flipped_byte_of_the_weights_is_found(tmp_path: Path, has_digest: bool) -> None:
    path = tmp_path / "a.ckpt"
    CheckpointFiles().save_checkpoint(PLAIN, path)
    if not has_digest:  # as earlier versions wrote it
        Path(f"{path}.sha256").unlink()
        assert not check_digest(path)
    whole = path.read_bytes()
    start = whole.index(torch.arange(500.0).numpy().tobytes())
    for place in range(start, start + 2000, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match="is damaged, or was changed"):
            read_checkpoint(path)


@pytest.mark.parametrize("at", ["checkpoint", "digest", "both digests"])
def test_a_kill_between_the_two_files_leaves_a_checkpoint_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    path = tmp_path / "a.ckpt"
    CheckpointFiles().save_checkpoint(PLAIN, path)
    renamed: list[str] = []

    def until(self: Path, target: Path) -> Path:
        renamed.append(target.name)
        if (at, renamed) in [
            ("both digests", ["a.ckpt.sha256"]),
            ("checkpoint", ["a.ckpt.sha256", "a.ckpt"]),
            ("digest", ["a.ckpt.sha256", "a.ckpt", "a.ckpt.sha256"]),
        ]:
            raise KeyboardInterrupt
        return self.rename(target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", until)
        CheckpointFiles().save_checkpoint({**PLAIN, "epoch": 4}, path)
    assert read_checkpoint(path)["epoch"] == (4 if at == "digest" else 3)
    CheckpointFiles().save_checkpoint({**PLAIN, "epoch": 5}, path)
    assert read_checkpoint(path)["epoch"] == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no checkpoint at"), (b"", "is not a checkpoint"), (b"PK\x03\x04" + b"a" * 99, "is not a checkpoint")],
)
def test_what_is_no_checkpoint_has_no_digest_either(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        check_digest(tmp_path / "a.ckpt")


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ckpt"
    CheckpointFiles().save_checkpoint(PLAIN, path)

    def full(content: Any, new: Path) -> None:
        new.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"a\.ckpt cannot be written: No space left"):
        patch.setattr(torch, "save", full)
        CheckpointFiles().save_checkpoint({**PLAIN, "epoch": 4}, path)
    assert read_checkpoint(path)["epoch"] == 3
    assert len(list(tmp_path.iterdir())) == 2
