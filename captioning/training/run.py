"""A training run: from a composed configuration to a folder with a bundle and its figures."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Timer
from torch import nn

from captioning.data.datasets import CaptionDataModule
from captioning.decoders import Hard, ShowAttendAndTell
from captioning.decoders.decoder import AttentiveDecoder, Decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.errors import InputError
from captioning.evaluation.scorer import build_scorer
from captioning.metrics import CocoScorer
from captioning.metrics.table import check_metrics, modes
from captioning.model.bundle import save_bundle
from captioning.model.captioner import Captioner
from captioning.objectives import DoublyStochastic, Reinforce
from captioning.reports.result import print_scores, write_evaluation
from captioning.text.tokenizer import Tokenizer
from captioning.training.checkpoints import read_checkpoint
from captioning.training.precision import precision_here
from captioning.training.pretrained_words import start_embeddings

log = logging.getLogger(__name__)


def train(config: DictConfig, output: Path) -> None:
    """Train, then evaluate the best checkpoint and write its bundle, all into `output`.

    Raises:
        InputError: `output` holds another run, or something in `config` is not possible.
    """
    check_output(config, output)
    if config.checkpoint is not None:
        read_checkpoint(config.checkpoint)  # of other files torch says to unpickle them
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data: CaptionDataModule = instantiate(config.data)
    captioner = build_captioner(config, data)
    timer = Timer()  # its clock is kept in the checkpoints, so that a run's second half counts on
    trainer = build_trainer(config, timer)
    num_parameters = count_parameters(config, captioner)
    started = time.process_time()
    trainer.fit(captioner, datamodule=data, ckpt_path=config.checkpoint, weights_only=True)
    log.info("trained in %.1f minutes of processor time", (time.process_time() - started) / 60)
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best:
        log.info("best checkpoint: %s", best)
        saved = torch.load(best, map_location="cpu", weights_only=True)
        captioner.load_state_dict(saved["state_dict"])
    trainer.validate(captioner, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        assert captioner.evaluation is not None
        cost = {**num_parameters, "seconds": timer.time_elapsed(), "precision": trainer.precision}
        metrics = write_evaluation(output, captioner, data, training=cost)
        print_scores(metrics)
        save_bundle(captioner, output / "bundle", metrics=metrics)


def count_parameters(config: DictConfig, captioner: Captioner) -> dict[str, int]:
    """Count and log the decoder's parameters that learn, and an encoder's that learns from nothing."""
    parts: dict[str, nn.Module] = {"decoder": captioner.decoder}
    if config.finetuning is not None and config.encoder.get("weights") is None:
        parts["encoder"] = captioner.encoder
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    for name, count in counts.items():
        log.info("%s: %s parameters", name, f"{count:,}")
    return {f"{name}_parameters": count for name, count in counts.items()}


def check_output(config: DictConfig, output: Path) -> None:
    """Refuse a folder in which this run would overwrite another.

    Raises:
        InputError: `output` holds a run that has ended, or one that was interrupted and does not go on.
    """
    another = "choose another folder for this one, as output=DIR"
    if (output / "bundle").exists():
        raise InputError(f"{output} holds a run that has ended; {another}")
    checkpoints = sorted((output / "checkpoints").glob("*.ckpt"))
    if checkpoints and config.checkpoint is None:
        raise InputError(
            f"{output} holds a run that was interrupted; go on with it by checkpoint={checkpoints[-1]}, or {another}"
        )


def check_encoder(config: DictConfig, data: CaptionDataModule) -> None:
    """Refuse settings of the encoder that contradict each other.

    Raises:
        InputError: the encoder would learn from features that do not move, or never be of any use.
    """
    learns, cached = config.finetuning is not None, data.features is not None
    if learns and config.standardise:
        raise InputError(
            "standardise=true needs a frozen encoder, whose features do not move; set finetuning=frozen or "
            "standardise=false"
        )
    if learns and cached:
        raise InputError(
            f"data.features={data.features} holds a frozen encoder's features, from which the encoder cannot "
            "learn; set finetuning=frozen, or data.features=null to train from images"
        )
    if cached and data.augment is not None:
        raise InputError(
            f"data.features={data.features} holds features of unchanged images; set data.augment=null, or "
            "data.features=null to train from augmented images"
        )
    if not learns and config.encoder.get("weights", "") is None:
        raise InputError(
            "encoder.weights=null, and no finetuning: an encoder with random weights that does not learn sees "
            "nothing; set finetuning=whole, or encoder.weights to a file or to published weights"
        )


def build_captioner(config: DictConfig, data: CaptionDataModule) -> Captioner:
    """Build every part for the training split's vocabulary, and connect the data to them."""
    check_encoder(config, data)
    scorer = scorer_of(config.metrics)
    check_monitor(config.metrics)
    data.needs_images = get_class(config.encoder._target_).reads != "nothing"  # before a split is read
    tokenizer = instantiate(config.text)(data.captions("train"))
    encoder, encoder_sizes = build_encoder(config, data)
    sizes: dict[str, Any] = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    readers = [part for part in ("decoder", "objective") if _reads_objects(config[part])]
    objects = {"categories": data.categories("train")} if readers else {}
    given = {part: {**sizes, **(objects if part in readers else {})} for part in ("decoder", "objective")}
    decoder = instantiate(config.decoder, **given["decoder"])
    start_words(config, encoder, decoder, tokenizer)
    objective = instantiate(config.objective)  # partial where it learns something of its own
    check_objective(decoder, objective)
    data.connect(encoder, tokenizer, objects.get("categories"))
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    deviation = config.standardise
    captioner = Captioner(
        encoder,
        decoder,
        tokenizer,
        standardise=Standardise(encoder.feature_size, deviation=float(deviation)) if deviation else None,
        search=instantiate(config.search),
        objective=objective(**given["objective"]) if isinstance(objective, partial) else objective,
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
        finetuning=instantiate(config.finetuning),
        scorer=scorer,
        monitor=config.metrics.monitor,
        seed=config.seed,
        config={
            "encoder": {**plain["encoder"], **encoder_sizes},
            "decoder": {**plain["decoder"], **given["decoder"]},
            "search": plain["search"],
            "standardise": plain["standardise"],
        },
    )
    if config.standardise:
        fit_standardise(captioner, data)
    return captioner


