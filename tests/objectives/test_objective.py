"""What objectives need, and the check that a decoder provides it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from captioning.decoders import MRNN, Att2in, Decoder, Hard, Obj2Text, ShowAttendAndTell, Soft
from captioning.decoders.decoder import Capability
from captioning.errors import InputError
from captioning.objectives import (
    CaptionAndObjects,
    CrossEntropy,
    DoublyStochastic,
    Reinforce,
    check_objective,
    needs,
    token_losses,
)

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
DECODERS = {
    "plain": lambda: MRNN(**SIZES),
    "attentive": lambda: Att2in(**SIZES),
    "soft": lambda: ShowAttendAndTell(**SIZES, phi=Soft()),
    "hard": lambda: ShowAttendAndTell(**SIZES, phi=Hard()),
}


@pytest.mark.parametrize(
    ("decoder", "objective", "message"),
    [
        (
            "plain",
            DoublyStochastic(),
            "^DoublyStochastic needs attention over regions, which MRNN does not have; set obj",
        ),
        ("plain", Reinforce(), "^Reinforce needs attention over regions, which MRNN does not have"),
        (
            "attentive",
            Reinforce(),
            "^Reinforce needs sampled regions, which Att2in does not have; set .*=hard_attention",
        ),
        ("soft", Reinforce(), "^Reinforce needs sampled regions, which ShowAttendAndTell does not have"),
        ("hard", CrossEntropy(), "^CrossEntropy has no gradient through the regions .* set objective=reinforce"),
        ("hard", DoublyStochastic(), "^DoublyStochastic has no gradient through"),
        ("hard", partial(CaptionAndObjects, objects=1.0), "^CaptionAndObjects has no gradient through"),
        ("hard", token_losses, "^token_losses has no gradient through"),
    ],
)
def test_an_objective_that_cannot_train_the_decoder_is_refused(decoder, objective, message):
    with pytest.raises(InputError, match=message):
        check_objective(DECODERS[decoder](), objective)


@pytest.mark.parametrize(
    ("decoder", "objective"),
    [
        *((name, CrossEntropy()) for name in ("plain", "attentive", "soft")),
        ("attentive", DoublyStochastic()),
        ("soft", DoublyStochastic()),
        ("hard", Reinforce()),
        ("plain", partial(CaptionAndObjects, objects=1.0)),  # the data provide objects
    ],
)
def test_an_objective_that_can_train_the_decoder_is_accepted(decoder, objective):
    check_objective(DECODERS[decoder](), objective)


def test_a_decoder_and_an_objective_without_declarations_are_accepted():
    class Undeclared(Decoder):
        """A decoder of another package, which declares nothing."""

        start = step = hidden = None

    check_objective(Undeclared(), CrossEntropy())
    check_objective(Undeclared(), lambda decoder, features, batch: torch.zeros(()))
    with pytest.raises(InputError, match="DoublyStochastic needs attention over regions, which Undeclared does not"):
        check_objective(Undeclared(), DoublyStochastic())


def test_needs_are_known_of_classes_objects_and_partials():
    objects = frozenset({Capability.OBJECTS})
    assert needs(Obj2Text) == needs(CaptionAndObjects) == needs(partial(CaptionAndObjects, words=1.0)) == objects
    assert needs(Decoder) == needs(CrossEntropy()) == needs(token_losses) == frozenset()
