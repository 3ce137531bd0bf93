"""What a run shows in Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from captioning.data.example import CaptionedImage
from captioning.evaluation.predictions import Evaluation, Prediction
from captioning.metrics import Scores
from captioning.training.caption_table import CaptionTable
from captioning.training.loggers import SafeLogger

IDS = (7, 3, 5)


class Recorder(WandbLogger):
    """A logger that keeps its tables and starts no run."""

    def __init__(self) -> None:
        self.tables: list[tuple[str, list[str], list[list[Any]]]] = []

    def log_table(self, key: str, columns: Any = None, data: Any = None, *_: Any, **__: Any) -> None:
        self.tables.append((key, columns, data))


@pytest.fixture
def images(tmp_path: Path) -> list[CaptionedImage]:
    for n in IDS:
        Image.new("RGB", (13, 11), (20 * n, 0, 0)).save(tmp_path / f"{n}.png")
    return [CaptionedImage(n, tmp_path / f"{n}.png", (f"{n} balls", f"balls: {n}")) for n in IDS]


def validated(images: list[CaptionedImage], *loggers: Any, num_images: int = 16, rank: int = 0) -> None:
    """End a validation of `images`."""
    predictions = tuple(Prediction(n, f"about {n}", -1.5, True, 2.0, 3, 0) for n in IDS)
    evaluation = Evaluation(predictions, Scores({"CIDEr": 0.5}, {n: {"CIDEr": n / 10} for n in IDS}), 0.5, 1.5, 4.0, {})
    data = SimpleNamespace(split="val", splits=SimpleNamespace(images=lambda split: images))
    trainer: Any = SimpleNamespace(
        loggers=[SafeLogger(lambda own=own: own, "logger") for own in loggers],
        datamodule=data,
        is_global_zero=rank == 0,
    )
    module: Any = SimpleNamespace(evaluation=evaluation, monitor="CIDEr")
    CaptionTable(num_images=num_images).on_validation_end(trainer, module)


def test_the_first_images_stand_beside_their_captions_and_references(images: list[CaptionedImage]) -> None:
    logger = Recorder()
    validated(images, object(), logger, num_images=2)
    ((key, columns, rows),) = logger.tables
    assert (key, columns) == ("val/captions", ["image_id", "image", "caption", "CIDEr", "references"])
    assert [(row[0], *row[2:]) for row in rows] == [
        ("7", "about 7", 0.7, "7 balls\nballs: 7"),
        ("3", "about 3", 0.3, "3 balls\nballs: 3"),
    ]
    assert all(isinstance(row[1], wandb.Image) for row in rows)
    assert [row[1].image.getpixel((0, 0)) for row in rows] == [(140, 0, 0), (60, 0, 0)]


def test_an_image_that_cannot_be_read_leaves_its_cell_empty_and_a_warning(
    images: list[CaptionedImage], caplog: pytest.LogCaptureFixture
) -> None:
    images[0].path.write_bytes(b"junk")
    images[1].path.unlink()
    logger = Recorder()
    validated(images, logger)
    ((_, _, rows),) = logger.tables
    assert [row[1] is None for row in rows] == [True, True, False]
    (warning,) = caplog.messages
    assert "2 of 3 images are not shown; the first: " in warning
    assert "7.png: not an image" in warning


def test_one_process_shows_them_and_only_to_weights_and_biases(images: list[CaptionedImage]) -> None:
    logger = Recorder()
    validated(images, logger, rank=1)
    validated(images, object())
    assert not logger.tables