def check_objective(decoder: Decoder[Any], objective: object) -> None:
    """Refuse an objective from which a decoder cannot learn, or would learn something else.

    Raises:
        InputError: the objective is of weights of places that the decoder lacks, or is not that of drawn places.
    """
    kind, name = type(decoder).__name__, type(objective).__name__
    if isinstance(objective, DoublyStochastic | Reinforce) and not isinstance(decoder, AttentiveDecoder):
        raise InputError(f"a {kind} looks at no places, which {name} is about; set objective=cross_entropy")
    draws = isinstance(decoder, ShowAttendAndTell) and isinstance(decoder.phi, Hard)
    if draws and not isinstance(objective, Reinforce):
        raise InputError(f"places that are drawn have no gradient in {name}; set objective=reinforce")
    if isinstance(objective, Reinforce) and not draws:
        raise InputError(
            f"Reinforce is for places that are drawn, and this {kind} draws none; set decoder=hard_attention"
        )


def check_monitor(config: DictConfig) -> None:
    """Refuse to choose the epoch by a figure that is not computed, or by the worst of one that is.

    Raises:
        InputError: so it would be.
    """
    expected = {**modes(config.names), "loss": "min", "perplexity": "min"}
    if config.monitor not in expected:
        raise InputError(
            f"metrics.names={config.names}: the epoch is chosen by {config.monitor}; add it, or set metrics.monitor to "
            f"one of {', '.join(expected)}"
        )
    if config.mode != expected[config.monitor]:
        raise InputError(f"metrics.mode={config.mode}: of {config.monitor} expected {expected[config.monitor]}")


def build_encoder(config: DictConfig, data: CaptionDataModule) -> tuple[Encoder, dict[str, int]]:
    """Build the encoder; one of sentences for the training split's source vocabulary.

    Returns:
        The encoder, and those of its arguments that the data decide.

    Raises:
        InputError: an encoder of sentences, and there are none, or nothing cuts them.
    """
    if "vocab_size" not in signature(get_class(config.encoder._target_)).parameters:
        return instantiate(config.encoder), {}
    if config.finetuning is None:
        raise InputError("an encoder of sentences starts from nothing and must learn; leave finetuning as it is")
    if config.get("source_text") is None:
        raise InputError("an encoder of sentences needs to know how they are cut; choose text@source_text=words or bpe")
    texts = data.texts("train")
    if not any(texts):
        raise InputError(f"{data.data_name} has no sentences to translate; choose data=multi30k with data.source=de")
    tokenizer = instantiate(config.source_text)(texts)
    sizes = {"vocab_size": len(tokenizer)}
    encoder: Encoder = instantiate(config.encoder, **sizes)
    encoder.transform = TextTransform(tokenizer)
    return encoder, sizes


