"""captioning extract: cache a split's image features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioning.encoders.encoder import Encoder
    from captioning.encoders.text_transform import TextTransform
    from captioning.encoders.transform import ImageTransform

HELP = """usage: captioning extract data=NAME data.root=DIR [encoder=NAME | bundle=WHERE] features=DIR [KEY=VALUE ...]

Run a frozen encoder over every image once, and cache its features in memory-mapped files, one folder per split. Train
from them with data.features=DIR. Training refuses features of another encoder, transform or weights, features of images
that were replaced, and damaged features. Run extract again to resume an extraction or to verify a finished one.

examples:
  captioning extract data=flickr8k data.root=PATH encoder=efficientnet_lite features=features/lite0
  captioning extract data=coco data.root=PATH encoder=resnet101 encoder.grid=true dtype=float16 features=features/r101
  captioning extract data=flickr8k data.root=PATH bundle=flickr8k splits=[val] features=features/of-a-model

settings:
  data=NAME              folder, flickr8k, flickr30k, coco, coco2014, coco2017, scenes
  encoder=NAME           as in training; encoder.weights=FILE, or a trained model with this encoder
  bundle=WHERE           a trained model, whose encoder and transform are used, whatever they are
  encoder=detected_words, encoder.weights=DIR    also the words that the word detector of this bundle finds
  encoder=regions        no network: reads a detector's features of up to encoder.num_regions=100 regions per image
  regions=FILES          its files: bottom-up attention's .tsv, or a folder of .npz; images are then not needed
  features=DIR           where the splits' folders go (required)
  splits=[train,val]     which splits
  dtype=float16          or float32
  precision=float32      or bfloat16, which is faster on many processors; train with data.features_precision=bfloat16
  data.skip_broken=true  leave out images that cannot be read; train with the same setting
  data.num_workers=2     processes that load images; batch_size=32: images encoded at once
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from captioning.commands._hydra import run

    return run("extract", lambda config, _: extract(config), arguments)


def extract(config: DictConfig) -> None:
    """Write the features of `config.splits` that are not in their stores yet.

    Raises:
        InputError: `regions` is given without encoder=regions, or the reverse; see also
            `captioning.data.features.extract`.
    """
    from captioning.data.features import extract as features
    from captioning.data.features.precision import with_precision
    from captioning.data.splits import split_name
    from captioning.encoders.regions import Regions
    from captioning.training.assemble import open_data

    encoder, transform = _encoder(config)
    if isinstance(encoder, Regions) != (config.regions is not None):
        raise InputError(
            f"regions={config.regions} with {type(encoder).__name__}: regions=FILES and encoder=regions go together"
        )
    reads = "nothing" if config.regions is not None else encoder.reads  # with regions no image is opened
    opened, loading = open_data(config.data, reads=reads)
    splits = {split: opened.images(split) for split in map(split_name, config.splits)}
    encoder.set_trainable(0)
    identity = with_precision(encoder.identity(transform), config.precision)
    if isinstance(encoder, Regions):
        features_of = features.from_files(config.regions, encoder, batch_size=config.batch_size)
    else:
        features_of = features.by_encoder(
            encoder,
            transform=transform,
            device=config.device,
            batch_size=config.batch_size,
            num_workers=loading.num_workers,
            precision=config.precision,
        )
    features.extract(
        splits,
        features_of,
        Path(config.features),
        identity=identity,
        dtype=config.dtype,
        reads_images=encoder.reads == "images",
    )


def _encoder(config: DictConfig) -> tuple[Encoder, ImageTransform | TextTransform | None]:
    """Return the encoder of `config.bundle`, or the one that `config.encoder` describes, and its transform."""
    from captioning.model.load import load_model
    from captioning.training.encoder_parts import new_encoder

    if config.bundle is not None:
        model = load_model(config.bundle, trust=config.trust)
        return model.encoder, model.transform
    encoder, _ = new_encoder(config.encoder, trust=config.get("trust") or ())
    return encoder, encoder.transform
