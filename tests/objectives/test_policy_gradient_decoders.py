"""Policy gradients read sampled captions alike with every decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch.testing import assert_close

from captioning.objectives import SelfCritical
from captioning.search.hypotheses import Hypotheses
from captioning.text import SpecialTokens


def test_every_decoder_s_log_probabilities_are_those_of_single_steps(one_decoder: Any, features: Any) -> None:
    captions = [[[4, 5, 2], [6, 2]], [[7, 8, 9, 10], [2]], [[4, 2], [5, 6, 7, 2]]]
    tokens = torch.tensor([[own + [0] * (4 - len(own)) for own in of_image] for of_image in captions])
    samples = Hypotheses(tokens, (tokens != 0).sum(2), torch.zeros(3, 2), torch.zeros(3, 2, 4), (tokens == 2).any(2))

    class Eleven:
        special = SpecialTokens(pad=0, bos=1, eos=2, unk=3)

    objective = SelfCritical.__new__(SelfCritical)
    objective.tokenizer = Eleven()  # type: ignore[assignment]
    found = objective.log_probs(one_decoder, features, samples)
    state = one_decoder.start(features).rows(torch.arange(6) // 2)
    expected, last = torch.zeros(6), torch.full((6,), 1)
    for t in range(4):
        logits, state = one_decoder.step(last, state)
        log_probs = logits.float().index_fill(1, torch.tensor([0, 1, 3]), -torch.inf).log_softmax(1)
        last = tokens.flatten(0, 1)[:, t]
        chosen = log_probs.gather(1, last[:, None])[:, 0]
        expected = expected + chosen.masked_fill(last == 0, 0.0)
    assert_close(found.flatten(), expected, rtol=1e-4, atol=1e-4)
