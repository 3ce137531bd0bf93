"""A reward is the weighted sum of what the scorer gives each caption."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.metrics.rewards import END, Reward

REFERENCES = {
    "dog.jpg": ["A dog runs.", "The dog is running in the grass"],
    7: ["Two cats sleep on a sofa", "cats, sleeping"],
    "bus.jpg": ["A red bus is on the street.", "a bus", "A street with a bus"],
}
SCORER = CocoScorer(REFERENCES, metrics=["CIDEr", "BLEU", "ROUGE-L"])
CAPTIONS = st.lists(
    st.sampled_from(["a", "dog", "cats", "runs", "on", "the", "red", "bus", "street", "."]), max_size=8
).map(" ".join)


@given(st.lists(CAPTIONS, min_size=3, max_size=3))
def test_without_the_end_token_rewards_are_the_scorers_scores_of_each_image(captions: list[str]) -> None:
    expected = SCORER.score(dict(zip(REFERENCES, captions, strict=True))).per_image
    weights = {"CIDEr": 1.0, "BLEU-4": 0.5, "ROUGE-L": -2.0}
    rewards = Reward(REFERENCES, weights, end_token=False)(captions, list(REFERENCES), [True, False, True])
    for reward, scores in zip(rewards, expected.values(), strict=True):
        assert reward == pytest.approx(sum(w * scores[name] for name, w in weights.items()), rel=0, abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from(list(REFERENCES)), CAPTIONS, st.booleans()), max_size=9))
def test_a_reward_depends_on_its_own_caption_alone(sampled: list[tuple[Any, str, bool]]) -> None:
    reward = Reward(REFERENCES, {"CIDEr-D": 1.0, "BLEU-2": 1.0})
    together = reward([text for _, text, _ in sampled], [image for image, _, _ in sampled], [e for _, _, e in sampled])
    alone = [reward([text], [image], [ended])[0] for image, text, ended in sampled]
    assert together.tolist() == pytest.approx(alone, rel=0, abs=1e-12)


def test_the_end_token_is_a_last_word_of_references_and_of_captions_that_have_ended() -> None:
    with_end = {image: [f"{text.lower().strip('.')} stop" for text in group] for image, group in REFERENCES.items()}
    expected = Reward(with_end, {"CIDEr": 1.0}, end_token=False)
    found = Reward(REFERENCES, {"CIDEr": 1.0})
    for text in ("a dog runs", "a dog", "a bus", ""):
        ended, truncated = found([text] * 2, ["dog.jpg"] * 2, [True, False])
        assert ended == pytest.approx(expected([f"{text} stop"], ["dog.jpg"], [True])[0], rel=0, abs=1e-12)
        assert truncated == pytest.approx(expected([text], ["dog.jpg"], [True])[0], rel=0, abs=1e-12)


def test_a_caption_that_stops_within_a_phrase_of_the_references_loses_by_the_end_token() -> None:
    references = {1: ["a man on a bench with a dog"], 2: ["a woman with a hat"], 3: ["two birds"]}
    captions = ["a man on a bench", "a man on a bench with a"]
    without, counted = (
        Reward(references, {"BLEU-4": 1.0}, end_token=end)(captions, [1, 1], [True, True]) for end in (False, True)
    )
    assert without[1] == pytest.approx(without[0] + counted[1] - counted[0], abs=1) and without[1] > without[0]
    assert (counted < without).all()  # both stop where no reference does


def test_the_tokenizer_never_makes_the_word_of_the_end_token() -> None:
    reward = Reward({1: ["a dog"], 2: ["a cat"]}, {"BLEU-1": 1.0})
    assert reward([f"a dog {END}"], [1], [False])[0] < reward(["a dog"], [1], [True])[0] == pytest.approx(1.0)


def test_the_signature_names_what_determines_the_rewards() -> None:
    counted = Reward(REFERENCES, {"CIDEr": 1.0}).signature()
    assert counted["reward"] == {"CIDEr": 1.0} and counted["end_token"] == "counted"
    without = Reward(REFERENCES, {"CIDEr": 1.0}, end_token=False).signature()
    assert without["end_token"] == "not counted" and without["references"] != counted["references"]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "names no metric; expected a weight for some of BLEU-1, .*CIDEr"),
        (None, "reward=None names no metric"),
        ("CIDEr", "reward=CIDEr names no metric"),
        ({"SPIDEr": 1.0}, "reward: SPIDEr is no score of single captions; expected a weight for some of"),
        ({"METEOR": 1.0}, "reward: METEOR is no score of single captions"),
        ({"CIDEr": "much"}, "the weight of CIDEr is much, expected a number"),
        ({"CIDEr": float("nan")}, "the weight of CIDEr is nan, expected a number"),
        ({"CIDEr": True}, "the weight of CIDEr is True"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reward(REFERENCES, weights)


def test_images_without_references_are_refused() -> None:
    with pytest.raises(InputError, match="not so for 1 of them, the first in row 1"):
        Reward({1: ["a dog"], 2: []}, {"CIDEr": 1.0})
    with pytest.raises(InputError, match=r"^cat\.jpg and 1 more captions are of images without references"):
        Reward(REFERENCES, {"CIDEr": 1.0})(["a", "b", "c"], ["cat.jpg", 7, 8], [True] * 3)
