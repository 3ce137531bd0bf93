"""From a configuration to a model and its data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from captioning.data.loading import Loading, separated
from captioning.data.module import CaptionDataModule
from captioning.data.splits import Splits
from captioning.decoders.decoder import Capability
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.memory import without_collection
from captioning.model.bundle import HEADS, Parts
from captioning.model.image_model import ImageModel
from captioning.model.load import model_of
from captioning.modes import evaluating
from captioning.objectives import check_objective, needs
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import Tokenizer
from captioning.training.base_model import base_parts, check_base, with_tokenizer
from captioning.training.checks import check_encoder, check_own_code
from captioning.training.detected import check_words, num_ngrams, search_arguments, words_of
from captioning.training.encoder_parts import new_encoder
from captioning.training.kinds import KINDS, head_of
from captioning.training.module import TrainingModule
from captioning.training.not_finite import NotFinite
from captioning.training.parts import build, find, find_class
from captioning.training.pretrained_words import start_embeddings
from captioning.training.teachers import teacher_of
from captioning.training.vocabulary import learn_vocabulary, saved_tokenizer

log = logging.getLogger(__name__)

_VECTORS, _GRIDS = 512, 16
"""How many images' features are standardised at once: few megabytes, which stay in the processor's cache."""


@without_collection()
def assemble(config: DictConfig, saved: Mapping[str, Any] | None = None) -> tuple[TrainingModule, CaptionDataModule]:
    """Build every part of a run; the vocabulary and the statistics come from the training split.

    Args:
        config: the run's settings. If `model` is set, the model's parts come from there, with their weights.
        saved: the part "captioning" of the checkpoint from which the run resumes, whose tokenizers' rules are kept.

    Raises:
        InputError: a setting is invalid or contradicts another, or the training split cannot be read.
    """
    check_base(config)
    base = None if config.get("model") is None else base_parts(config)
    name = head_of(config) if base is None else base.head_name
    foreign = check_own_code(config, name) if base is None else list(config.trust)
    reads = base.encoder.reads if base else find_class(config.encoder, Encoder).reads  # type: ignore[type-abstract]
    splits, loading = open_data(config.data, reads=reads)
    check_encoder(config, loading)
    kind = KINDS[name]
    validation = kind.validation(config)
    if base is None:
        parts = new_parts(config, splits, saved)
    else:
        tokenizer = instantiate(config.vocabulary)(base.tokenizer, splits.captions("train"))
        parts = with_tokenizer(base, tokenizer, config)
    reads_objects = Capability.OBJECTS in needs(parts.head) | needs(find(config.objective))
    objects = {"categories": getattr(parts.head, "categories", splits.categories("train"))} if reads_objects else {}
    training = {**known(parts.encoder, parts.tokenizer), **objects, "tokenizer": parts.tokenizer}
    given = arguments_of(config.objective, training | {"references": splits.references("train")})
    given |= teacher_of(
        config.objective,
        (parts.encoder, parts.transform),
        parts.tokenizer,
        cached=loading.features is not None,
        trust=foreign,
    )
    objective = instantiate(config.objective)  # partial if it has parameters of its own
    check_objective(parts.head, objective)
    data = CaptionDataModule(
        splits, loading, encoder=parts.encoder, transform=parts.transform, tokenizer=parts.tokenizer, **objects
    )
    module = kind.module(
        model_of(parts),
        **validation,
        objective=objective(**given) if isinstance(objective, partial) else objective,
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
        finetuning=instantiate(config.finetuning),
        monitor=config.metrics.monitor,
        seed=config.seed,
        not_finite=NotFinite(config.not_finite),
    )
    return module, data


def new_parts(config: DictConfig, splits: Splits, saved: Mapping[str, Any] | None) -> Parts:
    """Build the parts of the new model that the settings describe; arguments and errors as for `assemble`."""
    name = head_of(config)
    captions = splits.captions("train")
    tokenizer = learn_vocabulary(instantiate(config.text), captions, saved_tokenizer(saved, "tokenizer"))
    encoder, transform, encoder_values = build_encoder(config, splits, saved)
    objects = {"categories": splits.categories("train")} if Capability.OBJECTS in needs(find(config[name])) else {}
    words = words_of(encoder, tokenizer)
    check_words(config[name], words)
    available = known(encoder, tokenizer) | objects | num_ngrams(config[name], tokenizer, captions)
    given = {name: arguments_of(config[name], available)}
    searches = KINDS[name].searches
    given["search"] = arguments_of(config.search, search_arguments(encoder, tokenizer)) if searches else {}
    head = build(config[name], HEADS[name], **given[name])
    start_words(config, (encoder, transform), (head, tokenizer))
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    deviation = config.standardise
    return Parts(
        encoder,
        name,
        head,
        tokenizer,
        transform,
        standardise=Standardise(encoder.feature_size, deviation=float(deviation)) if deviation else None,
        search=build(config.search, Search, **given["search"]) if searches else None,  # type: ignore[type-abstract]
        config={
            "encoder": {**plain["encoder"], **encoder_values},
            name: {**plain[name], **given[name]},
            **({"search": {**plain["search"], **given["search"]}} if searches else {}),
            "standardise": plain["standardise"],
        },
    )


def known(encoder: Encoder, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what heads and objectives can be told of a model's encoder and vocabulary."""
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    special = {"vocabulary": tokenizer.vocabulary, "eos": tokenizer.special.eos, "special": tokenizer.special}
    return sizes | special | words_of(encoder, tokenizer)


