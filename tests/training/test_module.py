"""The LightningModule: trained, stopped, resumed and validated, on real files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.example import CaptionedImage
from captioning.decoders import MRNN, packed
from captioning.encoders import SmallCNN
from captioning.encoders.batch_norm import SyncedBatchNorm, synchronise
from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.model.captioner import Captioner
from captioning.search import GreedySearch
from captioning.text import train_words
from captioning.training.averaging import MovingAverage
from captioning.training.captioning import CaptioningModule
from captioning.training.module import FineTuning
from captioning.training.schedules import WarmupCosine
from captioning.training.trainer import quieten_lightning

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}


class Colours:
    """Reads squares of one colour each, whose captions name it: a caption is determined by its image."""

    name = "colours"

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        images = []
        for n, (name, rgb) in enumerate(COLOURS.items()):
            path = self.root / f"{name}.png"
            if not path.exists():
                square = Image.new("RGB", (32, 32), (90, 90, 90))
                square.paste(rgb, (8, 8, 24, 24))
                square.save(path)
            images.append(CaptionedImage(n, path, (f"a {name} image", f"all of it is {name}")))
        return images


def built(root: Path, *, batch_size: int = 3, eval_batch_size: int = 64, **settings: Any) -> tuple[Any, Any]:
    """A module and its data."""
    torch.manual_seed(3)
    splits = Splits(Colours(root))
    tokenizer = train_words(splits.captions("train"), min_count=1)
    encoder = SmallCNN((32, 32), channels=(8, 16))
    decoder = MRNN(
        feature_size=encoder.feature_size,
        vocab_size=len(tokenizer),
        embedding_size=7,
        hidden_size=11,
        multimodal_size=13,
        dropout=0.1,
    )
    captioner = Captioner(encoder, decoder, tokenizer, search=GreedySearch(max_length=7))
    loading = Loading(batch_size=batch_size, eval_batch_size=eval_batch_size)
    data = CaptionDataModule(splits, loading, encoder=encoder, transform=captioner.transform, tokenizer=tokenizer)
    only_cider = partial(CocoScorer, metrics=("CIDEr",))
    defaults = {"optimizer": lambda groups: torch.optim.Adam(groups, lr=0.01), "scorer": only_cider}
    return CaptioningModule(captioner, **{"finetuning": FineTuning(), **defaults, **settings}), data


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


def weights(captioner: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in captioner.parameters()])


def test_a_caption_that_its_image_determines_is_learnt(tmp_path: Path) -> None:
    module, data = built(tmp_path, batch_size=4, eval_batch_size=3)
    trainer(tmp_path, 60, check_val_every_n_epoch=60).fit(module, datamodule=data)
    for name in COLOURS:
        assert name in module.captioner.caption(tmp_path / f"{name}.png").text.split()
    assert module.evaluation is not None
    assert [p.image_id for p in module.evaluation.predictions] == [0, 1, 2, 3]
    assert module.evaluation.scores.corpus["CIDEr"] > 1


def test_each_validation_searches_with_packed_copies_of_the_weights_that_it_validates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)
    module, data = built(tmp_path)
    captioner, errors = module.captioner, []

    class Compare(pl.Callback):
        def on_validation_batch_end(self, *_: object) -> None:
            assert captioner.searched is not captioner.decoder
            hidden = torch.linspace(-1, 1, captioner.decoder.head.in_features).expand(2, -1)
            errors.append((captioner.searched.head(hidden) - captioner.decoder.head(hidden)).abs().max())

        def on_train_epoch_start(self, *_: object) -> None:
            assert captioner.searched is captioner.decoder

    averages = MovingAverage(decay=0.5)  # it validates other weights than those of the last step
    trainer(tmp_path, 3, callbacks=[averages, Compare()]).fit(module, datamodule=data)
    assert len(errors) == 3 and max(errors) < 1e-5
    assert captioner.searched is captioner.decoder


def test_the_scorer_of_a_run_is_built_once(tmp_path: Path) -> None:
    built_scorers: list[CocoScorer] = []

    def scorer(references: Mapping[int | str, Sequence[str]]) -> CocoScorer:
        built_scorers.append(CocoScorer(references, metrics=("CIDEr",)))
        return built_scorers[-1]

    module, data = built(tmp_path, scorer=scorer)
    run = trainer(tmp_path, 2)
    run.fit(module, datamodule=data)
    run.validate(module, datamodule=data, verbose=False)
    assert len(built_scorers) == 1
    run.validate(module, datamodule=data, verbose=False)  # the first validation has closed it
    assert len(built_scorers) == 2


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    whole, whole_data = built(tmp_path)
    trainer(tmp_path, 4, limit_val_batches=0).fit(whole, datamodule=whole_data)

    first, first_data = built(tmp_path)
    stopped = trainer(tmp_path, 2, limit_val_batches=0)
    stopped.fit(first, datamodule=first_data)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    second, second_data = built(tmp_path)
    torch.manual_seed(99)
    trainer(tmp_path, 4, limit_val_batches=0).fit(
        second, datamodule=second_data, ckpt_path=tmp_path / "stopped.ckpt", weights_only=True
    )
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(first), weights(whole))


class StopAfter(pl.Callback):
    """Ends a run after some epochs, whatever its length was to be."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_a_schedule_by_the_batch_is_resumed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": partial(WarmupCosine, warmup_steps=3)}
    whole, whole_data = built(tmp_path, **settings)
    trainer(tmp_path, 4, limit_val_batches=0).fit(whole, datamodule=whole_data)

    first, first_data = built(tmp_path, **settings)
    stopped = trainer(tmp_path, 4, limit_val_batches=0, callbacks=[StopAfter(2)])
    stopped.fit(first, datamodule=first_data)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    second, second_data = built(tmp_path, **settings)
    trainer(tmp_path, 4, limit_val_batches=0).fit(
        second, datamodule=second_data, ckpt_path=tmp_path / "stopped.ckpt", weights_only=True
    )
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(first), weights(whole))


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped(tmp_path: Path, algorithm: str) -> None:
    # With this optimizer a step is the gradient.
    module, data = built(tmp_path, batch_size=4, optimizer=lambda groups: torch.optim.SGD(groups, lr=1.0))
    before = weights(module)
    clip = {"gradient_clip_val": 1e-2, "gradient_clip_algorithm": algorithm}
    trainer(tmp_path, 1, max_steps=1, limit_val_batches=0, **clip).fit(module, datamodule=data)
    step = weights(module) - before
    assert step.norm() > 5e-3
    assert (step.norm() if algorithm == "norm" else step.abs().max()) < 1.001e-2


