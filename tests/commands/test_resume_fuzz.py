"""Hundreds of checkpoints with extreme values and a right digest: training resumes, or refuses in one message."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import EXTREME

from captioning.training.checkpoints import write_with_digest

pytestmark = pytest.mark.slow
NUM_MUTATIONS = int(os.environ.get("CAPTIONING_FUZZ", "100"))
PARTS = ("loops", "callbacks", "epoch", "settings", "captioning", "optimizer_states", "lr_schedulers")
TENSORS = (
    torch.zeros(()),
    torch.tensor(float("nan")),
    torch.zeros(2, 3),
    torch.zeros(10**6),
    torch.zeros(3, dtype=torch.int64),
    torch.zeros(3, dtype=torch.complex64),
    torch.zeros(3).to_sparse(),
)


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every key of every mapping and list of a checkpoint."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in items for place in ((content, key), *places(value))]


def test_training_resumes_or_refuses(train: Callable[..., Any], run_folder: Path, tmp_path: Path) -> None:
    folder, checkpoint = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"
    original = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
    drawn, statuses = random.Random(1), []
    for number in range(NUM_MUTATIONS):
        saved = deepcopy(original)
        top = drawn.choice(PARTS)
        container, key = drawn.choice([(saved, top), *places(saved[top])])
        value = drawn.choice((*EXTREME, *TENSORS))
        container[key] = value
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run_folder / "checkpoints", checkpoint.parent)  # the best one is found beside it
        write_with_digest(checkpoint, lambda new, saved=saved: torch.save(saved, new))  # type: ignore[misc]
        ran = train(folder, "finetuning=whole", "trainer.max_epochs=3", "resume=auto")
        statuses.append(ran.status)
        what = f"mutation {number}: {top} ... {key!r} is {str(value)[:60]}"
        assert ran.status in (0, 1), what
        assert "Traceback" not in ran.err + ran.out, f"{what}: {(ran.err + ran.out)[-800:]}"
    assert {0, 1} == set(statuses)
    print(f"\n{statuses.count(1)} refused, {statuses.count(0)} resumed")
