"""Which checkpoints a run keeps."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from captioning.training.saving import Checkpoints, may_save


class Run:
    """Stands for a trainer: writes empty files in place of checkpoints."""

    world_size, is_global_zero, ckpt_path, global_step = 1, True, None, 7

    def __init__(self) -> None:
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.current_epoch = -1
        self.strategy = SimpleNamespace(remove_checkpoint=lambda path: path.unlink())
        self.fit_loop = SimpleNamespace(_restarting=True)
        self.saved: list[str] = []

    def save_checkpoint(self, path: Path, *, weights_only: bool) -> None:
        assert not weights_only
        path.parent.mkdir(exist_ok=True)
        path.touch()
        self.saved.append(path.name)

    def epoch(self, callback: Checkpoints, score: float | None, perplexity: float = 5.0) -> None:
        self.current_epoch += 1
        if score is not None:
            self.callback_metrics = {"val/CIDEr": torch.tensor(score), "val/perplexity": torch.tensor(perplexity)}
            callback._has_validated = True
        callback.on_train_epoch_end(self, None)  # type: ignore[arg-type]


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def of_scores(folder: Path, *scores: tuple[float, float], **settings: Any) -> Checkpoints:
    callback, run = Checkpoints(folder, monitor="val/CIDEr", **settings), Run()
    for score, perplexity in scores:
        run.epoch(callback, score, perplexity)
    return callback


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.0, 9.0), (0.0, 8.0), (0.0, 8.5)], 1),
        ([(0.0, 9.0), (0.0, 9.0)], 0),
        ([(0.1, 9.0), (0.2, 99.0), (0.1, 1.0)], 1),
        ([(math.nan, 1.0), (0.0, 9.0), (math.nan, 0.5)], 1),
        ([(0.0, math.nan), (0.0, 9.0)], 1),
    ],
)
def test_equal_scores_are_ordered_by_perplexity(tmp_path: Path, scores: list[tuple[float, float]], best: int) -> None:
    callback = of_scores(tmp_path / "c", *scores)
    assert Path(callback.best_model_path).name == f"epoch_{best}.ckpt"
    assert kept(tmp_path / "c") == {f"epoch_{best}.ckpt", "last.ckpt"}


def test_the_lowest_is_best_by_mode_min_and_several_can_be_kept(tmp_path: Path) -> None:
    of_scores(tmp_path / "c", (3.0, 1.0), (2.0, 1.0), (4.0, 1.0), mode="min", save_top_k=2)
    assert kept(tmp_path / "c") == {"epoch_0.ckpt", "epoch_1.ckpt", "last.ckpt"}
    of_scores(tmp_path / "all", (3.0, 1.0), (2.0, 1.0), (4.0, 1.0), save_top_k=-1)
    assert len(kept(tmp_path / "all")) == 4


def test_last_is_written_after_every_epoch_and_after_the_best(tmp_path: Path) -> None:
    callback, run = Checkpoints(tmp_path / "c", monitor="val/CIDEr"), Run()
    run.epoch(callback, None)
    run.epoch(callback, 0.5)
    run.epoch(callback, None)
    assert run.saved == ["last.ckpt", "epoch_1.ckpt", "last.ckpt", "last.ckpt"]


@pytest.mark.parametrize(("minutes", "saved"), [(0.0, 1), (10.0, 0), (None, 0)])
def test_last_is_written_every_some_minutes_within_an_epoch(tmp_path: Path, minutes: float | None, saved: int) -> None:
    callback, run = Checkpoints(tmp_path / "c", monitor="val/CIDEr", every_minutes=minutes), Run()
    run.accumulate_grad_batches = 2  # type: ignore[attr-defined]
    callback.on_train_start(run, None)  # type: ignore[arg-type]
    for batch in (0, 1, 2):
        callback.on_train_batch_start(run, None, None, batch)  # type: ignore[arg-type]
    assert len(run.saved) == saved


def test_accumulated_gradients_are_not_lost() -> None:
    run: Any = SimpleNamespace(accumulate_grad_batches=3)
    assert [batch for batch in range(8) if may_save(run, batch)] == [3, 6]