def test_a_frozen_encoder_does_not_move_and_a_tuned_one_does_from_its_epoch(tmp_path: Path) -> None:
    for finetuning, epochs, moves in (
        (None, 2, False),
        (FineTuning(from_epoch=2), 2, False),
        (FineTuning(from_epoch=1), 2, True),
    ):
        module, data = built(tmp_path, finetuning=finetuning)
        before = {name: value.clone() for name, value in module.captioner.encoder.state_dict().items()}
        trainer(tmp_path, epochs, limit_val_batches=0).fit(module, datamodule=data)
        after = module.captioner.encoder.state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before) == moves


def test_the_encoder_has_its_own_learning_rate_and_weight_decay(tmp_path: Path) -> None:
    module, _ = built(tmp_path, finetuning=FineTuning(learning_rate=1e-5, weight_decay=0.25))
    groups = module.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == [0.01, 1e-5]
    assert [group["weight_decay"] for group in groups] == [0, 0.25]
    assert len(built(tmp_path, finetuning=None)[0].configure_optimizers().param_groups) == 1


def test_validation_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    evaluations = []
    for size in (1, 3, 4):
        module, data = built(tmp_path, eval_batch_size=size)
        trainer(tmp_path, 1).validate(module, datamodule=data, verbose=False)
        assert module.evaluation is not None
        evaluations.append(module.evaluation)
    for other in evaluations[1:]:
        assert other.scores == evaluations[0].scores
        assert other.loss == pytest.approx(evaluations[0].loss, abs=1e-6)


