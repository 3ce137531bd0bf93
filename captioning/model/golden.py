"""Golden examples: the features of three images and the captions that the model gave them.

    golden.safetensors   the features, as the encoder returned them
    golden.json          a caption of each, with its score

A model that gives other captions or scores for these features is not the model that was saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures, Objects
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.files.atomic import write_json
from captioning.json_files import read_typed
from captioning.model.caption import Caption
from captioning.model.named_tensors import feature_tensors, features_of

FEATURES, CAPTIONS = FILES = ("golden.safetensors", "golden.json")
NUM_EXAMPLES = 3
RELATIVE, ABSOLUTE = 1e-4, 1e-3
"""How far scores may differ on another machine, relative to the score and in nats. Processors round differently."""
_NUDGE = 1e-3
_CANDIDATES = 16


@dataclass(frozen=True)
class Golden:
    """Golden examples.

    Attributes:
        features: of the images, before they are standardised.
        captions: one for each image.
    """

    features: ImageFeatures
    captions: tuple[Caption, ...]

    def write(self, folder: Path) -> None:
        """Write the two files."""
        own_tensors = feature_tensors(self.features)
        save_file({name: x.detach().clone().contiguous() for name, x in own_tensors.items()}, folder / FEATURES)
        own = [{"text": c.text, "score": c.score, "finished": c.finished} for c in self.captions]
        write_json(folder / CAPTIONS, own)

    @classmethod
    def read(cls, folder: Path) -> Golden | None:
        """Read the two files; None if neither exists, as in bundles of earlier versions.

        Raises:
            InputError: a file is missing or damaged.
        """
        found = [name for name in FILES if (folder / name).exists()]
        if not found:
            return None
        try:
            tensors = load_file(folder / FEATURES)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{folder / FEATURES} is damaged: {str(error)[:200]}; copy the bundle again") from error
        golden = cls(_features(tensors, folder / FEATURES), tuple(read_typed(folder / CAPTIONS, list[Caption])))
        if len(golden.features) != len(golden.captions):
            raise InputError(
                f"{folder}: {FEATURES} has {len(golden.features)} examples and {CAPTIONS} {len(golden.captions)}; "
                "copy the bundle again"
            )
        return golden

    def check(self, found: Sequence[Caption], where: str) -> None:
        """Compare captions of these features with those that were saved.

        Raises:
            InputError: a caption or its score differs by more than rounding.
        """
        for number, (own, new) in enumerate(zip(self.captions, found, strict=True), 1):
            close = math.isclose(own.score, new.score, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
            if not close or (own.text, own.finished) != (new.text, new.finished):
                raise InputError(
                    f"{where}: golden example {number} should give {own.text[:60]!r} ({own.score:.4f}) and gives "
                    f"{new.text[:60]!r} ({new.score:.4f}); the model is not the one that was saved: copy it again"
                )


def make_golden(decode: Callable[[ImageFeatures], Sequence[Caption]], features: ImageFeatures) -> Golden:
    """Make golden examples of the images whose captions depend least on rounding.

    Args:
        decode: the model, from the encoder's features to captions.
        features: of some images, as the encoder returned them. The first 16 are tried.
    """
    features = features.rows(torch.arange(min(len(features), _CANDIDATES), device=features.pooled.device))
    captions, others = decode(features), decode(_nudged_features(features))
    steady = sorted(range(len(captions)), key=lambda i: captions[i].text != others[i].text)[:NUM_EXAMPLES]
    rows = torch.tensor(steady, dtype=torch.int64, device=features.pooled.device)
    chosen = features.rows(rows).to("cpu")
    return Golden(chosen, tuple(captions[i] for i in steady))


def made_up_features(encoder: Encoder, transform: object, num_categories: int, device: torch.device) -> ImageFeatures:
    """Compute features of random images or sentences, for models that are saved without any data.

    Args:
        encoder: the encoder, in evaluation mode.
        transform: turns images or sentences into its input.
        num_categories: the categories of objects that the decoder reads; 0 for none.
        device: the model's device.
    """
    random = torch.Generator().manual_seed(1)
    if encoder.reads == "features":
        grid = torch.rand(NUM_EXAMPLES, 5, encoder.feature_size, generator=random).to(device)
        features = ImageFeatures(grid.mean(1), grid)
    elif isinstance(transform, ImageTransform):
        images = torch.rand(NUM_EXAMPLES, 3, *transform.size, generator=random)
        features = encoder(images.sub(0.5).div(0.25).to(device))
    else:
        ids = torch.randint(int(encoder.vocab_size), (NUM_EXAMPLES, 7), generator=random)  # type: ignore[arg-type]
        features = encoder(ids.to(device))
    if not num_categories:
        return features
    objects = Objects(
        categories=torch.randint(num_categories, (NUM_EXAMPLES, 2), generator=random),
        boxes=torch.rand(NUM_EXAMPLES, 2, 4, generator=random),
        mask=torch.ones(NUM_EXAMPLES, 2, dtype=torch.bool),
    )
    return replace(features, objects=objects.map(lambda x: x.to(device)))


def _nudged_features(features: ImageFeatures) -> ImageFeatures:
    nudged = replace(features, pooled=_nudged(features.pooled), others=tuple(map(_nudged_features, features.others)))
    if features.grid is not None:
        nudged = replace(nudged, grid=_nudged(features.grid))
    if features.words is not None:
        nudged = replace(nudged, words=_nudged(features.words).clamp(max=1.0))
    return nudged


def _nudged(x: Tensor) -> Tensor:
    """Change every number by up to a thousandth of itself, many times more than rounding does."""
    random = torch.Generator().manual_seed(2)
    return x * (1 + _NUDGE * (2 * torch.rand(x.shape, generator=random) - 1).to(x))


def _features(tensors: Mapping[str, Tensor], path: Path) -> ImageFeatures:
    try:
        return features_of(tensors)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold the features of images ({error}); copy the bundle again") from error
