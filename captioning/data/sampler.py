"""Which images stand together in a batch."""

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
    """The rows of a batch, and the seed of whatever is random in making it."""

    seed: int = 0


class BucketSampler(Sampler[list[int]]):
    """Batches of images whose captions are about equally long, in another order every epoch.

    Images are shuffled, cut into pools of many batches, sorted by length inside each pool, cut into batches,
    and the batches shuffled. The order depends on the seed and the epoch alone. With several processes each
    one gets every world-th batch; the list is filled up from its start so that all have equally many. Images
    without captions have nothing to teach: they are left out, and their number is logged.

    Args:
        lengths: (I,) tokens of each image's longest caption, 0 where it has none.
        batch_size: images in a batch, on one process.
        seed: of the shuffling.
        rank: this process.
        world_size: number of processes.
        pool: batches in a pool.

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

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch`; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of one process."""
        return _per_process(len(self.images), self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        pools = _cut(random.permutation(self.images), self.batch_size * self.pool)
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = _cut(order, self.batch_size)
        shuffled = random.permutation(len(batches))
        for n in range(self.rank, len(self) * self.world_size, self.world_size):
            rows = Rows(batches[shuffled[n % len(batches)]].tolist())
            rows.seed = seed_of(self.seed, self.epoch, n)
            yield rows


class InOrderSampler(Sampler[list[int]]):
    """Batches of images in the split's order, for evaluation.

    With several processes each one gets every world-th batch; where the number does not divide, a process
    gets a batch that another one has too, and whoever gathers the results keeps one by image id.

    Args:
        num_images: I.
        batch_size: images in a batch.
        rank: this process.
        world_size: number of processes.

    Raises:
        InputError: `batch_size` is below 1.
    """

    def __init__(self, num_images: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.num_images, self.batch_size = num_images, _at_least_one(batch_size)
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Batches of one process."""
        return _per_process(self.num_images, self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        batches = _cut(np.arange(self.num_images), self.batch_size)
        for n in range(self.rank, len(self) * self.world_size, self.world_size):
            yield batches[n % len(batches)].tolist()


def _cut(rows: npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    """Pieces of `size` rows; the last one may be shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _per_process(num_images: int, batch_size: int, world_size: int) -> int:
    """Batches of each process, rounded up."""
    return -(-num_images // (batch_size * world_size))


def _at_least_one(batch_size: int) -> int:
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} must be at least 1")
    return batch_size