def test_validation_is_in_full_precision_also_when_training_is_not(tmp_path: Path) -> None:
    evaluations = []
    for precision in ("32-true", "bf16-mixed"):
        module, data = built(tmp_path)
        trainer(tmp_path, 1, precision=precision).validate(module, datamodule=data, verbose=False)
        evaluations.append(module.evaluation)
    assert evaluations[0] is not None
    assert evaluations[0] == evaluations[1]  # bit by bit


def test_fine_tuning_that_begins_late_is_refused_with_several_processes(tmp_path: Path) -> None:
    module, _ = built(tmp_path, finetuning=FineTuning(from_epoch=1))
    module.trainer = type("Trainer", (), {"world_size": 2})()
    with pytest.raises(InputError, match=r"from_epoch=1 with 2 processes.*resume"):
        module.setup("fit")


def test_with_several_processes_batch_normalisation_reads_the_images_of_all(tmp_path: Path) -> None:
    for processes in (1, 2):
        module, _ = built(tmp_path)
        module.trainer = type("Trainer", (), {"world_size": processes})()
        module.setup("fit")
        synced = [isinstance(part, SyncedBatchNorm) for part in module.captioner.encoder.modules()]
        assert any(synced) == (processes == 2)


def test_a_repeated_batch_does_not_count_in_batch_normalisation(tmp_path: Path) -> None:
    module, data = built(tmp_path, batch_size=4)
    synchronise(module.captioner.encoder)
    module.log = lambda *_, **__: None
    (batch,) = data.train_dataloader()
    for repeated in (True, False):
        module.training_step(replace(batch, repeated=repeated), 0)
        counts = {part.counts for part in module.modules() if isinstance(part, SyncedBatchNorm)}
        assert counts == {not repeated}


def test_a_schedule_that_asks_for_the_run_s_steps_is_stepped_every_batch(tmp_path: Path) -> None:
    # Two batches an epoch.
    module, data = built(tmp_path, batch_size=2, eval_batch_size=4, schedule=partial(WarmupCosine, warmup_steps=2))
    trainer(tmp_path, 3, check_val_every_n_epoch=3).fit(module, datamodule=data)
    assert module.lr_schedulers().last_epoch == 6
    assert module.optimizers().param_groups[0]["lr"] == 0


def test_any_other_schedule_is_stepped_every_epoch(tmp_path: Path) -> None:
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    module, data = built(tmp_path, batch_size=2, eval_batch_size=4, schedule=halving)
    trainer(tmp_path, 3, check_val_every_n_epoch=3).fit(module, datamodule=data)
    assert module.optimizers().param_groups[0]["lr"] == pytest.approx(0.01 / 8)


def test_an_image_is_encoded_once_a_batch_however_many_captions_it_has(tmp_path: Path) -> None:
    module, data = built(tmp_path, batch_size=4)
    (batch,) = data.train_dataloader()
    assert (len(batch.image_ids), len(batch.lengths)) == (4, 8)
    seen: list[int] = []
    module.captioner.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    module.log = lambda *_, **__: None
    module.training_step(batch, 0)
    module.validation_step(batch, 0)
    assert seen == [4, 4]


def test_a_step_in_mixed_precision_converts_each_weight_once(tmp_path: Path) -> None:
    # Lightning's precision turns torch's cache off, and a loop over time would convert its weights at each time step.
    module, data = built(tmp_path, batch_size=4)
    (batch,) = data.train_dataloader()
    module.log = lambda *_, **__: None
    sources: list[int] = []

    class Conversions(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.overloadpacket.__name__ == "_to_copy" and kwargs.get("dtype") == torch.bfloat16:
                sources.append(args[0].data_ptr())
            return func(*args, **kwargs or {})

    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False), Conversions():
        module.training_step(batch, 0)
    counts = [sources.count(weight.data_ptr()) for weight in module.captioner.decoder.parameters()]
    assert max(counts) == 1
