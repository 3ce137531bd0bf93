"""A run's checkpoints: what is read of a file, and what a model may go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captioning.errors import InputError
from captioning.text import train_words
from captioning.training.checkpoints import check_same_model, read_checkpoint

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


def test_a_model_goes_on_from_its_own_weights_wherever_its_encoder_s_came_from() -> None:
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


def test_what_is_no_checkpoint_is_told_by_its_name(tmp_path: Path) -> None:
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
