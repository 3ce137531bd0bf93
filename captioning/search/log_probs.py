"""The log-probabilities that all searches read, and what is checked about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from captioning.errors import InputError
from captioning.search.processors import Processor, apply
from captioning.search.vocabulary import log_probabilities

COPIES = 3
"""How many arrays of (rows, V) a step holds at once, at least: logits, log-probabilities, and these as processed."""
BYTES = 4
_MEMINFO = Path("/proc/meminfo")


def next_log_probs(
    logits: Tensor, processors: Sequence[Processor], step: int, tokens: Tensor, images: Tensor
) -> Tensor:
    """Compute the next token's log-probabilities, (B, V) float32, and apply the processors.

    `argmax` and `topk` take NaN for the largest number, so NaN would become a caption.

    Args:
        logits: (B, V) of any floating dtype; overwritten.
        processors: applied in this order.
        step: 0 for the first word.
        tokens: (B, step) int64, the hypotheses so far.
        images: (i,) int64, the images of the rows. B is a multiple of i, and the rows of an image are adjacent.

    Raises:
        InputError: the decoder gives logits of NaN or infinity, or a processor gives NaN.
    """
    log_probs = log_probabilities(logits)
    # One logit of NaN or +inf, or logits of -inf alone, make the whole row NaN. So one column shows it.
    _check_numbers(
        log_probs[:, 0],
        step,
        images,
        "the decoder's logits hold NaN or infinity; its weights or the "
        "image's features may be damaged, or training has diverged",
    )
    if not processors:
        return log_probs
    log_probs = apply(processors, step, tokens, log_probs)
    if len(processors) > 1:  # the first one forbids special tokens
        _check_numbers(log_probs.amax(1), step, images, "a processor of the search gives NaN")
    return log_probs


def _check_numbers(column: Tensor, step: int, images: Tensor, reason: str) -> None:
    """Check that a value of each row, (B), is no NaN."""
    wrong = column.isnan()
    if wrong.any():
        row = int(wrong.nonzero()[0])
        image = int(images[row * len(images) // len(column)])
        raise InputError(f"no caption for the image in row {image} of the batch: at word {step + 1}, {reason}")


def check_memory(num_images: int, per_image: int, vocab_size: int, device: torch.device, *, setting: str) -> None:
    """Check that a step's log-probabilities fit in the memory that is available.

    Nothing is checked on systems that do not say how much memory is available.

    Args:
        num_images: I.
        per_image: the rows of each image.
        vocab_size: V.
        device: where the search runs.
        setting: the setting that decides on the rows of an image.

    Raises:
        InputError: they do not fit.
    """
    available = available_memory(device)
    needed = COPIES * BYTES * num_images * per_image * vocab_size
    if available is None or needed <= available:
        return
    rows = available // (COPIES * BYTES * vocab_size)
    smaller = [f"{setting}={rows // num_images}"] if rows >= num_images and per_image > 1 else []
    smaller += [f"batches of {rows // per_image:,} images"] if rows >= per_image and num_images > 1 else []
    raise InputError(
        f"the search does not fit in memory: {num_images:,} images x {per_image:,} rows x {vocab_size:,} tokens x "
        f"{BYTES} bytes x {COPIES} are {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are available; use "
        + (" or ".join(smaller) or f"a smaller {setting} and smaller batches")
    )


def available_memory(device: torch.device) -> int | None:
    """Return how many bytes can be allocated on a device; None if the system does not say."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    if device.type != "cpu" or not _MEMINFO.exists():
        return None
    for line in _MEMINFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
