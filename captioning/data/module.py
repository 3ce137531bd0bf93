"""The data module: a data set's splits as batches for one model."""

from __future__ import annotations

import ctypes
import inspect
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.utilities.seed import pl_worker_init_function
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from captioning.data.batch import CaptionBatch
from captioning.data.dataset import CaptionDataset
from captioning.data.encoded import EncodedCaptions
from captioning.data.example import CaptionedImage
from captioning.data.features.precision import with_precision
from captioning.data.features.store import FeatureStore
from captioning.data.layouts import Layouts
from captioning.data.loading import Loading
from captioning.data.sampler import BucketSampler, InOrderSampler
from captioning.data.sources import Source, source_of
from captioning.data.splits import Splits, split_name
from captioning.encoders.encoder import Encoder
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer

_PR_SET_PDEATHSIG = 1  # prctl's option that sets which signal Linux sends to a process when its parent ends


class CaptionDataModule(pl.LightningDataModule):
    """Batches of a data set's splits for one model. Splits are read when they are first needed.

    Args:
        splits: the data set.
        loading: how batches are made.
        encoder: the model's encoder.
        transform: the model's transform, which turns an image or a sentence into the encoder's input.
        tokenizer: the model's tokenizer.
        categories: the model's object categories, in the order of their ids; None for batches without objects.
    """

    def __init__(
        self,
        splits: Splits,
        loading: Loading,
        *,
        encoder: Encoder,
        transform: ImageTransform | TextTransform,
        tokenizer: Tokenizer,
        categories: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.splits, self.loading = splits, loading
        self.encoder, self.transform, self.tokenizer, self.categories = encoder, transform, tokenizer, categories
        self._datasets: dict[str, CaptionDataset] = {}
        self._trained = (0, 0)

    @property
    def split(self) -> str:
        """The split of validation and evaluation."""
        return self.loading.split

    def store(self, split: str) -> FeatureStore | None:
        """Open a split's cached features and check that they are the encoder's.

        Returns:
            The store; None if batches hold images, or if the encoder reads nothing.

        Raises:
            InputError: the features are another encoder's, or of other images, or of image files that were replaced.
        """
        if self.loading.features is None or self.encoder.reads == "nothing":
            return None
        store = FeatureStore(Path(self.loading.features) / split_name(split))
        files = {image.image_id: image.path for image in self.splits.images(split)}
        identity = with_precision(self.encoder.identity(self.transform), self.loading.features_precision)
        store.check(identity, list(files))
        if self.encoder.reads == "images":
            store.check_files(files)
        return store

    def resume(self, epoch: int, num_batches: int) -> None:
        """Let the next training batches be those after the first `num_batches` of an epoch, see `BucketSampler`.

        Lightning itself sets a sampler's epoch only after worker processes have begun to read.
        """
        self._trained = (epoch, num_batches)

    def train_dataloader(self) -> DataLoader[CaptionBatch]:
        """Make batches of the training split, grouped by caption length, in a new order every epoch."""
        dataset = self._dataset("train", training=True)
        sampler = BucketSampler(
            dataset.captions.lengths,
            self.loading.batch_size,
            pool=self.loading.pool,
            seed=self.loading.seed,
            **self._processes(),
        )
        sampler.resume(*self._trained)
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[CaptionBatch]:
        """Make batches of `split` in its own order."""
        return self.evaluation_dataloader(self.split)

    def evaluation_dataloader(self, split: str) -> DataLoader[CaptionBatch]:
        """Make batches of any split, in its own order, without augmentation or truncation."""
        dataset = self._dataset(split, training=False)
        return self._loader(dataset, InOrderSampler(len(dataset), self.loading.eval_batch_size, **self._processes()))

    def first(self, split: str) -> CaptionBatch:
        """Make the batch of a split's first image, as in validation."""
        return self._dataset(split, training=False)[[0]]

    def _dataset(self, split: str, *, training: bool) -> CaptionDataset:
        key = f"{split} for training" if training else split
        if key not in self._datasets:
            images, loading = self.splits.images(split), self.loading
            shortened = {"max_length": loading.max_length, "part": loading.captions_per_image} if training else {}
            self._datasets[key] = CaptionDataset(
                images,
                EncodedCaptions(images, self.tokenizer, **shortened),
                pad=self.tokenizer.special.pad,
                source=self.store(split) or self._source(images, training=training),
                layouts=None if self.categories is None else Layouts(images, self.categories),
            )
        return self._datasets[key]

    def _source(self, images: Sequence[CaptionedImage], *, training: bool) -> Source:
        transform: ImageTransform | TextTransform | Callable[[Image], Tensor] = self.transform
        if training and self.loading.augment is not None:
            transform = augmented(self.transform, self.loading.augment)
        return source_of(self.encoder, transform, images, keep=training and self.loading.keep_images)

    def _loader(self, dataset: CaptionDataset, sampler: Sampler[list[int]]) -> DataLoader[CaptionBatch]:
        return DataLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            num_workers=self.loading.num_workers,
            persistent_workers=self.loading.num_workers > 0,
            worker_init_fn=_start_worker,
        )

    def _processes(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}


def _start_worker(worker: int) -> None:
    """Let a worker ignore signals: training finishes its step after a signal, and may still need a batch for it.

    On Linux, the worker ends when its parent ends.
    """
    pl_worker_init_function(worker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def augmented(transform: ImageTransform | TextTransform, settings: Mapping[str, object]) -> Callable[[Image], Tensor]:
    """Make the random variant of a transform, for training images.

    Raises:
        InputError: the data are sentences, or a setting is not one of `ImageTransform.augmented`.
    """
    if not isinstance(transform, ImageTransform):
        raise InputError(f"data.augment={settings}: sentences are not augmented; set data.augment=null")
    known = inspect.signature(transform.augmented).parameters
    if not isinstance(settings, Mapping) or settings.keys() - known.keys():
        raise InputError(f"data.augment={settings}: expected values of some of {', '.join(known)}")
    return transform.augmented(**settings)  # type: ignore[arg-type] # checked by the transform itself
