"""Samplers that group images into batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from captioning.errors import InputError
from captioning.seeds import seed_of

log = logging.getLogger(__name__)


class Rows(list[int]):
    """The rows of a batch.

    Attributes:
        seed: seed of the batch's random augmentation.
        repeated: whether another process has the same rows.
    """

    seed: int = 0
    repeated: bool = False


class BucketSampler(Sampler[list[int]]):
    """Yield batches of images whose captions have similar lengths, in a new order every epoch.

    Images are shuffled, split into pools of `pool` batches, sorted by length within each pool and split into batches,
    which are shuffled. The order depends only on the seed and the epoch. Images without captions are left out, and the
    log counts them.

    Several processes share each batch, so that W processes with `batch_size` images see what one process sees with
    W · `batch_size`. An image goes to one process. If the last batch has fewer images than there are processes, each
    process without an image gets the batch's first image. These rows are marked as `repeated`, and training does not
    count them.

    Args:
        lengths: (I,) number of tokens of each image's longest caption, 0 for an image without captions.
        batch_size: images per batch and process.
        seed: seed of the shuffling and of each batch's augmentation.
        rank: index of this process.
        world_size: number of processes.
        pool: batches per pool. Each is shared by all processes.

    Raises:
        InputError: no image has a caption, or `batch_size` is below 1.
    """

    def __init__(
        self,
        lengths: Sequence[int] | npt.NDArray[np.int64],
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pool: int = 50,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.images = np.flatnonzero(self.lengths)
        if not len(self.images):
            raise InputError(f"none of the {len(self.lengths)} training images has a caption")
        if len(self.images) < len(self.lengths):
            without = len(self.lengths) - len(self.images)
            log.warning("%d of %d images have no caption and are left out", without, len(self.lengths))
        self.batch_size, self.seed = _at_least_one(batch_size), seed
        self.rank, self.world_size, self.pool = rank, world_size, pool
        self.epoch = 0
        self._left_out = (0, 0)

    def resume(self, epoch: int, num_batches: int) -> None:
        """Continue an epoch of an interrupted run, without the batches that it has already trained on.

        Args:
            epoch: the epoch to continue. The next iteration yields the rest of it.
            num_batches: how many of its first batches each process leaves out. Other epochs are whole.
        """
        self.epoch = epoch
        self._left_out = (epoch, num_batches)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order comes next. Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of one process."""
        return _per_process(len(self.images), self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, (resumed, left_out) = self.epoch, self._left_out
        first = left_out if epoch == resumed else 0
        random = np.random.default_rng((self.seed, epoch))
        together = self.batch_size * self.world_size
        pools = _chunks(random.permutation(self.images), together * self.pool)
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = _chunks(order, together)
        shuffled = random.permutation(len(batches)).tolist()
        for n in range(first, len(batches)):
            batch = batches[shuffled[n]]
            own = batch[self.rank :: self.world_size]  # each process gets short and long captions
            rows = Rows((own if len(own) else batch[:1]).tolist())
            rows.seed, rows.repeated = seed_of(self.seed, epoch, n * self.world_size + self.rank), not len(own)
            yield rows


class InOrderSampler(Sampler[list[int]]):
    """Yield batches of images in the order of the split, for evaluation.

    With several processes, each gets every world_size-th batch. If the number of batches is not divisible by
    `world_size`, some batches go to two processes. `captioning.evaluation.predictions.evaluate` keeps one result for
    each image id.

    Args:
        num_images: I.
        batch_size: images per batch.
        rank: index of this process.
        world_size: number of processes.

    Raises:
        InputError: `batch_size` is below 1.
    """

    def __init__(self, num_images: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.num_images, self.batch_size = num_images, _at_least_one(batch_size)
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Return the number of batches of one process."""
        return _per_process(self.num_images, self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        batches = _chunks(np.arange(self.num_images), self.batch_size)
        for n in range(self.rank, len(self) * self.world_size, self.world_size):
            yield batches[n % len(batches)].tolist()


def _chunks(rows: npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    """Split into chunks of `size` rows. The last one may be shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _per_process(num_images: int, batch_size: int, world_size: int) -> int:
    """Return the number of batches of each process, rounded up."""
    return -(-num_images // (batch_size * world_size))


def _at_least_one(batch_size: int) -> int:
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} must be at least 1")
    return batch_size
