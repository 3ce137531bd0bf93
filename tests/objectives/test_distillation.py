"""Distillation: the student's loss against the teacher's distribution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from captioning.decoders import LanguageModel
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, Distillation
from captioning.recurrent import GRU


class Model:
    """A teacher that reads the student's features."""

    def __init__(self, decoder: Any, features: Any) -> None:
        self.decoder, self.own, self.devices = decoder, features, []

    def features(self, batch: Any) -> Any:
        return self.own

    def to(self, device: torch.device) -> None:
        self.devices.append(device)


@pytest.fixture
def teacher(features: Any) -> Model:
    torch.manual_seed(5)
    sizes = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
    return Model(LanguageModel(recurrent=GRU, **sizes), features)


def test_the_loss_is_the_cross_entropy_of_the_mixed_distribution(
    one_decoder: Any, features: Any, batch: Any, teacher: Model
) -> None:
    log_p = one_decoder(features, batch.inputs(), batch.image_index).log_softmax(1)
    q = teacher.decoder(features, batch.inputs(), batch.image_index).softmax(1)
    mixed = 0.7 * F.one_hot(batch.targets().data, 11) + 0.3 * q
    found = Distillation(teacher, weight=0.3)(one_decoder, features, batch)  # type: ignore[arg-type]
    assert_close(found, -(mixed * log_p).sum(1).mean(), rtol=1e-5, atol=1e-5)
    assert_close(
        Distillation(teacher, weight=0.0)(one_decoder, features, batch),  # type: ignore[arg-type]
        CrossEntropy()(one_decoder, features, batch),
    )


def test_the_teacher_learns_nothing_and_is_where_the_batch_is(features: Any, batch: Any, teacher: Model) -> None:
    student = LanguageModel(recurrent=GRU, feature_size=13, vocab_size=11, embedding_size=17, hidden_size=19)
    Distillation(teacher)(student, features, batch).backward()  # type: ignore[arg-type]
    assert all(weight.grad is None for weight in teacher.decoder.parameters())
    assert student.head.weight.grad is not None
    assert teacher.devices == [batch.tokens.device]


def test_a_student_of_its_own_teacher_has_no_gradient_beyond_the_true_words(features: Any, batch: Any) -> None:
    student = LanguageModel(recurrent=GRU, feature_size=13, vocab_size=11, embedding_size=17, hidden_size=19).double()
    features = features.cast(torch.float64)
    Distillation(Model(student, features), weight=1.0)(student, features, batch).backward()  # type: ignore[arg-type]
    assert all(weight.grad is None or weight.grad.abs().max() < 1e-12 for weight in student.parameters())


def test_a_weight_outside_its_range_is_refused(teacher: Model) -> None:
    with pytest.raises(InputError, match=r"weight=1\.5 must be in 0\.\.1"):
        Distillation(teacher, weight=1.5)  # type: ignore[arg-type]
