"""M-best lists of a captioner: the captions that its search finds, with the features that re-rank them.

Source: Fang et al. 2015 (arXiv:1411.4952), whose sixteen features are in `captioning.reranking.features`; and Mao et
al. 2015, m-RNN (arXiv:1412.6632), section 8, whose consensus score can be a further feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from captioning.data.batch import CaptionBatch
from captioning.data.module import CaptionDataModule
from captioning.decoders.concepts import Concepts
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError, shown
from captioning.evaluation.predictions import reference_losses
from captioning.metrics import tokenize
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.model.aligner import Aligner
from captioning.model.captioner import Captioner
from captioning.reranking.consensus import CiderSimilarity, consensus, nearest, overlap
from captioning.reranking.features import FEATURES, sentence_features, words_said
from captioning.reranking.nbest import NBest
from captioning.search.covering import CoveringSearch
from captioning.search.hypotheses import Hypotheses, Search

Floats = NDArray[np.float64]
ImageId = int | str

CONSENSUS = "consensus"
"""The name of the feature s(h) of consensus re-ranking."""
MOST_SIMILAR = {"bleu": 175, "cider": 125}
"""m of consensus re-ranking for each similarity, as m-RNN has it."""
THRESHOLD = 0.5
"""The probability from which a word counts as detected if neither search nor decoder has a threshold."""
DIGITS = 6
"""Decimals of a model's scores in a file. They are float32, and have no more."""


@dataclass(frozen=True)
class Found:
    """What a search found for one image.

    Attributes:
        image_id: the image.
        captions: (M) different captions, in the search's order.
        log_likelihoods: (M) in nats.
        said: (M) how many of the image's detected words each caption says; None without detected words.
        pooled: (F) the image's own vector, as the decoder reads it.
        loss: the sum over the tokens of the image's references of -log p, in nats.
        num_tokens: how many tokens are in that sum.
        num_equal: hypotheses whose text is that of an earlier one. They are left out.
        num_unfinished: how many of the captions were truncated at the maximum length.
    """

    image_id: ImageId
    captions: tuple[str, ...]
    log_likelihoods: tuple[float, ...]
    said: tuple[int, ...] | None
    pooled: Floats
    loss: float
    num_tokens: int
    num_equal: int
    num_unfinished: int


def concepts_of(decoder: Decoder[Any], search: Search, detector_words: Sequence[int] = ()) -> Concepts | None:
    """Return the words that the search mentions, else those that the decoder mentions, else those of the detector.

    Args:
        decoder: the captioner's.
        search: how captions are found.
        detector_words: the token id of each word of the encoder's detector, -1 for those that the vocabulary lacks;
            empty without a detector.
    """
    if isinstance(search, CoveringSearch) and search.concepts:
        return Concepts(search.concepts, search.threshold)
    concepts = getattr(decoder, "concepts", None)
    if isinstance(concepts, Concepts) and concepts.ids:
        return concepts
    return Concepts(detector_words, THRESHOLD) if detector_words else None


def find(
    captioner: Captioner, search: Search, data: CaptionDataModule, detector_words: Sequence[int] = ()
) -> list[Found]:
    """Search for the M best captions of each image of the data module's split.

    Args:
        captioner: in evaluation mode.
        search: how captions are found.
        data: a data module that was built with the captioner's encoder, transform and tokenizer.
        detector_words: see `concepts_of`.

    Raises:
        InputError: the search found no caption of an image, or the features lack something that the model needs.
    """
    concepts = concepts_of(captioner.decoder, search, detector_words)
    found = []
    for batch in track(data.evaluation_dataloader(data.split), "searching"):
        with torch.inference_mode():
            found += _found(captioner, search, concepts, batch.to(captioner.device))
    return found


def _found(captioner: Captioner, search: Search, concepts: Concepts | None, batch: CaptionBatch) -> list[Found]:
    decoder, special = captioner.decoder, captioner.tokenizer.special
    features = captioner.features(batch)
    hypotheses = search(captioner.searched, features, special)
    losses, num_tokens, _ = reference_losses(decoder, features, batch, special.unk)
    vocabulary = captioner.tokenizer.vocabulary
    detected = _detected(concepts, features, vocabulary)
    pooled, found = features.pooled.double().cpu().numpy(), []
    for i, image_id in enumerate(batch.image_ids):
        kept, num_equal = _different(captioner, hypotheses, i, image_id)
        rows, tokens = list(kept.values()), hypotheses.tokens[i].tolist()
        words = None if detected is None else detected[i]
        found.append(
            Found(
                image_id,
                captions=tuple(kept),
                log_likelihoods=tuple(hypotheses.scores[i, rows].tolist()),
                said=None
                if words is None
                else tuple(words_said([vocabulary[token] for token in tokens[row]], words) for row in rows),
                pooled=pooled[i],
                loss=float(losses[i]),
                num_tokens=int(num_tokens[i]),
                num_equal=num_equal,
                num_unfinished=int((~hypotheses.finished[i, rows]).sum()),
            )
        )
    return found


def _different(captioner: Captioner, hypotheses: Hypotheses, i: int, image_id: ImageId) -> tuple[dict[str, int], int]:
    """Return the position of each caption that differs from those before it, and how many hypotheses do not."""
    kept, num = dict[str, int](), 0
    tokens, exist = hypotheses.tokens[i].tolist(), (hypotheses.scores[i] > -torch.inf).tolist()
    for row, (ids, exists) in enumerate(zip(tokens, exist, strict=True)):
        if exists:
            kept.setdefault(captioner.tokenizer.decode(ids), row)
            num += 1
    if not kept:
        raise InputError(
            f"the search found no caption of image {shown(image_id)}; allow more tokens, or another search"
        )
    return kept, num - len(kept)


