"""Every decoder can memorise captions; `tests/conftest.py` finds the decoders."""

from __future__ import annotations

from dataclasses import replace

import torch

from captioning.data.batch import collate
from captioning.decoders import Hard, LanguageModel, ShowAttendAndTell, VisualConcepts, WithoutImage
from captioning.encoders.features import Objects
from captioning.objectives import CrossEntropy, Reinforce
from captioning.search import GreedySearch


def test_memorises_the_captions_of_twenty_images(decoder_to_train, features, special):
    memorises(decoder_to_train, CrossEntropy(), features, special)


def test_hard_attention_memorises_them_by_reinforce(features, special):
    torch.manual_seed(0)
    decoder = ShowAttendAndTell(
        feature_size=13, vocab_size=11, phi=Hard(), embedding_size=17, hidden_size=19, attention_size=23
    )
    memorises(decoder, Reinforce(), features, special)


def memorises(decoder_to_train, objective, features, special):
    # A language model ignores the image, so it can memorise one caption. A log-linear one knows only its words.
    num_images = 1 if isinstance(decoder_to_train, LanguageModel | WithoutImage | VisualConcepts) else 20
    random = torch.Generator().manual_seed(1)
    pooled, grid = (torch.randn(*shape, generator=random) for shape in ((num_images, 13), (num_images, 2, 13)))
    categories = torch.randint(3, (num_images, 2), generator=random)
    boxes = torch.rand(num_images, 2, 4, generator=random)
    objects = Objects(categories, boxes, torch.ones(num_images, 2, dtype=torch.bool))
    features = replace(features.rows(torch.arange(num_images) % 3), pooled=pooled, grid=grid, objects=objects)
    lengths = torch.randint(3, 6, (num_images,), generator=random).tolist()
    words = [torch.randint(4, 11, (n,), generator=random).tolist() for n in lengths]
    assert len({tuple(w) for w in words}) == num_images
    if features.final is not None:
        final = tuple(torch.randn(num_images, *s.shape[1:], generator=random) for s in features.final)
        features = replace(features, final=final)
    captions = [[[special.bos, *w, special.eos]] for w in words]
    batch = collate(range(num_images), captions, pad=special.pad, features=features)

    learner = torch.optim.Adam(decoder_to_train.parameters(), lr=0.02)
    for _ in range(500):
        if CrossEntropy()(decoder_to_train, features, batch) < 0.02:
            break
        loss = objective(decoder_to_train, features, batch)
        learner.zero_grad()
        loss.backward()
        learner.step()

    found = GreedySearch(max_length=10)(decoder_to_train.eval(), features, special)
    said = [row[:n].tolist() for row, n in zip(found.tokens[:, 0], found.lengths[:, 0].tolist(), strict=True)]
    assert said == [[*w, special.eos] for w in words]
