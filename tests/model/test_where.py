"""Where a model is: a bundle, the folder of a run, finished or not, or a checkpoint."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from captioning import Aligner, Captioner
from captioning.errors import InputError
from captioning.model.load import load_model
from captioning.model.where import locate

FIXTURES = Path(__file__).parents[1] / "fixtures"
KIND = FIXTURES / "finetuned"


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run with a bundle, and a checkpoint that is not used."""
    shutil.copytree(KIND / "bundle", tmp_path / "run" / "bundle")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"broken")
    return tmp_path / "run"


def unfinished(folder: Path, callbacks: object) -> Path:
    """A run without a bundle, whose last checkpoint has these states of callbacks."""
    saved = torch.load(KIND / "last.ckpt", weights_only=True)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({**saved, "callbacks": callbacks}, folder / "checkpoints" / "last.ckpt")
    shutil.copyfile(KIND / "last.ckpt", folder / "checkpoints" / "epoch_3.ckpt")
    return folder


def same(one: Captioner, other: Captioner) -> bool:
    return all(a.equal(b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_bundle_and_a_finished_run_are_the_same_model(finished: Path) -> None:
    assert locate(finished) == finished / "bundle"
    assert locate(finished / "bundle") == finished / "bundle"
    assert same(Captioner.from_pretrained(finished), Captioner.from_pretrained(str(KIND / "bundle")))


def test_a_checkpoint_is_a_model_in_evaluation_mode() -> None:
    model = Captioner.from_pretrained(KIND / "last.ckpt")
    saved = torch.load(KIND / "last.ckpt", weights_only=True)["state_dict"]
    assert not model.training
    assert model.decoder.head.weight.equal(saved["decoder.head.weight"])
    assert same(load_model(KIND / "last.ckpt"), model)


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ({"Checkpoints": {"monitor": "val/CIDEr", "best": [{"file": "epoch_3.ckpt", "score": 1.0}]}}, "epoch_3.ckpt"),
        ({"Checkpoints": {"best": [{"file": "../../epoch_3.ckpt"}]}}, "epoch_3.ckpt"),
        ({"Checkpoints": {"best": [{"file": "epoch_9.ckpt"}, {"file": "epoch_3.ckpt"}]}}, "epoch_3.ckpt"),
        ({"Checkpoints": {"best": [{"file": ".."}, {"file": 3}, 3, {}]}}, "last.ckpt"),
        ({"Checkpoints": {"best": []}, "Timer": {}}, "last.ckpt"),
        ([], "last.ckpt"),
    ],
)
def test_an_unfinished_run_is_its_best_checkpoint_else_its_last(
    callbacks: object, expected: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = unfinished(tmp_path / "run", callbacks)
    with caplog.at_level(logging.WARNING):
        assert locate(run) == run / "checkpoints" / expected
    assert f"holds no bundle yet; its checkpoint {expected} is used" in caplog.text


def test_what_is_no_model_is_explained(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.ckpt").write_bytes(b"PK")
    for where, message in (
        (tmp_path / "nowhere", "nowhere does not exist; expected a bundle, the folder of a run, or"),
        (KIND / "bundle" / "config.json", "config.json is a file; expected a bundle"),
        (tmp_path / "empty", "empty is no bundle, and no run that has saved a checkpoint"),
        (tmp_path, "holds 1 runs; name one of them, such as .*/run"),
        (tmp_path / "broken.ckpt", "broken.ckpt is not a checkpoint of captioning"),
        (finished / "checkpoints" / "last.ckpt", "last.ckpt is not a checkpoint of captioning"),
    ):
        with pytest.raises(InputError, match=message):
            Captioner.from_pretrained(where)


def test_a_checkpoint_of_another_kind_of_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"last\.ckpt holds a decoder, expected a matcher"):
        Aligner.from_pretrained(KIND / "last.ckpt")
