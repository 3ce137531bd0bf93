"""Retrieval by a captioner: images and sentences ranked by the probability of each sentence for each image.

Source: Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks" (arXiv:1412.6632), section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.metrics.ranking import marginal, retrieve_images, retrieve_sentences
from captioning.model.captioner import Captioner
from captioning.objectives import token_losses


def retrieve(captioner: Captioner, data: CaptionDataModule, *, captions_per_image: int) -> dict[str, Any]:
    """Retrieve images by sentences and sentences by images, in the data module's split.

    Every sentence is scored for every image, so time grows with the square of the split's size.

    Args:
        captioner: in evaluation mode.
        data: a data module that was built with the captioner's encoder, transform and tokenizer.
        captions_per_image: how many captions of each image are used as sentences, from the first.

    Returns:
        "text_to_image" and "image_to_text", each with R@1, R@5, R@10 and median_rank; "captions_per_image"; and
        "marginal", which names the images over which P(sentence | image) is averaged to get P(sentence). Sentences are
        ranked by P(sentence | image) / P(sentence).

    Raises:
        InputError: an image has no caption.
    """
    images = data.splits.images(data.split)
    chosen = [(row, text) for row, image in enumerate(images) for text in image.captions[:captions_per_image]]
    sentences = captioner.tokenizer.encode([text for _, text in chosen])
    parts = []
    for batch in track(data.evaluation_dataloader(data.split), "scoring every sentence for every image"):
        with torch.inference_mode():
            features = captioner.features(batch.to(captioner.device))
            parts.append(sentence_log_probs(captioner.decoder, features, sentences))
    log_probs, image_index = torch.cat(parts).cpu().numpy(), [row for row, _ in chosen]
    return {
        "text_to_image": retrieve_images(log_probs, image_index).scores(),
        "image_to_text": retrieve_sentences(log_probs, image_index, marginal(log_probs)).scores(),
        "captions_per_image": captions_per_image,
        "marginal": "over this split's images",
    }


@torch.no_grad()
def sentence_log_probs(
    decoder: Decoder[Any], features: ImageFeatures, sentences: Sequence[Sequence[int]], *, pairs: int = 1024
) -> Tensor:
    """Compute log P(sentence | image) of every pair by teacher forcing, end word included.

    Args:
        decoder: in evaluation mode.
        features: of I images.
        sentences: S captions' ids, `<bos>` first and `<eos>` last.
        pairs: number of pairs of image and sentence that are computed together.

    Returns:
        (I, S) float64, in nats.
    """
    num_images, device = len(features), features.pooled.device
    found = torch.empty(len(sentences), num_images, dtype=torch.float64, device=device)
    longest_first = sorted(range(len(sentences)), key=lambda s: -len(sentences[s]))
    at_once = max(1, pairs // num_images)
    for start in range(0, len(sentences), at_once):
        chunk = longest_first[start : start + at_once]
        batch = _every_pair([sentences[s] for s in chunk], num_images, device)
        losses = token_losses(decoder, features, batch)
        row = packed_rows(batch.targets())
        sums = torch.zeros(len(batch.lengths), dtype=torch.float64, device=device).index_add_(0, row, losses.double())
        found[chunk] = -sums.view(len(chunk), num_images)
    return found.T


def _every_pair(sentences: Sequence[Sequence[int]], num_images: int, device: torch.device) -> CaptionBatch:
    """Combine each sentence with each image, sentence by sentence, so that they stay sorted from the longest."""
    tokens = pad_sequence([torch.tensor(ids) for ids in sentences], batch_first=True).to(device)
    lengths = torch.tensor([len(ids) - 1 for ids in sentences])
    return CaptionBatch(
        image_ids=(),
        images=None,
        features=None,
        tokens=tokens.repeat_interleave(num_images, 0),
        lengths=lengths.repeat_interleave(num_images),
        image_index=torch.arange(num_images, device=device).repeat(len(sentences)),
        caption_index=torch.arange(len(sentences), device=device).repeat_interleave(num_images),
    )
