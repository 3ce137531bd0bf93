"""Policy gradients: a decoder learns from the rewards of captions that it has sampled itself.

    ∂L = -E[(r(w^s) - b) ∂log p(w^s | I)],   w^s ~ p(. | I)                                 (5) of arXiv:1612.00563

The captions are sampled without a gradient, token by token, and then read once by teacher forcing, whose gradient is
that of the sampled tokens' log-probabilities. The baseline b does not depend on w^s, so it changes no expectation.

Differs: dropout acts when the captions are read, and not when they are sampled. `<unk>` is never sampled, so p is the
distribution over the other tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from captioning.data.batch import CaptionBatch, collate
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.metrics.rewards import Reward
from captioning.modes import evaluating
from captioning.objectives.averages import Mean, total
from captioning.objectives.cross_entropy import CrossEntropy
from captioning.search.hypotheses import Hypotheses, Search
from captioning.search.processors import special_ids
from captioning.search.sampling import LARGEST_SEED, Sampling
from captioning.text.tokenizer import Tokenizer


class PolicyGradient(ABC):
    """The loss whose gradient is the above, a mean over sampled captions, mixed with the cross-entropy.

        L = (1 - λ) L_policy + λ L_cross-entropy

    Args:
        references: the reference captions of each training image, as published.
        tokenizer: of the decoder's captions.
        reward: the weight of each score in the reward, such as {"CIDEr": 1.0}; see `captioning.metrics.rewards`.
        end_token: whether the end token counts as a word in the reward.
        num_samples: n, the captions that are sampled of each image.
        max_length: the most tokens of a sampled caption, `<eos>` included.
        cross_entropy: λ, the share of the cross-entropy of the batch's own captions.

    Attributes:
        least_samples: the smallest n that the baseline allows.

    Raises:
        InputError: a setting is out of range, or the reward cannot be computed; see `Reward`.
    """

    least_samples: ClassVar[int] = 1

    def __init__(
        self,
        references: Mapping[int | str, Sequence[str]],
        tokenizer: Tokenizer,
        *,
        reward: Mapping[str, float],
        end_token: bool = True,
        num_samples: int,
        max_length: int = 30,
        cross_entropy: float = 0.0,
    ) -> None:
        if num_samples < self.least_samples:
            raise InputError(f"num_samples={num_samples} must be at least {self.least_samples}")
        if not 0 <= cross_entropy < 1:
            raise InputError(f"cross_entropy={cross_entropy} must be at least 0 and below 1")
        self.sampling = Sampling(num_samples=num_samples, max_length=max_length)
        self.reward = Reward(references, reward, end_token=end_token)
        self.tokenizer, self.cross_entropy = tokenizer, cross_entropy
        self._likelihood = CrossEntropy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the objective itself: it never changes, and its references may be large."""
        return self

    @abstractmethod
    def baselines(self, rewards: Tensor, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the baseline b of each sampled caption.

        Args:
            rewards: of the sampled captions, (I, n) float64.
            decoder: in evaluation mode.
            features: of the batch's I images.
            batch: the batch.

        Returns:
            A tensor that fits `rewards`.
        """

    def signature(self) -> dict[str, Any]:
        """Report what determines the rewards and the baseline."""
        return {"baseline": type(self).__name__, "samples": self.sampling.num_samples, **self.reward.signature()}

    def __call__(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        return total(self.means(decoder, features, batch))

    def means(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> list[Mean]:
        """Compute the parts of the loss: means over the sampled captions and over the batch's tokens."""
        with evaluating(decoder), torch.no_grad():
            samples = self.search(self._sampling(), decoder, features)
            rewards = self.rewards(samples, batch)
            advantages = rewards - self.baselines(rewards, decoder, features, batch)
        scores = self.log_probs(decoder, features, samples)
        loss = -(advantages.to(scores) * scores).mean()
        parts = [Mean((1 - self.cross_entropy) * loss, scores.numel())]
        if self.cross_entropy:
            likelihood = self.cross_entropy * self._likelihood(decoder, features, batch)
            parts.append(Mean(likelihood, int(batch.lengths.sum())))
        return parts

    def search(self, search: Search, decoder: Decoder[Any], features: ImageFeatures) -> Hypotheses:
        """Find captions of images without a gradient."""
        found = search(decoder, features, self.tokenizer.special)
        torch.clear_autocast_cache()  # else teacher forcing would reuse weights that were converted without a gradient
        return found

    def rewards(self, found: Hypotheses, batch: CaptionBatch) -> Tensor:
        """Compute the reward of each of the images' n captions, (I, n) float64."""
        num_images, n, _ = found.tokens.shape
        texts = [
            self.tokenizer.decode(ids[:length])
            for ids, length in zip(found.tokens.flatten(0, 1).tolist(), found.lengths.flatten().tolist(), strict=True)
        ]
        images = [image_id for image_id in batch.image_ids for _ in range(n)]
        rewards = self.reward(texts, images, found.finished.flatten().tolist())
        return torch.from_numpy(rewards).reshape(num_images, n).to(found.tokens.device)

    def log_probs(self, decoder: Decoder[Any], features: ImageFeatures, samples: Hypotheses) -> Tensor:
        """Compute the log-probability of each sampled caption by teacher forcing, (I, n) float32, with its gradient."""
        num_images, n, _ = samples.tokens.shape
        special = self.tokenizer.special
        captions = [
            [[special.bos, *ids[:length]] for ids, length in zip(own, lengths, strict=True)]
            for own, lengths in zip(samples.tokens.tolist(), samples.lengths.tolist(), strict=True)
        ]
        read = collate(range(num_images), captions, pad=special.pad).to(samples.tokens.device)
        inputs = read.inputs()
        logits = in_float(decoder(features, inputs, read.image_index))
        never = torch.tensor(special_ids(special, allow_unknown=False), device=logits.device)
        log_probs = logits.index_fill(1, never, -torch.inf).log_softmax(1)
        chosen = log_probs.gather(1, read.targets().data[:, None])[:, 0]
        caption = (read.image_index * n + read.caption_index)[packed_rows(inputs)]
        return chosen.new_zeros(num_images * n).index_add(0, caption, chosen).reshape(num_images, n)

    def _sampling(self) -> Sampling:
        """Make the search that samples, with new random numbers from torch's generator."""
        seed = int(torch.randint(LARGEST_SEED, ()))
        return Sampling(num_samples=self.sampling.num_samples, max_length=self.sampling.max_length, seed=seed)