def prepare(config: DictConfig, module: TrainingModule, data: CaptionDataModule) -> None:
    """Let a new model learn from the training split what it needs before the first step.

    These are the statistics that standardise its features, and what its kind needs, such as the frequencies of words.
    """
    if config.standardise:
        fit_standardise(module.model, data)
    start = KINDS[module.model.head_name].start
    if start is not None:
        start(module.model, data)


def arguments_of(settings: DictConfig, available: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the arguments that the class of `settings` takes and that the settings do not give themselves.

    Raises:
        InputError: the settings give an argument that the class does not take, such as one that an experiment sets for
            another class of this group.
    """
    parameters = signature(find(settings)).parameters
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        group, name = settings._get_full_key(None), str(settings._target_).rpartition(".")[2]
        if other := [key for key in map(str, settings) if not key.startswith("_") and key not in parameters]:
            raise InputError(
                f"{group}.{other[0]}: {name} takes no {', '.join(other)}. If the experiment sets this for "
                f"another class, leave it out: {' '.join(f'~{group}.{key}' for key in other)}"
            )
    return {name: value for name, value in available.items() if name in parameters and name not in settings}


def open_data(settings: DictConfig, *, reads: str) -> tuple[Splits, Loading]:
    """Build the data set that a configuration's group `data` describes; no file is read yet.

    Args:
        settings: the group: a reader's class with its arguments, and the fields of `Loading`.
        reads: `Encoder.reads` of the encoder. With "nothing", or with cached features, image files need not exist.
    """
    reader, loading = separated(OmegaConf.to_container(settings, resolve=True))  # type: ignore[arg-type]
    built = instantiate(reader)
    if not (hasattr(built, "name") and callable(getattr(built, "read", None))):
        raise InputError(
            f"data._target_={settings._target_} is no reader: expected `name` and `read(split, *, check_files)`"
        )
    check_files = reads != "nothing" and (loading.features is None or loading.skip_broken)
    return Splits(built, check_files=check_files, skip_broken=loading.skip_broken), loading


def build_encoder(
    config: DictConfig, splits: Splits, saved: Mapping[str, Any] | None
) -> tuple[Encoder, ImageTransform | TextTransform, dict[str, Any]]:
    """Build the encoder; an encoder of sentences gets the vocabulary of the training split's source sentences.

    Args:
        config: the run's settings.
        splits: the data set.
        saved: as for `assemble`.

    Returns:
        The encoder, the transform, and those of the encoder's plain arguments that the settings do not give: they
        depend on the data, or are read from another model's bundle.

    Raises:
        InputError: an encoder of sentences is frozen, or lacks source sentences or a source tokenizer; see also
            `new_encoder`.
    """
    if "vocab_size" not in signature(find_class(config.encoder, Encoder)).parameters:
        encoder, plain = new_encoder(config.encoder, trust=config.get("trust") or ())
        assert encoder.transform is not None  # only an encoder of sentences has none
        return encoder, encoder.transform, plain
    if config.finetuning is None:
        raise InputError("an encoder of sentences is trained from scratch; leave out finetuning=")
    if config.get("source_text") is None:
        raise InputError("an encoder of sentences needs a source tokenizer; choose text@source_text=words or bpe")
    texts = splits.texts("train")
    if not any(texts):
        raise InputError(f"{splits.name} has no sentences to translate; choose data=multi30k with data.source=de")
    earlier = saved_tokenizer(saved, "transform", "tokenizer")
    tokenizer = learn_vocabulary(instantiate(config.source_text), texts, earlier)
    sizes = {"vocab_size": len(tokenizer)}
    return build(config.encoder, Encoder, **sizes), TextTransform(tokenizer), sizes  # type: ignore[type-abstract]


def start_words(
    config: DictConfig,
    source: tuple[Encoder, ImageTransform | TextTransform],
    target: tuple[nn.Module, Tokenizer],
) -> None:
    """Initialise the head's word embeddings from the file `embeddings`, the encoder's from `source_embeddings`.

    Args:
        config: names the files.
        source: the encoder and its transform.
        target: the head and its tokenizer.

    Raises:
        InputError: `freeze_embeddings` is set without a file, or `source_embeddings` is set and the encoder reads no
            sentences; see also `start_embeddings`.
    """
    files, frozen = (config.embeddings, config.source_embeddings), config.freeze_embeddings
    if not isinstance(frozen, bool) or (frozen and files == (None, None)):
        raise InputError(
            f"freeze_embeddings={frozen}: expected false, or true beside embeddings=FILE or source_embeddings=FILE of "
            "word vectors"
        )
    if config.embeddings is not None:
        start_embeddings(*target, config.embeddings, frozen=frozen)
    if config.source_embeddings is not None:
        encoder, transform = source
        if not isinstance(transform, TextTransform):
            raise InputError(
                f"source_embeddings={config.source_embeddings}: the encoder {encoder.model_name} reads "
                f"{encoder.reads}, expected sentences; set source_embeddings=null, or translate with encoder=text"
            )
        start_embeddings(encoder, transform.tokenizer, config.source_embeddings, frozen=frozen)


def fit_standardise(model: ImageModel, data: CaptionDataModule, *, most: int = 6000) -> None:
    """Fit mean and deviation on the features of the training split's first `most` images."""
    store, ids = data.store("train"), [image.image_id for image in data.splits.images("train")[:most]]
    standardise = model.standardise
    assert isinstance(standardise, Standardise)
    if store is not None:
        size = _GRIDS if model.encoder.grid else _VECTORS
        chunks = (ids[start : start + size] for start in range(0, len(ids), size))
        standardise.fit(store.features(chunk) for chunk in chunks)
        return
    log.info("encoding %d training images to standardise their features", len(ids))
    standardise.fit(_encode(model, data, len(ids)))


def _encode(model: ImageModel, data: CaptionDataModule, num_images: int) -> Iterator[ImageFeatures]:
    left = num_images
    for batch in data.evaluation_dataloader("train"):
        assert batch.images is not None
        with torch.inference_mode(), evaluating(model.encoder):
            yield model.encoder(batch.images[:left])
        left -= len(batch.images)
        if left <= 0:
            return