def start_words(config: DictConfig, encoder: Encoder, decoder: Decoder[Any], tokenizer: Tokenizer) -> None:
    """Let the decoder's words start from `embeddings`, and those of an encoder of sentences from `source_embeddings`.

    Raises:
        InputError: there is nothing to freeze, or the encoder reads no sentences; see also `start_embeddings`.
    """
    files, frozen = (config.embeddings, config.source_embeddings), config.freeze_embeddings
    if not isinstance(frozen, bool) or (frozen and files == (None, None)):
        raise InputError(
            f"freeze_embeddings={frozen}: expected false, or true beside embeddings=FILE or source_embeddings=FILE of "
            "word vectors"
        )
    if config.embeddings is not None:
        start_embeddings(decoder, tokenizer, config.embeddings, frozen=frozen)
    if config.source_embeddings is not None:
        if not isinstance(encoder.transform, TextTransform):
            raise InputError(
                f"source_embeddings={config.source_embeddings}: the encoder {encoder.model_name} reads "
                f"{encoder.reads}, expected sentences; set source_embeddings=null, or translate with encoder=text"
            )
        start_embeddings(encoder, encoder.transform.tokenizer, config.source_embeddings, frozen=frozen)


def _reads_objects(part: DictConfig) -> bool:
    """Whether a class asks for the categories of annotated objects."""
    return "categories" in signature(get_class(part._target_)).parameters


def build_trainer(config: DictConfig, *callbacks: pl.Callback) -> pl.Trainer:
    """The trainer with its callbacks, these among them, and loggers."""
    quieten_lightning()
    trainer: pl.Trainer = instantiate(
        config.trainer,
        precision=precision_here(config.trainer.precision, config.trainer.accelerator),
        callbacks=[*callbacks, *(instantiate(c) for c in config.callbacks.values() if c)],
        logger=[instantiate(c) for c in config.logger.values() if c],
    )
    return trainer


def scorer_of(config: DictConfig) -> Callable[[Mapping[int | str, Sequence[str]]], CocoScorer]:
    """What makes the scorer of a split's references, by the configuration's metrics.

    Raises:
        InputError: there are no such metrics; now and not after an epoch.
    """
    names = list(config.names)
    check_metrics(names, config.backend)
    return partial(build_scorer, names=names, backend=config.backend)


def quieten_lightning() -> None:
    """Keep Lightning's warnings and errors, not its advertisements nor what it cannot know is meant so."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for harmless in (
        ".*treespec, LeafSpec.*",  # its own use of what torch deprecates
        ".*in eval mode at the start of training.*",  # a frozen encoder is
        ".*Checkpoint directory .* not empty.*",  # a run that goes on in its own folder
        ".*does not have many workers.*",  # cached features are read fastest in this process
    ):
        warnings.filterwarnings("ignore", message=harmless)


def fit_standardise(captioner: Captioner, data: CaptionDataModule, *, most: int = 6000) -> None:
    """Set mean and deviation from the training split's features: all up to `most` images, or the first `most`."""
    store, ids = data.store("train"), [image.image_id for image in data.images("train")[:most]]
    standardise = captioner.standardise
    assert isinstance(standardise, Standardise)
    if store is not None:
        chunks = (ids[start : start + 512] for start in range(0, len(ids), 512))
        standardise.fit(store.features(chunk) for chunk in chunks)
        return
    log.info("encoding %d training images once, to standardise their features", len(ids))
    standardise.fit(_encode(captioner, data, len(ids)))


def _encode(captioner: Captioner, data: CaptionDataModule, num_images: int) -> Iterator[ImageFeatures]:
    left = num_images
    for batch in data.evaluation_dataloader("train"):
        assert batch.images is not None
        with torch.inference_mode():
            yield captioner.encoder(batch.images[:left])
        left -= len(batch.images)
        if left <= 0:
            return
