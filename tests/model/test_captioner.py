"""The Lightning module: trained, stopped, resumed, validated, on real files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from captioning.data.datasets import CaptionDataModule
from captioning.data.example import CaptionedImage
from captioning.decoders import MRNN
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.model.captioner import Captioner, FineTuning
from captioning.search import GreedySearch
from captioning.text import train_words
from captioning.training.run import quieten_lightning
from captioning.training.schedules import WarmupCosine

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}


class Colours(CaptionDataModule):
    """A square of one colour each, whose captions name it: a caption is determined by its image."""

    data_name = "colours"

    def __init__(self, root: Path, **loading: Any) -> None:
        super().__init__(**loading)
        self.root = root

    def read(self, split: str) -> list[CaptionedImage]:
        images = []
        for n, (name, rgb) in enumerate(COLOURS.items()):
            path = self.root / f"{name}.png"
            if not path.exists():
                picture = Image.new("RGB", (32, 32), (90, 90, 90))
                picture.paste(rgb, (8, 8, 24, 24))
                picture.save(path)
            images.append(CaptionedImage(n, path, (f"a {name} image", f"all of it is {name}")))
        return images


def captioner_for(data: Colours, **settings: Any) -> Captioner:
    torch.manual_seed(3)
    tokenizer = train_words(data.captions("train"), min_count=1)
    encoder = SmallCNN((32, 32), channels=(8, 16))
    decoder = MRNN(
        feature_size=encoder.feature_size,
        vocab_size=len(tokenizer),
        embedding_size=7,
        hidden_size=11,
        multimodal_size=13,
        dropout=0.1,
    )
    data.connect(encoder, tokenizer)
    only_cider = partial(CocoScorer, metrics=("CIDEr",))
    settings = {"finetuning": FineTuning(), "search": GreedySearch(max_length=7), "scorer": only_cider, **settings}
    return Captioner(
        encoder, decoder, tokenizer, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01), **settings
    )


def trainer(folder: Path, epochs: int, **settings: Any) -> pl.Trainer:
    quieten_lightning()
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **settings,
    )


def weights(captioner: Captioner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in captioner.parameters()])


def test_a_caption_that_its_image_determines_is_learnt(tmp_path: Path) -> None:
    data = Colours(tmp_path, batch_size=4, eval_batch_size=3)
    captioner = captioner_for(data)
    trainer(tmp_path, 60, check_val_every_n_epoch=60).fit(captioner, datamodule=data)
    for name in COLOURS:
        assert name in captioner.caption(tmp_path / f"{name}.png").text.split()
    assert captioner.evaluation is not None
    assert [p.image_id for p in captioner.evaluation.predictions] == [0, 1, 2, 3]
    assert captioner.evaluation.scores.corpus["CIDEr"] > 1


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    whole = captioner_for(Colours(tmp_path, batch_size=3))
    trainer(tmp_path, 4, limit_val_batches=0).fit(whole, datamodule=connected(whole, tmp_path))

    first = captioner_for(Colours(tmp_path, batch_size=3))
    stopped = trainer(tmp_path, 2, limit_val_batches=0)
    stopped.fit(first, datamodule=connected(first, tmp_path))
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    second = captioner_for(Colours(tmp_path, batch_size=3))
    torch.manual_seed(99)
    trainer(tmp_path, 4, limit_val_batches=0).fit(
        second, datamodule=connected(second, tmp_path), ckpt_path=tmp_path / "stopped.ckpt", weights_only=True
    )
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(first), weights(whole))


class StopAfter(pl.Callback):
    """Ends a run after some epochs, whatever its length was to be."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_a_schedule_by_the_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": partial(WarmupCosine, warmup_steps=3)}
    whole = captioner_for(Colours(tmp_path, batch_size=3), **settings)
    trainer(tmp_path, 4, limit_val_batches=0).fit(whole, datamodule=connected(whole, tmp_path))

    first = captioner_for(Colours(tmp_path, batch_size=3), **settings)
    stopped = trainer(tmp_path, 4, limit_val_batches=0, callbacks=[StopAfter(2)])
    stopped.fit(first, datamodule=connected(first, tmp_path))
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    second = captioner_for(Colours(tmp_path, batch_size=3), **settings)
    trainer(tmp_path, 4, limit_val_batches=0).fit(
        second, datamodule=connected(second, tmp_path), ckpt_path=tmp_path / "stopped.ckpt", weights_only=True
    )
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(first), weights(whole))


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped(tmp_path: Path, algorithm: str) -> None:
    captioner = captioner_for(Colours(tmp_path, batch_size=4))
    captioner.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)  # a step is the gradient
    before = weights(captioner)
    clip = {"gradient_clip_val": 1e-2, "gradient_clip_algorithm": algorithm}
    trainer(tmp_path, 1, max_steps=1, limit_val_batches=0, **clip).fit(
        captioner, datamodule=connected(captioner, tmp_path)
    )
    step = weights(captioner) - before
    assert step.norm() > 5e-3
    assert (step.norm() if algorithm == "norm" else step.abs().max()) < 1.001e-2


