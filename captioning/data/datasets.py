"""Lightning data modules: which reader, and the loaders that all share."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pytorch_lightning as pl
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from captioning.data.batch import CaptionBatch
from captioning.data.dataset import CaptionDataset
from captioning.data.encoded import EncodedCaptions
from captioning.data.example import CaptionedImage
from captioning.data.features.store import FeatureStore
from captioning.data.layouts import Layouts, categories
from captioning.data.readers.coco import add_objects, coco_files, read_coco
from captioning.data.readers.flickr8k import images_folder, read_flickr8k
from captioning.data.readers.karpathy import read_karpathy
from captioning.data.readers.parallel import read_parallel
from captioning.data.sampler import BucketSampler, InOrderSampler
from captioning.data.sources import Source, source_of
from captioning.encoders.encoder import Encoder
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


class Loading(TypedDict, total=False):
    """What every data module takes beside its data set's own settings; see `CaptionDataModule`."""

    split: str
    batch_size: int
    captions_per_image: int | None
    pool: int
    eval_batch_size: int
    num_workers: int
    max_length: int | None
    augment: Mapping[str, Any] | None
    keep_images: bool
    features: str | None
    seed: int


class CaptionDataModule(pl.LightningDataModule, ABC):
    """Reads splits of a data set when they are asked for, and no others.

    Args:
        split: the one that validation and evaluation use.
        batch_size: images in a training batch, on one process.
        captions_per_image: how many of its captions an image brings to a batch; it stands in as many batches of an
            epoch as it takes to bring all. None brings all at once, and encodes each image once an epoch; 1 gives
            the most varied batches, which suits cached features.
        pool: training batches that are filled from one another by length. Batches of equal lengths run faster, and are
            less varied; 1 fills them at random.
        eval_batch_size: images in a batch of validation and evaluation.
        num_workers: processes that load images; 0 loads in this one, which is best for cached features.
        max_length: tokens of the longest training caption; what is cut is counted and logged. None cuts nothing.
            Evaluated captions are never cut.
        augment: arguments of `ImageTransform.augmented` for training images; None for none.
        keep_images: keep the training images in memory, as the encoder takes them, from the first time that they
            are read; for sets that fit. Each worker keeps its own.
        features: folder of cached features, one sub-folder a split, as `captioning extract` writes it; None reads
            images. An encoder that reads nothing needs neither.
        seed: of the order of training batches.

    Attributes:
        data_name: the data set's name, for signatures.
        needs_images: whether the encoder looks at images, or at features of them, at all; `connect` sets it, and
            where a split is read before, so may others.

    Raises:
        InputError: images are to be both augmented and kept.
    """

    data_name: str

    def __init__(
        self,
        *,
        split: str = "val",
        batch_size: int = 16,
        captions_per_image: int | None = None,
        pool: int = 50,
        eval_batch_size: int = 64,
        num_workers: int = 0,
        max_length: int | None = None,
        augment: Mapping[str, Any] | None = None,
        keep_images: bool = False,
        features: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.split, self.batch_size, self.eval_batch_size = split_name(split), batch_size, eval_batch_size
        self.captions_per_image, self.pool = captions_per_image, pool
        self.num_workers, self.max_length, self.augment = num_workers, max_length, augment
        if keep_images and augment is not None:
            raise InputError(
                f"data.keep_images=true with data.augment={augment}: augmented images are others every time; set "
                "data.keep_images=false"
            )
        self.keep_images = keep_images
        self.features = None if features is None else Path(features)
        self.seed = seed
        self.needs_images = True
        self._images: dict[str, list[CaptionedImage]] = {}
        self._datasets: dict[str, CaptionDataset] = {}

    @property
    def _check_files(self) -> bool:
        """Whether images will be opened, so that each must have its file."""
        return self.needs_images and self.features is None

    @abstractmethod
    def read(self, split: str) -> list[CaptionedImage]:
        """Read one split's files."""

    def images(self, split: str) -> list[CaptionedImage]:
        """A split, read at the first call."""
        if split not in self._images:
            self._images[split] = self.read(split)
            log.info(
                "%s %s: %d images, %d captions",
                self.data_name,
                split,
                len(self._images[split]),
                sum(len(image.captions) for image in self._images[split]),
            )
        return self._images[split]

    def captions(self, split: str) -> list[str]:
        """Every caption of a split, as published."""
        return [caption for image in self.images(split) for caption in image.captions]

    def texts(self, split: str) -> list[str]:
        """The sentences of a split that stand in place of images; none where it has images."""
        return [image.text for image in self.images(split) if image.text is not None]

    def references(self, split: str) -> dict[int | str, tuple[str, ...]]:
        """Each image's captions, in the split's order."""
        return {image.image_id: image.captions for image in self.images(split)}

    def categories(self, split: str) -> list[str]:
        """The categories of a split's objects; see `captioning.data.layouts`."""
        return categories(self.images(split))

    def connect(self, encoder: Encoder, tokenizer: Tokenizer, categories: Sequence[str] | None = None) -> None:
        """Say for which encoder and tokenizer batches are made; call it before asking for a loader.

        Args:
            encoder: of the model.
            tokenizer: of the model.
            categories: of the objects that batches are to bring, in the order of the model's ids; None for none.

        Raises:
            InputError: cached features were made by another encoder.
        """
        self.encoder, self.tokenizer, self.object_categories = encoder, tokenizer, categories
        self.needs_images = encoder.reads != "nothing"
        self._datasets.clear()

    def store(self, split: str) -> FeatureStore | None:
        """The cached features of a split, checked against the encoder; None where it reads images, or nothing."""
        split = split_name(split)
        if self.features is None or not self.needs_images:
            return None
        store = FeatureStore(self.features / split)
        store.check(self.encoder.identity(), [image.image_id for image in self.images(split)])
        return store

    def train_dataloader(self) -> DataLoader[CaptionBatch]:
        """Batches of the training split, bucketed by length, in another order every epoch."""
        dataset = self._dataset("train", training=True)
        sampler = BucketSampler(
            dataset.captions.lengths, self.batch_size, pool=self.pool, seed=self.seed, **self._processes()
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[CaptionBatch]:
        """Batches of `split` in its own order."""
        return self.evaluation_dataloader(self.split)

    def evaluation_dataloader(self, split: str) -> DataLoader[CaptionBatch]:
        """Batches of any split, in its own order, untouched by training settings."""
        dataset = self._dataset(split, training=False)
        return self._loader(dataset, InOrderSampler(len(dataset), self.eval_batch_size, **self._processes()))

    def _dataset(self, split: str, *, training: bool) -> CaptionDataset:
        key = f"{split} for training" if training else split
        if key not in self._datasets:
            images = self.images(split)
            if training and self.captions_per_image is not None:
                images = in_parts(images, self.captions_per_image)
            self._datasets[key] = CaptionDataset(
                images,
                EncodedCaptions(images, self.tokenizer, max_length=self.max_length if training else None),
                pad=self.tokenizer.special.pad,
                source=self.store(split) or self._source(images, training=training),
                layouts=None if self.object_categories is None else Layouts(images, self.object_categories),
            )
        return self._datasets[key]

    def _source(self, images: Sequence[CaptionedImage], *, training: bool) -> Source:
        augmented = self._augmented() if training and self.augment is not None else None
        return source_of(self.encoder, images, augmented=augmented, keep=training and self.keep_images)

    def _augmented(self) -> Callable[[Image], Tensor]:
        if not isinstance(self.encoder.transform, ImageTransform):
            raise InputError(f"data.augment={self.augment}: sentences are not augmented; set data.augment=null")
        augmented = self.encoder.transform.augmented
        known = inspect.signature(augmented).parameters
        if not isinstance(self.augment, Mapping) or self.augment.keys() - known.keys():
            raise InputError(f"data.augment={self.augment}: expected values of some of {', '.join(known)}")
        return augmented(**self.augment)

    def _loader(self, dataset: CaptionDataset, sampler: Sampler[list[int]]) -> DataLoader[CaptionBatch]:
        return DataLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def _processes(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}


def split_name(name: str) -> str:
    """The name by which files know a split: Flickr8k calls its val "dev" too."""
    return "val" if name == "dev" else name


def in_parts(images: Sequence[CaptionedImage], size: int) -> list[CaptionedImage]:
    """Each image as often as it takes to bring `size` of its captions at a time."""
    return [
        replace(image, captions=image.captions[start : start + size])
        for image in images
        for start in range(0, len(image.captions), size)
    ]


class Flickr8kDataModule(CaptionDataModule):
    """Flickr8k (Hodosh et al. 2013) in its own layout, its common mirror's, or by Karpathy's JSON.

    Args:
        root: the data set's folder; `captioning.data.readers.flickr8k` says what may lie in it.
        karpathy: dataset_flickr8k.json, where it is to name the splits.
        split_seed: makes splits where there are no lists.
        loading: see `CaptionDataModule`.
    """

    data_name = "flickr8k"

    def __init__(
        self,
        root: str,
        *,
        karpathy: str | None = None,
        split_seed: int | None = None,
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading)
        self.root, self.karpathy, self.split_seed = Path(root), karpathy, split_seed

    def read(self, split: str) -> list[CaptionedImage]:
        """See `CaptionDataModule.read`."""
        if self.karpathy is not None:
            pictures = images_folder(self.root)
            return read_karpathy(Path(self.karpathy), pictures, split, check_files=self._check_files)
        return read_flickr8k(self.root, split, split_seed=self.split_seed, check_files=self._check_files)


class CocoDataModule(CaptionDataModule):
    """COCO captions (Chen et al. 2015) in the official layout, or by Karpathy's JSON; and all that is laid out so.

    Args:
        root: the folder that holds `annotations/` and `{train,val,test}{year}/`.
        year: 2014 or 2017.
        karpathy: dataset_coco.json, where it is to name the splits (of the 2014 images).
        objects: read the annotated objects too, from the instances files; with `karpathy` those of 2014.
        hint: what to do where `root` has no annotations; None for where COCO is downloaded.
        name: the data set's name in signatures.
        loading: see `CaptionDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        year: int = 2017,
        karpathy: str | None = None,
        objects: bool = False,
        hint: str | None = None,
        name: str = "coco",
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading)
        self.root, self.year, self.karpathy, self.objects = Path(root), year, karpathy, objects
        self.data_name, self.hint = name, hint

    def read(self, split: str) -> list[CaptionedImage]:
        """See `CaptionDataModule.read`."""
        if self.karpathy is not None:
            images = read_karpathy(Path(self.karpathy), self.root, split, check_files=self._check_files)
            return add_objects(images, self.root) if self.objects else images
        if self.hint is not None and not (self.root / "annotations").is_dir():
            raise InputError(f"no annotations/ in {self.root.absolute()}; {self.hint}")
        captions, instances, pictures = coco_files(self.root, split, self.year)
        return read_coco(captions, pictures, instances if self.objects else None, check_files=self._check_files)


class KarpathyDataModule(CaptionDataModule):
    """Any data set in the form of Karpathy's JSON, such as Flickr30k.

    Args:
        json: the file.
        root: the folder of the images.
        loading: see `CaptionDataModule`.
    """

    def __init__(self, json: str, root: str, **loading: Unpack[Loading]) -> None:
        super().__init__(**loading)
        self.json, self.root = Path(json), Path(root)
        self.data_name = self.json.stem.removeprefix("dataset_")

    def read(self, split: str) -> list[CaptionedImage]:
        """See `CaptionDataModule.read`."""
        return read_karpathy(self.json, self.root, split, check_files=self._check_files)


class ParallelTextDataModule(CaptionDataModule):
    """Sentences and their translations in line-parallel files, such as Multi30k's; or one language by itself.

    Args:
        root: the folder of the files; `captioning.data.readers.parallel` says how they are called.
        source: the language that is translated, as the files' names end; None for none, for language models.
        target: the language that is said.
        name: the data set's name in signatures; the languages are added.
        loading: see `CaptionDataModule`.
    """

    def __init__(
        self, root: str, *, target: str, source: str | None = None, name: str = "text", **loading: Unpack[Loading]
    ) -> None:
        super().__init__(**loading)
        self.root, self.source, self.target = Path(root), source, target
        self.data_name = "-".join(part for part in (name, source, target) if part is not None)

    def read(self, split: str) -> list[CaptionedImage]:
        """See `CaptionDataModule.read`."""
        return read_parallel(self.root, split, source=self.source, target=self.target)