def _detected(concepts: Concepts | None, features: ImageFeatures, vocabulary: Sequence[str]) -> list[set[str]] | None:
    """Return the detected words of each image; None without a detector."""
    if concepts is None or features.words is None:
        return None
    ids, log_scores = concepts.detected(features)
    return [
        {vocabulary[token] for token, log_score in zip(*row, strict=True) if log_score > -np.inf}
        for row in zip(ids.tolist(), log_scores.tolist(), strict=True)
    ]


def similarities(aligner: Aligner, data: CaptionDataModule, found: Sequence[Found]) -> list[Floats]:
    """Score each image's captions by a matcher.

    Args:
        aligner: in evaluation mode.
        data: a data module of the same split that was built with the aligner's encoder, transform and tokenizer.
        found: of each image of the split.

    Returns:
        (M) for each image, in the order of `found`.
    """
    captions, scores = {own.image_id: own.captions for own in found}, dict[ImageId, Floats]()
    for batch in track(data.evaluation_dataloader(data.split), "matching"):
        with torch.inference_mode():
            features = aligner.features(batch.to(aligner.device))
            for i, image_id in enumerate(batch.image_ids):
                image = features.rows(torch.tensor([i], device=aligner.device))
                row = aligner.similarity(image, aligner.embed(captions[image_id]))[0]
                scores[image_id] = row.double().cpu().numpy()
    return [scores[own.image_id] for own in found]


def check_consensus(captioner: Captioner, data: CaptionDataModule, similarity: str) -> None:
    """Check that captions can be scored by those of similar training images.

    Raises:
        InputError: the similarity is unknown, the split is the training split, or the encoder sees nothing of an image.
    """
    if similarity not in MOST_SIMILAR:
        raise InputError(f"consensus={shown(similarity)}: expected {' or '.join(MOST_SIMILAR)}, or null for none")
    if data.split == "train":
        raise InputError(
            "consensus: the nearest training image would be the image itself; choose data.split=val or test"
        )
    if captioner.encoder.reads == "nothing":
        raise InputError("consensus: this model sees no image, so none is nearer than another; set consensus=null")


def consensus_scores(
    captioner: Captioner,
    data: CaptionDataModule,
    found: Sequence[Found],
    *,
    similarity: str,
    num_images: int = 60,
    num_captions: int | None = None,
) -> list[Floats]:
    """Score each image's captions by those of the most similar training images, s(h) of `captioning.reranking`.

    Images are similar if the vectors that the decoder reads of them have a large cosine.

    Args:
        captioner: in evaluation mode.
        data: a data module that was built with the captioner's encoder, transform and tokenizer.
        found: of each image of the data module's split.
        similarity: "bleu" or "cider".
        num_images: k, the number of training images.
        num_captions: m, how many of the highest similarities are averaged; None for m-RNN's 175 or 125.

    Returns:
        (M) for each image, in the order of `found`.

    Raises:
        InputError: see `check_consensus`; or k or m is below 1.
    """
    check_consensus(captioner, data, similarity)
    rows = nearest(np.stack([own.pooled for own in found]), _pooled(captioner, data, "train"), num_images)
    captions = list(tokenize(data.splits.references("train")).values())
    hypotheses = list(tokenize({own.image_id: own.captions for own in found}).values())
    measure = CiderSimilarity(DocumentFrequencies.of(captions)) if similarity == "cider" else overlap
    m = MOST_SIMILAR[similarity] if num_captions is None else num_captions
    return consensus(hypotheses, rows, captions, measure, m)


def _pooled(captioner: Captioner, data: CaptionDataModule, split: str) -> Floats:
    """Compute the vector of each image of a split, (I, F)."""
    parts = []
    for batch in track(data.evaluation_dataloader(split), f"reading features of {split}"):
        with torch.inference_mode():
            parts.append(captioner.features(batch.to(captioner.device)).pooled.double().cpu().numpy())
    return np.concatenate(parts)


def feature_names(found: Sequence[Found], *, matched: bool, consensus: bool) -> tuple[str, ...]:
    """List the features that can be computed: those of Fang et al. that a detector and a matcher allow, and s(h)."""
    detected = all(own.said is not None for own in found)
    left_out = () if detected else tuple(name for name in FEATURES if name.startswith("says_"))
    names = tuple(name for name in FEATURES if name not in left_out and (matched or name != "similarity"))
    return (*names, CONSENSUS) if consensus else names


def as_nbest(
    found: Sequence[Found], matched: Sequence[Floats] | None = None, consensus: Sequence[Floats] | None = None
) -> NBest:
    """Compute the features of all captions.

    Args:
        found: of each image.
        matched: the similarity of each caption and its image; None without a matcher.
        consensus: s(h) of each caption; None without.
    """
    values = []
    for i, own in enumerate(found):
        none = np.zeros(len(own.captions))
        table = sentence_features(
            np.round(own.log_likelihoods, DIGITS).tolist(),
            [len(caption.split()) for caption in own.captions],
            [0] * len(none) if own.said is None else own.said,
            np.round(none if matched is None else matched[i], DIGITS).tolist(),
        )
        values.append(np.column_stack([table, np.round(none if consensus is None else consensus[i], DIGITS)]))
    names = feature_names(found, matched=matched is not None, consensus=consensus is not None)
    columns = [(*FEATURES, CONSENSUS).index(name) for name in names]
    losses = np.array([(own.loss, own.num_tokens) for own in found])
    return NBest(
        image_ids=tuple(own.image_id for own in found),
        captions=tuple(own.captions for own in found),
        names=names,
        values=np.concatenate(values)[:, columns],
        losses=losses if np.isfinite(losses).all() else None,
    )