def connected(captioner: Captioner, root: Path) -> Colours:
    data = Colours(root, batch_size=3)
    data.connect(captioner.encoder, captioner.tokenizer)
    return data


def test_a_frozen_encoder_does_not_move_and_a_tuned_one_does_from_its_epoch(tmp_path: Path) -> None:
    for finetuning, epochs, moves in (
        (None, 2, False),
        (FineTuning(from_epoch=2), 2, False),
        (FineTuning(from_epoch=1), 2, True),
    ):
        captioner = captioner_for(Colours(tmp_path, batch_size=3), finetuning=finetuning)
        before = {name: value.clone() for name, value in captioner.encoder.state_dict().items()}
        trainer(tmp_path, epochs, limit_val_batches=0).fit(captioner, datamodule=connected(captioner, tmp_path))
        after = captioner.encoder.state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before) == moves


def test_the_encoder_has_its_own_learning_rate(tmp_path: Path) -> None:
    captioner = captioner_for(Colours(tmp_path), finetuning=FineTuning(learning_rate=1e-5))
    groups = captioner.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == [0.01, 1e-5]
    assert len(captioner_for(Colours(tmp_path), finetuning=None).configure_optimizers().param_groups) == 1


def test_captioning_leaves_the_mode_as_it_was(tmp_path: Path) -> None:
    captioner = captioner_for(data := Colours(tmp_path))
    data.images("val")
    captioner.train()
    captioner.caption(tmp_path / "red.png")
    assert captioner.training
    assert captioner.decoder.training


def test_validation_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    evaluations = []
    for size in (1, 3, 4):
        data = Colours(tmp_path, eval_batch_size=size)
        captioner = captioner_for(data)
        trainer(tmp_path, 1).validate(captioner, datamodule=data, verbose=False)
        assert captioner.evaluation is not None
        evaluations.append(captioner.evaluation)
    for other in evaluations[1:]:
        assert other.scores == evaluations[0].scores
        assert other.loss == pytest.approx(evaluations[0].loss, abs=1e-6)


def test_validation_is_in_full_precision_also_when_training_is_not(tmp_path: Path) -> None:
    evaluations = []
    for precision in ("32-true", "bf16-mixed"):
        data = Colours(tmp_path)
        captioner = captioner_for(data)
        trainer(tmp_path, 1, precision=precision).validate(captioner, datamodule=data, verbose=False)
        evaluations.append(captioner.evaluation)
    assert evaluations[0] is not None
    assert evaluations[0] == evaluations[1]  # bit by bit


def test_fine_tuning_that_begins_late_is_refused_with_several_processes(tmp_path: Path) -> None:
    captioner = captioner_for(Colours(tmp_path), finetuning=FineTuning(from_epoch=1))
    captioner.trainer = type("Trainer", (), {"world_size": 2})()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"from_epoch=1 with 2 processes.*resume"):
        captioner.setup("fit")


def test_a_schedule_that_asks_for_the_run_s_steps_is_stepped_every_batch(tmp_path: Path) -> None:
    data = Colours(tmp_path, batch_size=2, eval_batch_size=4)  # two batches an epoch
    captioner = captioner_for(data, schedule=partial(WarmupCosine, warmup_steps=2))
    trainer(tmp_path, 3, check_val_every_n_epoch=3).fit(captioner, datamodule=data)
    assert captioner.lr_schedulers().last_epoch == 6
    assert captioner.optimizers().param_groups[0]["lr"] == 0


def test_any_other_schedule_is_stepped_every_epoch(tmp_path: Path) -> None:
    data = Colours(tmp_path, batch_size=2, eval_batch_size=4)
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    captioner = captioner_for(data, schedule=halving)
    trainer(tmp_path, 3, check_val_every_n_epoch=3).fit(captioner, datamodule=data)
    assert captioner.optimizers().param_groups[0]["lr"] == pytest.approx(0.01 / 8)


def test_an_image_s_caption_does_not_depend_on_its_neighbours_in_training_mode_either(tmp_path: Path) -> None:
    captioner = captioner_for(data := Colours(tmp_path))
    paths = [image.path for image in data.images("val")]
    captioner.train()  # dropout and batch normalisation would tell
    together = captioner.caption(paths)
    for path, caption in zip(paths, together, strict=True):
        alone = captioner.caption(path)
        assert alone.text == caption.text
        assert alone.score == pytest.approx(caption.score, abs=1e-5)


def test_an_image_is_encoded_once_a_batch_however_many_captions_it_has(tmp_path: Path) -> None:
    captioner = captioner_for(data := Colours(tmp_path, batch_size=4))
    (batch,) = data.train_dataloader()
    assert (len(batch.image_ids), len(batch.lengths)) == (4, 8)
    seen: list[int] = []
    captioner.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    captioner.log = lambda *_, **__: None  # type: ignore[assignment]
    captioner.training_step(batch, 0)
    captioner.validation_step(batch, 0)
    assert seen == [4, 4]
