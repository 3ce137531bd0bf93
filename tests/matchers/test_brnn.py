"""The matcher of Karpathy and Fei-Fei: its equations, one word and one region at a time, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.matchers import Brnn, Embedded

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19, "joint_size": 23}
WORDS = [[4, 9, 5], [6, 4, 8, 10, 7], [5]]


def literal(w, features, words, *, normalise):
    """S_kl of each image and sentence, from a table of weights."""

    def f(x):
        return x.clamp(min=0)

    def length(x):
        return x.square().sum().sqrt() if normalise else 1

    rows = []
    for k in range(len(features)):
        seen = [features.pooled[k], *(features.grid[k, r] for r in range(2) if features.mask[k, r])]
        v = [w["regions.project.weight"] @ x + w["regions.project.bias"] for x in seen]  # (1)
        row = []
        for sentence in words:
            x = [w["embedding.weight"][token] for token in sentence]  # (2)
            e = [f(w["word.weight"] @ each + w["word.bias"]) for each in x]  # (3)
            forwards, backwards, h = [], [], torch.zeros(19).double()
            for each in e:
                h = f(each + w["forwards.weight"] @ h + w["forwards.bias"])  # (4)
                forwards.append(h)
            h = torch.zeros(19).double()
            for each in reversed(e):
                h = f(each + w["backwards.weight"] @ h + w["backwards.bias"])  # (5)
                backwards.insert(0, h)
            both = zip(forwards, backwards, strict=True)
            s = [f(w["head.weight"] @ (a + b) + w["head.bias"]) for a, b in both]  # (6)
            row.append(sum(max(v_i @ s_t / length(v_i) for v_i in v) for s_t in s) / length(sum(s)))  # (8)
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("normalise", [False, True])
def test_equals_the_papers_equations_with_gradients(features, normalise):
    torch.manual_seed(0)
    model = Brnn(**SIZES, normalise=normalise).double()
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    features = features.cast(torch.float64)
    plain = {name: weight.detach().clone().requires_grad_() for name, weight in model.named_parameters()}
    tokens = torch.tensor([[*words, *[9] * (5 - len(words))] for words in WORDS])
    sentences = model.sentences(tokens, torch.tensor([3, 5, 1]))
    got, expected = (
        model.similarity(model.images(features), sentences), literal(plain, features, WORDS, normalise=normalise)
    )  # fmt: skip
    assert_close(got, expected)
    towards = torch.randn(3, 3, generator=torch.Generator().manual_seed(5)).double()
    for scores in (got, expected):
        (scores * towards).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad.any(), name
        assert_close(weight.grad, plain[name].grad, msg=lambda text, name=name: f"{name}: {text}")


def test_the_whole_image_comes_before_its_regions(features):
    model = Brnn(**SIZES).eval()
    v = model.images(features)
    assert v.vectors.shape == (3, 1 + 2, 23)
    assert v.mask.tolist() == [[True, True, True], [True, True, True], [True, True, False]]
    assert_close(v.vectors[:, 0], model.regions.project(features.pooled))
    assert_close(v.vectors[:, 1:], model.regions.project(features.grid))


def test_an_image_without_regions_is_scored_as_a_whole(features):
    model = Brnn(**SIZES).eval()
    features = replace(features, mask=torch.zeros(3, 2, dtype=torch.bool))
    sentences = model.sentences(torch.tensor([[4, 9, 5]]), torch.tensor([3]))
    v = model.images(features)
    assert_close(model.similarity(v, sentences), model.similarity(Embedded(v.vectors[:, :1]), sentences))


def test_normalised_scores_of_a_single_region_are_cosines(features):
    torch.manual_seed(0)
    model = Brnn(**SIZES, normalise=True).eval()
    features = replace(features, mask=torch.zeros(3, 2, dtype=torch.bool))
    sentences = model.sentences(torch.tensor([[4, 9, 5], [6, 8, 0]]), torch.tensor([3, 2]))
    v, s = (
        model.regions.project(features.pooled),
        torch.stack([sentences.vectors[0].sum(0), sentences.vectors[1, :2].sum(0)]),
    )
    expected = torch.cosine_similarity(v[:, None], s[None], dim=2)
    assert_close(model.similarity(model.images(features), sentences), expected)


def test_parameter_count():
    # V E, and E D + D, 2 (D D + D), D h + h, F h + h of the paper's sizes: E = 300, F = 4096, D = 512, h = 1024.
    model = Brnn(feature_size=4096, vocab_size=2538, embedding_size=300, hidden_size=512, joint_size=1024)
    words = 300 * 512 + 512 + 2 * (512 * 512 + 512) + 512 * 1024 + 1024
    assert sum(p.numel() for p in model.parameters()) == 2538 * 300 + words + 4096 * 1024 + 1024 == 6_161_464
