"""Thousands of damaged checkpoints: each is refused with one message, or makes the model that it was made of."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from fuzzing import EXTREME, NUM_MUTATIONS, changed_bytes, changed_json, fuzz

from captioning.model.checkpoint import check_digest, read_checkpoint
from captioning.training.checkpoints import read_model, write_with_digest

pytestmark = pytest.mark.slow
CHECKPOINT = Path(__file__).parents[1] / "fixtures" / "cached" / "last.ckpt"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint with a digest."""
    path = tmp_path / "last.ckpt"
    write_with_digest(path, lambda new: shutil.copy(CHECKPOINT, new))
    return path


@pytest.mark.parametrize("digest", [True, False])
def test_each_damaged_checkpoint_is_refused(checkpoint: Path, digest: bool) -> None:
    content, weights = checkpoint.read_bytes(), read_checkpoint(checkpoint)["state_dict"]
    if not digest:  # as older versions wrote it
        checkpoint.with_name("last.ckpt.sha256").unlink()

    def mutate(drawn: random.Random) -> str:
        changed, what = content, ""
        while changed == content:  # a zero may be overwritten by a zero
            changed, what = changed_bytes(content, drawn)
        checkpoint.write_bytes(changed)
        return what

    def read() -> None:
        assert check_digest(checkpoint) == digest
        found = read_checkpoint(checkpoint)["state_dict"]
        assert all(torch.equal(found[name], weight) for name, weight in weights.items())

    counts = fuzz(f"checkpoint, digest {digest}", mutate, read)
    assert counts["accepted"] <= (0 if digest else NUM_MUTATIONS // 4)  # bytes between the entries of a zip say nothing


def test_changed_values_are_refused_or_make_a_model_with_the_same_weights(checkpoint: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    _, plain = read_model(checkpoint)
    weights = plain["state_dict"]

    def mutate(drawn: random.Random) -> str:
        if drawn.random() < 0.3:
            key, value = drawn.choice(list(saved)), drawn.choice(EXTREME)
            changed, what = {**saved, key: value}, f"{key} is {str(value)[:60]}"
        else:
            text, what = changed_json(saved["captioning"], drawn)
            changed = {**saved, "captioning": json.loads(text)}
        write_with_digest(checkpoint, lambda new: torch.save(changed, new))
        return what

    def read() -> None:
        captioner, _ = read_model(checkpoint)
        own = captioner.state_dict()
        assert all(torch.equal(own[name.removeprefix("model.")], value) for name, value in weights.items())

    fuzz("values of a checkpoint", mutate, read)


def test_no_class_of_a_checkpoint_is_built(checkpoint: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (tmp_path / "hacked",)

    def mutate(drawn: random.Random) -> str:
        data = pickle.dumps({"state_dict": {}, "x": Evil()}, protocol=drawn.choice((2, 3, 4, 5)))
        content, what = (data, "whole") if drawn.random() < 0.3 else changed_bytes(data, drawn)
        with zipfile.ZipFile(CHECKPOINT) as original, zipfile.ZipFile(checkpoint, "w") as archive:
            for entry in original.infolist():
                archive.writestr(entry, content if entry.filename.endswith("data.pkl") else original.read(entry))
        write_with_digest(checkpoint, lambda new: shutil.copy(checkpoint, new))
        return what

    def read() -> None:
        read_model(checkpoint)

    counts = fuzz("code in a checkpoint", mutate, read)
    assert counts["accepted"] == 0
    assert not (tmp_path / "hacked").exists()
