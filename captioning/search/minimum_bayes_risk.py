"""Minimum Bayes risk: of an image's captions, the one that is most similar to the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError, shown
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import Processor
from captioning.search.utility import Utility
from captioning.text.tokenizer import SpecialTokens

Weights = Literal["uniform", "probability"]
MOST = 1000
"""The most captions of an image, each of which is compared with each."""


@dataclass(frozen=True, kw_only=True)
class MinimumBayesRisk(Search):
    """Chooses among the captions that another search finds, by their expected similarity to each other.

        U(h) = Σ_e w_e u(h, e)                         over all captions e that the search found, h itself included

    u(h, e) is a metric's score of h with e as the only reference. With samples, w_e = 1 / n. With the n best captions,
    w_e is the probability of e, divided by the sum of these. The caption of the largest U comes first, and the others
    follow in the order of U. Of equal ones, the first that the search found comes first. The returned scores are the
    decoder's own log-probabilities, which this order need not follow.

    Source: Kumar and Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine Translation", NAACL, with samples
    as evidence: Eikema and Aziz 2020 (arXiv:2005.10283).

    Args:
        search: finds the captions, such as `Sampling(num_samples=20)` or `BeamSearch(num_best=5)`; at most 1,000.
        utility: "CIDEr-D", "BLEU-4", "ROUGE-L" or "METEOR". BLEU-4 is that of single captions, without smoothing: it is
            almost 0 for captions without four words in a row in common.
        weights: "uniform" for samples, or "probability" for the n best.
        words: the word of each token id, by which captions are compared; METEOR and document frequencies need them.
            None compares the ids.
        frequencies: CIDEr-D's document frequencies: in how many images each n-gram occurs, its words joined by spaces.
            None weighs all n-grams the same. `captioning evaluate` reads them from a file.
        num_images: the number of images that `frequencies` counts.
        max_length: see `Search`; None for that of `search`, whose setting it replaces. So do the next two.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: a setting is out of range, or the utility needs words and has none. Or there are too many captions.
    """

    search: Search
    utility: str = "CIDEr-D"
    weights: Weights = "uniform"
    words: Sequence[str] | None = field(default=None, repr=False)
    frequencies: Mapping[str, int] | None = field(default=None, repr=False, hash=False)
    num_images: int = 2
    max_length: int = cast(int, None)
    allow_unknown: bool = cast(bool, None)
    processors: Sequence[Processor] = cast(Sequence[Processor], None)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("max_length", "allow_unknown", "processors")}
        changes = {name: value for name, value in given.items() if value is not None}
        object.__setattr__(self, "search", replace(cast(Any, self.search), **changes))
        for name in given:
            object.__setattr__(self, name, getattr(self.search, name))
        super().__post_init__()
        if self.weights not in get_args(Weights):
            raise InputError(f"weights={self.weights!r:.80}: expected one of {', '.join(get_args(Weights))}")
        if self.words is None and (self.utility == "METEOR" or self.frequencies):
            raise InputError(f"{self.utility} compares words here and has only token ids; give words=")
        if isinstance(self.frequencies, str):
            raise InputError(
                f"frequencies={shown(self.frequencies)}: only `captioning evaluate` and `nbest` read a file; expected "
                "the number of images of each n-gram"
            )
        object.__setattr__(self, "words", None if self.words is None else tuple(self.words))
        self._compare()

    def settings(self) -> dict[str, Any]:
        """Return the settings, with those of the inner search as plain values, and without the model's words.

        Document frequencies are identified by a digest.
        """
        inner = {name: value for name, value in self.search.settings().items() if name != "processors"}
        own = {name: value for name, value in super().settings().items() if name != "words"}
        return {
            **own,
            "search": {"name": type(self.search).__name__, **inner},
            "frequencies": None if self.frequencies is None else _digest(self.frequencies),
        }

    def _compare(self) -> Utility:
        return Utility(self.utility, self.frequencies or {}, self.num_images)

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is that of `search`."""
        found = self.search(decoder, features, special)
        if found.tokens.shape[1] > MOST:
            raise InputError(f"found {found.tokens.shape[1]} captions of an image to compare, expected at most {MOST}")
        if self.words is not None and len(self.words) != decoder.vocab_size:
            raise InputError(f"found {len(self.words)} words, expected those of {decoder.vocab_size} token ids")
        risk = -torch.from_numpy(self.expected_utilities(found, special)).to(found.scores.device)
        order = risk.argsort(dim=1, stable=True)  # -U is inf where there is no caption
        each = order[..., None].expand_as(found.tokens)
        return Hypotheses(
            tokens=found.tokens.gather(1, each),
            lengths=found.lengths.gather(1, order),
            scores=found.scores.gather(1, order),
            token_scores=found.token_scores.gather(1, each),
            finished=found.finished.gather(1, order),
        )

    def expected_utilities(self, found: Hypotheses, special: SpecialTokens) -> NDArray[np.float64]:
        """Compute U of each hypothesis, (I, n); -inf where there is none."""
        utility = self._compare()
        texts = [
            [self._text(tokens, special) if length else None for tokens, length in zip(*image, strict=True)]
            for image in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
        ]
        # Samples repeat captions: each pair of different ones is compared once.
        different = [sorted({text for text in own if text is not None}) for own in texts]
        pairs = [(h, e) for own in different for h in own for e in own]
        scores = iter(
            np.split(utility(*map(list, zip(*pairs, strict=True))) if pairs else np.zeros(0), _ends(different))
        )
        expected = np.full(found.lengths.shape, -np.inf)
        for image, (own, captions, weights) in enumerate(zip(texts, different, self._weights(found), strict=True)):
            number = {text: i for i, text in enumerate(captions)}
            evidence = np.zeros(len(captions))
            for text, weight in zip(own, weights, strict=True):
                if text is not None:
                    evidence[number[text]] += weight
            of_captions = next(scores).reshape(len(captions), len(captions)) @ evidence
            expected[image] = [-np.inf if text is None else of_captions[number[text]] for text in own]
        return expected

    def _weights(self, found: Hypotheses) -> list[list[float]]:
        """Compute w of the hypotheses of each image."""
        logits = found.scores.double()
        if self.weights == "uniform":
            logits = torch.zeros_like(logits).masked_fill(found.lengths == 0, -torch.inf)
        weights: list[list[float]] = logits.softmax(1).tolist()
        return weights

    def _text(self, tokens: Sequence[int], special: SpecialTokens) -> str:
        """Join the tokens of a caption, without the special ones but `<unk>`, by spaces."""
        kept = [token for token in tokens if token not in (special.pad, special.bos, special.eos)]
        return " ".join(map(str, kept) if self.words is None else (self.words[token] for token in kept))


def _ends(captions: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return where the pairs of each image end among those of all, but for the last image."""
    return np.cumsum([len(own) ** 2 for own in captions])[:-1].astype(np.int64)


def _digest(frequencies: Mapping[str, int]) -> str:
    text = json.dumps(sorted(frequencies.items()), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
