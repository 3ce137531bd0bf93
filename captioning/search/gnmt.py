"""Beam search whose hypotheses are ranked by length and by how much of the image they attended to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from captioning.decoders.decoder import AttentiveDecoder, Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beam import BeamSearch, check_beams
from captioning.search.beams import pick
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.length_rules import Gnmt
from captioning.search.processors import Processor
from captioning.text.tokenizer import SpecialTokens

STRONGEST = 100.0
"""The largest β."""
SMALLEST = 1e-9
"""The least attention of a region that is counted, so that the logarithm is finite."""


@dataclass(frozen=True, kw_only=True)
class GnmtSearch(Search):
    """Ranks the hypotheses of a beam search by a length penalty and a coverage penalty.

    Source: Wu et al. 2016 (arXiv:1609.08144), section 7, eq. 14:

        s(Y, X) = log P(Y|X) / lp(Y) + cp(X; Y)
        lp(Y)   = (5 + |Y|)^α / (5 + 1)^α
        cp(X;Y) = β Σ_i log(min(Σ_j p_ij, 1))                p_ij: the attention of token j to region i

    cp is 0 if every region has a total attention of 1, and below 0 if the caption left regions out.

    `BeamSearch` with the length rule `Gnmt` finds K hypotheses. The decoder reads each of them once more, because no
    search stores attention. The n best by s are returned, finished ones first. Their scores are log-probabilities.

    Differs: the paper applies cp during the search too, to prune. Its encoder's positions are words of a sentence. An
    image's regions are not all mentioned, so a small β suits captions, and translations the paper's 0.2.

    Args:
        beam_size: K, at most 1,024.
        num_best: n, at most K.
        alpha: α, in 0..10.
        beta: β, in 0..100; 0 ranks by length alone, as `BeamSearch` does.
        max_length: see `Search`.
        allow_unknown: see `Search`.
        processors: see `Search`.

    Raises:
        InputError: a setting is out of range, the decoder has no attention, or the search does not fit in memory.
    """

    beam_size: int = 10
    max_length: int = 30
    num_best: int = 1
    alpha: float = 0.2
    beta: float = 0.2
    allow_unknown: bool = False
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beams(self.beam_size, self.num_best)
        if not 0 <= self.beta <= STRONGEST:  # NaN too
            raise InputError(f"beta={self.beta} must be in 0..{STRONGEST:g}")
        self._beam_search()  # checks the other settings

    def _beam_search(self) -> BeamSearch:
        return BeamSearch(
            beam_size=self.beam_size,
            max_length=self.max_length,
            num_best=self.beam_size,
            length_normalization=Gnmt(self.alpha),
            allow_unknown=self.allow_unknown,
            processors=self.processors,
        )

    @torch.no_grad()
    def __call__(self, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens) -> Hypotheses:
        """See `Search`; n is `num_best`."""
        if not isinstance(decoder, AttentiveDecoder):
            raise InputError(
                f"{type(decoder).__name__} has no attention, which search=gnmt ranks by; use search=beam with a length "
                "rule, or an attentive decoder, such as decoder=soft_attention"
            )
        found = self._beam_search()(decoder, features, special)
        real = found.scores > -torch.inf
        ranks = Gnmt(self.alpha).rank(found.scores, found.lengths.clamp(min=1))
        ranks[real] += self.beta * coverage(decoder, features, found, special)  # (14)
        order = ranks.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, found.finished.gather(1, order).byte().argsort(dim=1, descending=True, stable=True))
        return Hypotheses(**{name: pick(value, order[:, : self.num_best]) for name, value in vars(found).items()})


def coverage(
    decoder: AttentiveDecoder[Any], features: ImageFeatures, found: Hypotheses, special: SpecialTokens
) -> Tensor:
    """Compute Σ_i log(min(Σ_j p_ij, 1)) over the real regions of each hypothesis's image.

    Returns:
        (h) float32, for the hypotheses of all images that are some, in their order.
    """
    image, place = (found.scores > -torch.inf).nonzero(as_tuple=True)
    if not len(image):
        return found.scores.new_zeros(0)
    lengths, tokens = found.lengths[image, place], found.tokens[image, place]
    inputs = torch.cat([tokens.new_full((len(tokens), 1), special.bos), tokens[:, :-1]], 1)
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    attention = packed._replace(data=decoder.attend(features, packed, image).attention.float())
    total = pad_packed_sequence(attention, batch_first=True)[0].sum(1)  # (h, R); padding has no attention
    penalties = total.clamp(SMALLEST, 1.0).log()
    if features.mask is not None:
        penalties = penalties.masked_fill(~features.mask[image], 0.0)
    return penalties.sum(1)
