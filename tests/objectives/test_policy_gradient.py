"""Policy gradients: on average over samples, the gradient is that of the expected reward."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioning.data.batch import CaptionBatch, collate
from captioning.decoders import ShowAndTell
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, LeaveOneOut, SelfCritical, loss_means
from captioning.objectives.policy_gradient import PolicyGradient
from captioning.recurrent import GRU
from captioning.search import GreedySearch, Sampling
from captioning.search.hypotheses import Hypotheses
from captioning.text import Tokenizer, train_words

REFERENCES = {"one": ["b a", "a b a"], "two": ["a", "b b"]}
LENGTH = 3


def tell(tokenizer: Tokenizer, dropout: float = 0.0) -> ShowAndTell:
    return ShowAndTell(
        recurrent=GRU, feature_size=3, vocab_size=len(tokenizer), embedding_size=5, hidden_size=7, dropout=dropout
    )


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train_words([text for group in REFERENCES.values() for text in group], min_count=1)


@pytest.fixture
def decoder(tokenizer: Tokenizer) -> ShowAndTell:
    torch.manual_seed(0)
    built = tell(tokenizer)
    for weight in built.parameters():
        torch.nn.init.uniform_(weight, -1, 1)
    return built.double()


@pytest.fixture
def features() -> ImageFeatures:
    return ImageFeatures(torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.3, -0.7]], dtype=torch.float64))


@pytest.fixture
def batch(tokenizer: Tokenizer) -> CaptionBatch:
    return collate(tuple(REFERENCES), [tokenizer.encode(group) for group in REFERENCES.values()], pad=0)


def every_caption(tokenizer: Tokenizer) -> list[list[int]]:
    """All captions of at most LENGTH tokens, which end or are truncated."""
    special = tokenizer.special
    words = [i for i in range(len(tokenizer)) if i not in (special.pad, special.bos, special.unk)]
    found = {tuple(own[: own.index(special.eos) + 1] if special.eos in own else own)
             for own in product(words, repeat=LENGTH)}  # fmt: skip
    return [list(own) for own in sorted(found)]


def hypotheses(captions: list[list[list[int]]], tokenizer: Tokenizer) -> Hypotheses:
    pad, eos = tokenizer.special.pad, tokenizer.special.eos
    tokens = torch.tensor([[own + [pad] * (LENGTH - len(own)) for own in of_image] for of_image in captions])
    lengths, finished = (tokens != pad).sum(2), (tokens == eos).any(2)
    return Hypotheses(tokens, lengths, torch.zeros(lengths.shape), torch.zeros(tokens.shape), finished)


def probabilities(objective: PolicyGradient, decoder: Any, features: ImageFeatures, captions: Hypotheses) -> Tensor:
    return objective.log_probs(decoder, features, captions).exp()


def gradients(loss: Tensor, decoder: ShowAndTell) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(decoder.parameters())))


def enumerated(objective: PolicyGradient, decoder: ShowAndTell, features: ImageFeatures, tokenizer: Tokenizer) -> Any:
    """The gradient of minus the expected reward, a mean over images, from all captions that there are."""
    every = every_caption(tokenizer)
    captions = hypotheses([every] * 2, tokenizer)
    p = probabilities(objective, decoder, features, captions)
    assert_close(p.sum(1), torch.ones(2, dtype=torch.float64))
    rewards = objective.rewards(captions, collate(tuple(REFERENCES), [[]] * 2, pad=0))
    return every, p.detach(), gradients(-(p * rewards).sum(1).mean(), decoder)


def expected(
    objective: PolicyGradient, n: int, decoder: Any, features: ImageFeatures, batch: Any, tokenizer: Any
) -> Any:
    """The gradient of the objective on average over all samples of n captions for each image."""
    every, p, right = enumerated(objective, decoder, features, tokenizer)
    total = [torch.zeros_like(weight) for weight in decoder.parameters()]
    search = objective.search
    for chosen in product(range(len(every)), repeat=n):
        # The images' parts of the loss are apart from each other, so each is weighted by its own probability.
        for image in range(2):
            one = features.rows(torch.tensor([image]))
            single = hypotheses([[every[c] for c in chosen]], tokenizer)
            objective.search = lambda kind, *given, s=single: s if isinstance(kind, Sampling) else search(kind, *given)  # type: ignore[method-assign]
            own = collate((list(REFERENCES)[image],), [[]], pad=0)
            loss = objective(decoder, one, own)
            weight = p[image, list(chosen)].prod() / 2
            for so_far, gradient in zip(total, gradients(loss, decoder), strict=True):
                so_far += weight * gradient
    return total, right


@pytest.mark.parametrize(("kind", "n"), [(SelfCritical, 1), (LeaveOneOut, 2)])
@pytest.mark.parametrize("end_token", [True, False])
def test_on_average_the_gradient_is_that_of_the_expected_reward(
    kind: type[PolicyGradient], n: int, end_token: bool, decoder: Any, features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    weights = {"CIDEr": 1.0, "BLEU-1": 0.5}
    objective = kind(REFERENCES, tokenizer, reward=weights, end_token=end_token, num_samples=n, max_length=LENGTH)
    found, right = expected(objective, n, decoder, features, batch, tokenizer)
    assert max(gradient.abs().max() for gradient in right) > 1e-2
    assert_close(found, right, rtol=0, atol=1e-12)


def objective_of(kind: type[PolicyGradient], tokenizer: Tokenizer, **settings: Any) -> PolicyGradient:
    defaults: dict[str, Any] = {"reward": {"CIDEr": 1.0}, "num_samples": 2, "max_length": LENGTH}
    return kind(REFERENCES, tokenizer, **{**defaults, **settings})


def test_the_self_critical_baseline_is_the_reward_of_the_greedy_caption(
    decoder: Any, features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    objective = objective_of(SelfCritical, tokenizer)
    greedy = GreedySearch(max_length=LENGTH)(decoder, features, tokenizer.special)
    texts = [tokenizer.decode(own[0]) for own in greedy.tokens.tolist()]
    right = objective.reward(texts, list(REFERENCES), greedy.finished[:, 0].tolist())
    assert objective.baselines(torch.zeros(2, 2), decoder, features, batch).flatten().tolist() == right.tolist()


def test_the_leave_one_out_baseline_is_the_mean_of_the_others(
    decoder: Any, features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    rewards = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    found = objective_of(LeaveOneOut, tokenizer).baselines(rewards, decoder, features, batch)
    assert found.tolist() == [[4.0, 3.5, 1.5], [1.5, 1.5, 0.0]]


def test_samples_are_new_in_each_step_and_the_same_from_the_same_random_state(
    decoder: Any, features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    objective = objective_of(LeaveOneOut, tokenizer, num_samples=5)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return float(objective(decoder, features, batch).detach())

    assert loss(1) == loss(1) and len({loss(seed) for seed in range(8)}) > 4


@pytest.mark.parametrize("kind", [SelfCritical, LeaveOneOut])
def test_a_share_of_the_cross_entropy_is_mixed_in(
    kind: type[PolicyGradient], decoder: Any, features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    torch.manual_seed(1)
    policy = float(objective_of(kind, tokenizer)(decoder, features, batch).detach())
    torch.manual_seed(1)
    mixed = float(objective_of(kind, tokenizer, cross_entropy=0.25)(decoder, features, batch).detach())
    assert mixed == pytest.approx(0.75 * policy + 0.25 * float(CrossEntropy()(decoder, features, batch).detach()))


def test_the_parts_are_means_over_samples_and_tokens(
    decoder: Any, features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    means = loss_means(objective_of(SelfCritical, tokenizer, cross_entropy=0.5), decoder, features, batch)
    assert [mean.count for mean in means] == [4, int(batch.lengths.sum())]


def test_the_decoder_samples_in_evaluation_mode_and_learns_in_its_own(
    features: Any, batch: Any, tokenizer: Tokenizer
) -> None:
    decoder = tell(tokenizer, dropout=0.5)
    modes: list[bool] = []
    decoder.head.register_forward_hook(lambda module, *_: modes.append(module.training))
    objective_of(SelfCritical, tokenizer)(decoder.double().train(), features, batch)
    assert decoder.training and modes[-1] and not any(modes[:-1]) and len(modes) > 2


def test_weights_get_gradients_in_mixed_precision(features: Any, batch: Any, tokenizer: Tokenizer) -> None:
    decoder = tell(tokenizer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective_of(LeaveOneOut, tokenizer, num_samples=5)(decoder, features.cast(torch.float32), batch).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in decoder.parameters())


def test_the_signature_names_baseline_samples_and_reward(tokenizer: Tokenizer) -> None:
    signature = objective_of(LeaveOneOut, tokenizer, num_samples=5).signature()
    assert signature["baseline"] == "LeaveOneOut" and signature["samples"] == 5
    assert signature["reward"] == {"CIDEr": 1.0} and signature["end_token"] == "counted"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (LeaveOneOut, {"num_samples": 1}, "num_samples=1 must be at least 2"),
        (SelfCritical, {"num_samples": 0}, "num_samples=0 must be at least 1"),
        (SelfCritical, {"cross_entropy": 1.0}, r"cross_entropy=1\.0 must be at least 0 and below 1"),
        (SelfCritical, {"reward": {}}, "names no metric"),
        (SelfCritical, {"max_length": 0}, "max_length=0 must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: Any, message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=message):
        objective_of(kind, tokenizer, **settings)
